//! `kiln report`, `kiln build --report` and `--trace`: what they write, for builds of every end, and what they refuse.

mod page;

use crate::support::{Kiln, Ran};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A project with three steps of its own, of which one prints what a page must not take for anything but text.
fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write(".dockerignore", "Dockerfile\n.dockerignore\n").write("main.go", "one\n");
    kiln.write(
        "Dockerfile",
        "FROM base AS builder\nRUN sleep 0.3; echo downloaded > /deps\nCOPY . /src\n\
         RUN printf '\\033[31mwarning\\033[0m: needle </script><img src=x onerror=\"window.pwned=1\"></pre></details>\\n'; \
         cat /src/main.go > /app\n\
         FROM base\nCOPY --from=builder /app /app\n",
    );
    Some(kiln)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_build_is_told_as_it_was() {
    let Some(kiln) = project() else { return };
    kiln.build(["-t", "app"]).succeeds();
    kiln.write("main.go", "two\n");
    let (page, trace) = (kiln.path("report.html"), kiln.path("trace.json"));
    fs::write(&page, "old").unwrap();
    let files = ["--report", page.to_str().unwrap(), "--trace", trace.to_str().unwrap()];
    kiln.build(["-t", "app"].iter().chain(&files)).succeeds();
    let html = text(&page);
    for wanted in [
        "<title>app:latest · built in ",
        "main.go changed",
        "saved by the cache",
        "<span class=\"c1\">warning</span>: needle &lt;/script&gt;&lt;img src=x onerror=",
        "in the image",
        "script-src &#39;sha256-",
    ] {
        assert!(html.contains(wanted) || html.contains(&wanted.replace("&#39;", "&#x27;")), "no `{wanted}` in {html}");
    }
    assert!(!html.contains("<img") && !html.contains("http://") && !html.contains("https://"), "{html}");
    // The same, from what is remembered.
    let later = kiln.run(["report"]);
    later.succeeds();
    assert_eq!(later.stdout(), html);
    let again = kiln.path("again.json");
    kiln.run(["report", "--trace", again.to_str().unwrap()]).succeeds().stdout_is("");
    assert_eq!(text(&again), text(&trace));

    let trace: Value = serde_json::from_str(&text(&trace)).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |category: &str| -> Vec<&Value> { events.iter().filter(|event| event["cat"] == category).collect() };
    let name = |event: &Value| event["name"].as_str().unwrap().to_owned();
    let copy = of("ran").into_iter().find(|event| name(event).ends_with("COPY . /src")).unwrap();
    assert_eq!((&copy["ph"], &copy["args"]["why"]), (&"X".into(), &"main.go changed".into()));
    assert!(of("cached").iter().any(|event| name(event).contains("RUN sleep 0.3")), "{trace:#}");
    assert!(events.iter().all(|event| event["pid"].is_u64() && event["tid"].is_u64()), "{trace:#}");

    // The build before, by its id.
    let history = kiln.run(["history"]).stdout();
    let id = history.lines().nth(2).and_then(|line| line.split(' ').next()).unwrap().to_owned();
    assert!(kiln.run(["report", &id]).stdout().contains("first build of this step"));
}

#[test]
fn builds_that_come_to_no_good_end_have_reports() {
    let Some(kiln) = project() else { return };
    let page = kiln.path("report.html");
    let arguments = ["--report", page.to_str().unwrap()];
    kiln.write("Dockerfile", "FROM base\nRUN echo before; exit 3\n");
    kiln.build(arguments).exits(1);
    let html = text(&page);
    assert!(html.contains("failed after ") && html.contains("before\n") && html.contains("exit code 3"), "{html}");

    // One that does not even begin.
    kiln.write("Dockerfile", "FORM base\n");
    kiln.build(arguments).exits(1);
    assert!(text(&page).contains("failed after "), "{}", text(&page));

    kiln.write("Dockerfile", "FROM base\nRUN echo asleep; sleep 600\n");
    let mut command = kiln.build_command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(" asleep")), "the step does not start");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(text(&page), kiln.run(["report"]).stdout());
    let html = kiln.run(["report"]).stdout();
    assert!(html.contains("cancelled after ") && html.contains("class=\"step cancelled\""), "{html}");
}

#[test]
fn no_report_holds_a_secret() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let secret = "correct-horse-battery";
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=secret,id=token cat /run/secrets/token; exit 1\n");
    fs::write(kiln.path("token"), secret).unwrap();
    let (page, trace) = (kiln.path("report.html"), kiln.path("trace.json"));
    let source = format!("id=token,src={}", kiln.path("token").display());
    let arguments = [
        "--secret",
        &source,
        "--report",
        page.to_str().unwrap(),
        "--trace",
        trace.to_str().unwrap(),
        "--progress=plain",
    ];
    let ran = Ran::of(&mut kiln.build_command(arguments));
    ran.exits(1).stderr_has(secret);
    for file in [&page, &trace] {
        assert!(!text(file).contains(secret), "{}", text(file));
    }
    assert!(text(&page).contains("****"), "{}", text(&page));
}

#[test]
fn mistakes_are_told_before_anything_is_built() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let directory = kiln.context().display().to_string();
    for (arguments, status, message) in [
        (&["build", "--report", &directory, "."][..], 2, "`--report`: `"),
        (&["build", "--trace", "none/x.json", "."], 2, "`--trace`: there is no directory for `none/x.json`"),
        (&["build", "--report", "x", "--trace", "x", "."], 2, "`--report` and `--trace` name the same file `x`"),
        (&["report", "--output", &directory], 2, "is a directory"),
        (&["report"], 1, "no build is remembered yet"),
        (&["report", "zz"], 1, "no build `zz` is remembered"),
        (&["report", "--trace", "none/x.json"], 2, "there is no directory for `none/x.json`"),
    ] {
        kiln.run(arguments).exits(status).stderr_has(message).stdout_is("");
    }
    assert!(!kiln.context().join("x").exists());
}

#[test]
fn what_is_remembered_counts_and_can_be_pruned() {
    let Some(kiln) = project() else { return };
    kiln.build::<&str>([]).succeeds();
    let builds = || {
        let usage: Value = serde_json::from_str(&kiln.run(["du", "--json"]).stdout()).unwrap();
        usage["rows"].as_array().unwrap().iter().filter(|row| row["kind"] == "build").count()
    };
    assert_eq!(builds(), 1);
    kiln.run(["prune", "--force"]).succeeds();
    assert_eq!(builds(), 1);
    kiln.run(["prune", "--all", "--force"]).succeeds().stdout_has("1 remembered build");
    assert_eq!(builds(), 0);
}
