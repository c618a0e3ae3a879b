//! `kiln why` and `kiln history`: after each of many scripted changes, the right cause is named.

use crate::support::Kiln;
use std::fs;

const DOCKERFILE: &str = "\
FROM base AS builder
ARG VERSION=1
ENV LEVEL=info
WORKDIR /app
COPY go.mod .
RUN sleep 0.3; echo download > /downloaded
COPY . .
RUN --mount=type=bind,source=tool,target=/tool echo compile $(cat /app/src/main.go) > /app/out
FROM base
COPY --from=builder /app/out /out
RUN echo done
";

fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write(
        ".dockerignore",
        "Dockerfile
.dockerignore
",
    );
    kiln.write("Dockerfile", DOCKERFILE)
        .write("go.mod", "module x\n")
        .write("src/main.go", "one\n")
        .write("tool", "t\n");
    kiln.build::<&str>([]).succeeds();
    Some(kiln)
}

fn why(kiln: &Kiln, arguments: &[&str]) -> String {
    let ran = kiln.run(["why"].iter().chain(arguments));
    ran.succeeds();
    ran.stdout()
}

/// The root causes: each step at the left with its reason.
fn roots(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let steps = lines.iter().enumerate().filter(|(_, line)| line.starts_with('['));
    steps
        .map(|(at, line)| {
            let name = line.split_once("] ").map_or("", |(_, name)| name);
            (name.to_owned(), lines[at + 1].trim_start_matches(['│', ' ']).to_owned())
        })
        .collect()
}

#[test]
fn twenty_changes_have_their_causes() {
    let Some(kiln) = project() else { return };
    let edit = |from: &'static str, to: &'static str| {
        move |kiln: &Kiln| {
            let text = fs::read_to_string(kiln.context().join("Dockerfile")).unwrap();
            assert!(text.contains(from), "{from}");
            kiln.write("Dockerfile", text.replace(from, to));
        }
    };
    type Change = Box<dyn Fn(&Kiln)>;
    let write = |name: &'static str, text: &'static str| -> Change { Box::new(move |kiln| _ = kiln.write(name, text)) };
    let remove =
        |name: &'static str| -> Change { Box::new(move |kiln| fs::remove_file(kiln.context().join(name)).unwrap()) };
    // What is changed, with which arguments kiln is called, the step at the root, and what it says.
    let table: Vec<(Change, &[&str], &str, &str)> = vec![
        (write("src/main.go", "two\n"), &[], "COPY . .", "src/main.go changed"),
        (write("src/new.go", "new\n"), &[], "COPY . .", "src/new.go added"),
        (remove("src/new.go"), &["--no-cache"], "WORKDIR /app", "asked to run again (no-cache)"),
        (write("go.mod", "module y\n"), &[], "COPY go.mod .", "go.mod changed"),
        (Box::new(|kiln| _ = kiln.chmod("src/main.go", 0o755)), &[], "COPY . .", "src/main.go changed"),
        (write("tool", "other\n"), &[], "COPY . .", "tool changed"),
        (Box::new(|_| {}), &["--build-arg", "VERSION=2"], "RUN sleep 0.3; echo download", "ARG VERSION: 1 → 2"),
        (Box::new(edit("VERSION=1", "VERSION=3")), &[], "RUN sleep 0.3; echo download", "ARG VERSION: 1 → 3"),
        (Box::new(edit("LEVEL=info", "LEVEL=debug")), &[], "RUN sleep 0.3; echo download", "ENV LEVEL: info → debug"),
        (Box::new(edit("ENV LEVEL", "ENV MORE=x LEVEL")), &[], "RUN sleep 0.3; echo download", "ENV MORE=x is new"),
        (
            Box::new(edit("ENV MORE=x ", "ENV ")),
            &["--no-cache-filter=stage-1"],
            "COPY --from=builder",
            "asked to run again (no-cache)",
        ),
        (Box::new(edit("echo compile", "echo  compile")), &[], "RUN --mount", "command: echo compile"),
        (Box::new(edit("echo done", "echo end")), &[], "RUN echo end", "command: echo done → echo end"),
        (
            Box::new(edit("WORKDIR /app\n", "WORKDIR /app\nUSER 0:0\n")),
            &[],
            "RUN sleep 0.3; echo download",
            "user: none → 0:0",
        ),
        (Box::new(|_| {}), &["--network=none"], "RUN sleep 0.3; echo download", "network: default → none"),
        (
            Box::new(|_| {}),
            &["--add-host=x:10.0.0.1"],
            "RUN sleep 0.3; echo download",
            "extra hosts: none → x=10.0.0.1",
        ),
        (Box::new(edit("target=/tool ", "target=/tool2 ")), &[], "RUN --mount", "tool added, and 2 more changes"),
        (Box::new(edit("FROM base\n", "FROM base\nRUN echo new\n")), &[], "RUN echo new", "first build of this step"),
        (Box::new(edit("COPY . .", "COPY --chmod=700 . .")), &[], "COPY --chmod=700 . .", "mode: none → 0700"),
        (write("src/a.go", "a\n"), &[], "COPY --chmod=700 . .", "src/a.go added"),
    ];
    assert_eq!(table.len(), 20);
    for (number, (change, arguments, step, reason)) in table.into_iter().enumerate() {
        change(&kiln);
        kiln.build(arguments).succeeds();
        let text = why(&kiln, &[]);
        let (name, said) = roots(&text).into_iter().next().unwrap_or_default();
        assert!(name.starts_with(step), "change {number}: expected `{step}` at the root of\n{text}");
        assert!(said.starts_with(reason), "change {number}: expected `{reason}` in\n{text}");
        if !arguments.is_empty() {
            kiln.build::<&str>([]).succeeds();
        }
    }
}

#[test]
fn a_moved_base_image_and_a_pruned_result_are_told() {
    let Some(kiln) = project() else { return };
    kiln.build(["-t", "x"]).succeeds();
    assert!(why(&kiln, &[]).contains("0 steps ran"), "{}", why(&kiln, &[]));
    kiln.run(["rmi", "x"]).succeeds();
    for line in kiln.run(["history", "--json"]).stdout().lines() {
        let build: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(build["error"], serde_json::Value::Null);
    }
    // The first, unnamed image stays in the store; without it nothing needs the layers.
    let images = kiln.run(["images", "--quiet"]).stdout();
    for id in images.lines() {
        kiln.run(["rmi", id]);
    }
    kiln.run(["prune", "--force"]).succeeds();
    kiln.build::<&str>([]).succeeds();
    let text = why(&kiln, &[]);
    assert!(text.contains("its cached result was pruned"), "{text}");
}

#[test]
fn consequences_advice_and_single_steps() {
    let Some(kiln) = project() else { return };
    kiln.write("go.mod", "module y\n");
    kiln.build::<&str>([]).succeeds();
    let text = why(&kiln, &[]);
    assert!(text.contains("└ [builder 4/6] RUN sleep 0.3; echo download"), "{text}");
    let advice = "advice: `RUN sleep 0.3; echo download > /downloaded` made the same as before although go.mod changed: \
                  if it does not need that, moving `COPY go.mod .` below it would have kept it cached and saved ";
    assert!(text.contains(advice), "{text}");

    kiln.write("src/main.go", "two\n").write("src/b.go", "b\n");
    kiln.build::<&str>([]).succeeds();
    let text = why(&kiln, &["copy . ."]);
    assert!(text.contains("changed: src/main.go\n") && text.contains("added: src/b.go\n"), "{text}");
    let text = why(&kiln, &[":8"]);
    assert!(text.contains("because of #") && text.contains("COPY . ."), "{text}");
    let json: serde_json::Value = serde_json::from_str(&why(&kiln, &["--json"])).unwrap();
    assert!(json["steps"].as_array().is_some_and(|steps| steps.len() > 5), "{json}");

    // The build before the last one, by its id.
    let history = kiln.run(["history"]).stdout();
    let id = history.lines().nth(2).and_then(|line| line.split(' ').next()).unwrap().to_owned();
    assert!(why(&kiln, &["--build", &id]).contains("go.mod changed"));
    kiln.run(["why", "--build", "zz"]).exits(1).stderr_has("no build `zz` is remembered");
    kiln.run(["why", "nothing like this"]).exits(1).stderr_has("the build has no step `nothing like this`");
}

#[test]
fn failures_are_remembered_and_an_empty_store_has_nothing_to_tell() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.run(["why"]).exits(1).stderr_has("no build is remembered yet");
    kiln.write("Dockerfile", "FROM base\nRUN echo before && exit 3\n");
    kiln.build::<&str>([]).exits(1);
    let text = why(&kiln, &[]);
    assert!(text.contains(", failed") && text.contains("first build of this step"), "{text}");
    kiln.build::<&str>([]).exits(1).stderr_has("why: its last run failed");
    assert!(why(&kiln, &[]).contains("its last run failed"));
}

#[test]
fn values_that_look_like_secrets_are_not_told() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for (number, value) in ["hunter1", "hunter2"].into_iter().enumerate() {
        kiln.write(
            "Dockerfile",
            format!(
                "FROM base\nARG API_TOKEN\nENV DB_PASSWORD={value} PUBLIC_KEY=p{number}\n\
                 RUN : https://user:{value}@host/\n"
            ),
        );
        let ran = kiln.build(["--build-arg", &format!("API_TOKEN={value}")]);
        ran.succeeds();
        assert!(!ran.stderr.lines().any(|line| line.starts_with('#') && line.contains("hunter")), "{ran}");
    }
    let text = why(&kiln, &[]);
    assert!(text.contains(" changed, and 3 more changes"), "{text}");
    let text = why(&kiln, &[":4"]);
    assert!(text.contains("PUBLIC_KEY was: p0") && text.contains("https://****@host/"), "{text}");
    assert!(!text.contains("hunter") && !why(&kiln, &["--json"]).contains("hunter"), "{text}");
}

#[test]
fn values_that_look_like_secrets_are_kept_nowhere() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let secret = "kiln-hunter-7654321";
    // In a stage of which the image keeps nothing but a file.
    kiln.write(
        "Dockerfile",
        "FROM base AS builder\nARG API_TOKEN\nRUN echo $API_TOKEN | wc -c > /count\nFROM base\nCOPY --from=builder /count /\n",
    );
    let token = format!("API_TOKEN={secret}");
    kiln.build(["--build-arg", &token]).succeeds();
    let found = std::process::Command::new("grep").args(["-rl", secret]).arg(kiln.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // It counts all the same.
    kiln.build(["--build-arg", &token]).succeeds().cached("RUN echo ****");
    kiln.build(["--build-arg", "API_TOKEN=other"]).succeeds().executed("RUN echo ****");
    assert!(why(&kiln, &[]).contains("ARG API_TOKEN changed"), "{}", why(&kiln, &[]));
}
