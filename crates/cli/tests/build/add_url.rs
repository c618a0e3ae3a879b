//! ADD of URLs: what the file is called, what it gets, when it is fetched again, and what goes wrong.

use crate::support::{Kiln, Page, Ran, Web};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn add(kiln: &Kiln, flags: &str, url: &str, rest: &str) {
    kiln.write("Dockerfile", format!("FROM base\nADD {flags} {url} /f/\n{rest}\n"));
}

#[test]
fn names_modes_owners_and_times() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/dir/a%20file.txt?x=1", Page::new("text\n").with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"));
    web.put("/", Page::new("index\n"));
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base\nADD {file} /plain/\nADD --chown=app:staff --chmod=0644 {file} /as\nADD {index} /dir/\nADD --link {file} /l/\n\
             RUN stat -c '%n %a %u:%g %Y' '/plain/a file.txt' /as /dir/__unnamed__ '/l/a file.txt'; cat /as\n",
            file = web.url("/dir/a%20file.txt?x=1"),
            index = web.url("/"),
        ),
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds().logs("/plain/a file.txt 600 0:0 784111777").logs("/as 644 1000:50 784111777").logs("text");
    ran.logs("/dir/__unnamed__ 600 0:0 0").logs("/l/a file.txt 600 0:0 784111777");
    assert_eq!(web.requests().len(), 2, "one URL is fetched once");
}

#[test]
fn an_unchanged_url_is_only_asked_for() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    add(&kiln, "", &web.url("/f.txt"), "RUN cat /f/f.txt");
    for (header, values) in [
        ("ETag", ["\"1\"", "\"2\""]),
        ("Last-Modified", ["Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"]),
    ] {
        web.put("/f.txt", Page::new(format!("{header} one\n")).with(header, values[0]));
        let ran = kiln.build::<&str>([]);
        ran.succeeds().logs(&format!("{header} one"));
        // What is fetched is no step of the Dockerfile's.
        ran.stderr_has("[internal] fetch http");
        assert_eq!(ran.stderr.matches("] ADD ").count(), 1, "{ran}");
        web.requests();
        kiln.build::<&str>([]).succeeds().cached("ADD").cached("RUN cat").stderr_has("3 steps, all cached");
        assert_eq!(web.requests(), ["GET /f.txt 304"]);
        web.put("/f.txt", Page::new(format!("{header} two\n")).with(header, values[1]));
        let ran = kiln.build::<&str>([]);
        ran.succeeds().executed("RUN cat").logs(&format!("{header} two")).stderr_has("why: f.txt changed");
        web.requests();
    }
    // New words for the same bytes change nothing.
    web.put("/f.txt", Page::new("Last-Modified two\n").with("ETag", "\"3\""));
    kiln.build::<&str>([]).succeeds().cached("RUN cat");
    assert_eq!(web.requests(), ["GET /f.txt 200"]);
    // Nothing is asked of a server for what has no condition but to fetch it, and the same bytes are the same file.
    web.put("/f.txt", Page::new("Last-Modified two\n"));
    kiln.build::<&str>([]).succeeds().cached("RUN cat");
}

#[test]
fn a_checksum_is_verified_and_spares_the_question() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/f", Page::new("hello\n"));
    let digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let wrong = digest.replace("be03", "be04");
    add(&kiln, &format!("--checksum={wrong}"), &web.url("/f"), "");
    let ran = kiln.build::<&str>([]);
    ran.exits(1).stderr_has(digest).stderr_has(&wrong).stderr_has("Dockerfile:2");
    add(&kiln, &format!("--checksum={digest}"), &web.url("/f"), "RUN cat /f/f");
    kiln.build::<&str>([]).succeeds().logs("hello");
    web.requests();
    kiln.build::<&str>([]).succeeds().cached("ADD").cached("RUN cat");
    assert!(web.requests().is_empty(), "what the digest says needs no question");
}

#[test]
fn archives_are_unpacked_on_demand() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    kiln.write("in/file", "inside\n");
    let archive = kiln.path("a.tgz");
    Ran::of(Command::new("tar").arg("-C").arg(kiln.context().join("in")).arg("-czf").arg(&archive).arg("file"))
        .succeeds();
    web.put("/a.tgz", Page::new(std::fs::read(&archive).unwrap()));
    let url = web.url("/a.tgz");
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base\nADD {url} /packed/\nADD --unpack=true {url} /unpacked/\nADD --unpack=false {url} /not/\n\
             RUN test -f /packed/a.tgz && test -f /not/a.tgz && ! test -e /unpacked/a.tgz && cat /unpacked/file\n"
        ),
    );
    kiln.build::<&str>([]).succeeds().logs("inside");
}

#[test]
fn redirects_and_secrets() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let (web, other) = (Web::start(), Web::start());
    web.put("/old", Page::moved_to("/new?q")).put("/new?q", Page::moved_to(&other.url("/there")));
    web.put("/loop", Page::moved_to("/loop")).put("/out", Page::moved_to("file:///etc/passwd"));
    web.put("/secret", Page::new("granted\n").with("Wants", "Bearer open sesame"));
    web.put("/elsewhere", Page::moved_to(&other.url("/secret")));
    other.put("/there", Page::new("moved\n"));
    other.put("/secret", Page::new("leaked\n").with("Wants", "Bearer open sesame"));
    // The name is that of the address that was asked for.
    add(&kiln, "", &web.url("/old"), "RUN cat /f/old");
    kiln.build::<&str>([]).succeeds().logs("moved");
    add(&kiln, "", &web.url("/loop"), "");
    kiln.build::<&str>([]).exits(3).stderr_has("more than 10 redirects");
    add(&kiln, "", &web.url("/out"), "");
    kiln.build::<&str>([]).exits(3).stderr_has("no place to go to");
    let secret = format!("id=HTTP_AUTH_TOKEN_{},env=TOKEN", web.address());
    let build = || Ran::of(kiln.build_command(["--secret", &secret]).env("TOKEN", "open sesame"));
    add(&kiln, "", &web.url("/secret"), "RUN cat /f/secret");
    kiln.build::<&str>([]).exits(3).stderr_has("401 Unauthorized").stderr_has("HTTP_AUTH_TOKEN");
    build().succeeds().logs("granted").stderr_lacks("sesame");
    add(&kiln, "", &web.url("/elsewhere"), "");
    build().exits(3).stderr_has("401 Unauthorized");
}

#[test]
fn what_cannot_be_had() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/broken", Page::new("x".repeat(100)).with("Transfer-Encoding", "chunked"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let credentials = format!("http://user:hunter2@{}/missing", web.address());
    for (url, status, text) in [
        (web.url("/missing"), 3, "404 Not Found"),
        (credentials, 3, "404 Not Found"),
        (web.url("/broken"), 3, "/broken`"),
        (format!("http://{closed}/x"), 3, "failed to fetch"),
        (format!("https://{}/x", web.address()), 3, "tls"),
        ("http://:80/x".to_owned(), 1, "is not an address"),
    ] {
        add(&kiln, "", &url, "");
        let ran = kiln.build::<&str>([]);
        ran.exits(status).stderr_has(text).stderr_has("Dockerfile:2").stderr_lacks("panicked");
        let message = ran.stderr.lines().find(|line| line.starts_with("error")).unwrap_or_default();
        assert!(!message.contains("hunter2"), "{ran}");
        assert!(!ran.stderr.lines().any(|line| line.starts_with('#') && line.contains("hunter2")), "{ran}");
        let found = Command::new("grep").args(["-r", "hunter2"]).arg(kiln.root().join("history")).output().unwrap();
        assert_eq!((found.status.code(), String::from_utf8_lossy(&found.stdout).as_ref()), (Some(1), ""));
    }
}

#[test]
fn a_server_that_hangs_does_not_keep_anybody() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/slow", Page::new("x".repeat(100_000)).hanging());
    add(&kiln, "", &web.url("/slow"), "");
    let child = kiln.build_command::<&str>([]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let started = Instant::now();
    while web.requests().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing is asked for");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ran::of(Command::new("kill").args(["-INT", &child.id().to_string()])).succeeds();
    let interrupted = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(interrupted.elapsed() < Duration::from_secs(10), "it takes too long");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    web.put("/slow", Page::new("fast\n"));
    add(&kiln, "", &web.url("/slow"), "RUN cat /f/slow");
    kiln.build::<&str>([]).succeeds().logs("fast");
}

#[test]
fn proxies_of_the_environment() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let (proxy, near) = (Web::start(), Web::start());
    proxy.put("http://example.test/f", Page::new("by the proxy\n"));
    near.put("/near", Page::new("directly\n"));
    kiln.write(
        "Dockerfile",
        format!("FROM base\nADD http://example.test/f {} /f/\nRUN cat /f/f /f/near\n", near.url("/near")),
    );
    let ran = Ran::of(kiln.build_command::<&str>([]).env("HTTP_PROXY", proxy.url("")));
    ran.succeeds().logs("by the proxy").logs("directly");
    assert_eq!(proxy.requests(), ["GET http://example.test/f 200"]);
}

#[test]
fn several_builds_fetch_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/f", Page::new("once\n".repeat(100_000)).with("ETag", "\"1\""));
    add(&kiln, "", &web.url("/f"), "RUN wc -l /f/f");
    let start = || kiln.build_command::<&str>([]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let builds: Vec<_> = (0..4).map(|_| start()).collect();
    for mut build in builds {
        assert!(build.wait().unwrap().success());
    }
    let requests = web.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests.iter().filter(|request| request.ends_with(" 200")).count(), 1, "{requests:?}");
}

#[test]
fn a_killed_fetch_leaves_nothing_behind() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/f", Page::new("x".repeat(1_000_000)).hanging());
    add(&kiln, "", &web.url("/f"), "RUN cat /f/f");
    let mut child = kiln.build_command::<&str>([]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while web.requests().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing is asked for");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    web.put("/f", Page::new("whole\n"));
    kiln.build::<&str>([]).succeeds().logs("whole");
    assert_eq!(made(&kiln), 0);
}

/// How many directories of processes there are in which something is being made.
fn made(kiln: &Kiln) -> usize {
    std::fs::read_dir(kiln.root().join("tmp")).unwrap().flatten().filter(|entry| entry.path().is_dir()).count()
}
