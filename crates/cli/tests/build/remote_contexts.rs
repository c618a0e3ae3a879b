//! Contexts from elsewhere: git repositories, archives and Dockerfiles at URLs and on standard input.

use crate::support::{GitServer, Kiln, Page, Ran, Web};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `kiln build CONTEXT ARGUMENTS` with the base image of the tests.
fn build(kiln: &Kiln, context: &str, arguments: &[&str]) -> Ran {
    Ran::of(&mut command(kiln, context, arguments))
}

fn command(kiln: &Kiln, context: &str, arguments: &[&str]) -> Command {
    let mut command = kiln.command(["build", "--progress=plain", "--build-context", &kiln.base(), context]);
    command.args(arguments);
    command
}

fn piped(kiln: &Kiln, arguments: &[&str], input: &[u8]) -> Ran {
    let base = kiln.base();
    let first = ["build", "--progress=plain", "--build-context", &base, "-"];
    kiln.run_with_input(first.iter().chain(arguments), input)
}

/// A tar of some files with owners of their own, compressed by a program.
fn archive(kiln: &Kiln, compression: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let directory = kiln.path("packed");
    let _not_there = std::fs::remove_dir_all(&directory);
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.args(["--owner=7", "--group=8", "--numeric-owner", "-c", compression, "-C"]).arg(directory).arg(".");
    let ran = Ran::of(&mut tar);
    ran.succeeds();
    ran.stdout
}

const DOCKERFILE: &str = "FROM base\nCOPY . /c/\nRUN cat /c/file; ls -A /c; stat -c '%n %u:%g' /c/file\n";

#[test]
fn repositories() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(server) = GitServer::start() else { return };
    server.commit("a", &[("Dockerfile", DOCKERFILE), ("file", "top\n"), (".dockerignore", "file\n")]);
    server.commit(
        "a",
        &[
            ("sub/dockerfile", DOCKERFILE),
            ("sub/file", "below\n"),
            ("sub/other.Dockerfile", "FROM base\nRUN echo other\n"),
        ],
    );
    let url = server.url("a");
    // As with BuildKit, what is not a directory of the user's is not filtered.
    let ran = build(&kiln, &url, &[]);
    ran.succeeds().logs("top").logs(".dockerignore").logs("/c/file 0:0");
    assert!(!ran.logged(".git"), "{ran}");
    build(&kiln, &url, &[]).succeeds().stderr_has("all cached");
    build(&kiln, &format!("{url}#main:sub"), &[]).succeeds().logs("below");
    build(&kiln, &format!("{url}#:sub"), &["-f", "other.Dockerfile"]).succeeds().logs("other");
    build(&kiln, &url, &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]).succeeds().logs(".git");
    build(&kiln, &url, &["-f", "missing"]).exits(1).stderr_has("there is no Dockerfile `missing` in the context");
    build(&kiln, &format!("{url}#none"), &[]).exits(1).stderr_has("has no branch or tag `none`");
    kiln.write("own", "FROM base\nCOPY file /f\nRUN cat /f\n");
    let own = kiln.context().join("own");
    build(&kiln, &url, &["-f", own.to_str().unwrap()]).succeeds().logs("top");
    // A change is found, and named.
    server.commit("a", &[("file", "changed\n")]);
    build(&kiln, &url, &[]).succeeds().logs("changed").stderr_has("why: file changed");
    kiln.run(["check", "--build-context", &kiln.base(), &url]).succeeds();
    kiln.run(["build", "--call=targets", &url]).succeeds().stdout_has("(default)");
}

#[test]
fn archives_and_dockerfiles_at_urls() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    let files = [("Dockerfile", DOCKERFILE), ("file", "packed\n"), ("sub/x", "")];
    web.put("/a.tgz", Page::new(archive(&kiln, "-z", &files)).with("ETag", "\"1\""));
    web.put("/plain", Page::new("FROM base\nRUN echo plain\n"));
    web.put("/copies", Page::new("FROM base\nCOPY . /c/\nRUN ls -A /c\n"));
    build(&kiln, &web.url("/a.tgz"), &[]).succeeds().logs("packed").logs("/c/file 7:8");
    web.requests();
    build(&kiln, &web.url("/a.tgz"), &[]).succeeds().stderr_has("all cached");
    assert_eq!(web.requests(), ["GET /a.tgz 304"]);
    build(&kiln, &web.url("/plain"), &[]).succeeds().logs("plain");
    build(&kiln, &web.url("/copies"), &[]).succeeds().logs("context");
    build(&kiln, &web.url("/missing"), &[]).exits(3).stderr_has("404 Not Found");
    // The Dockerfile alone, with a context of this machine.
    kiln.write("file", "local\n");
    web.put("/Dockerfile", Page::new("FROM base\nCOPY file /\nRUN cat /file\n"));
    build(&kiln, ".", &["-f", &web.url("/Dockerfile")]).succeeds().logs("local");
}

#[test]
fn standard_input() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("file", "piped\n"),
        ("other", "FROM base\nCOPY file /f\nRUN echo other; cat /f\n"),
    ];
    for compression in ["--format=gnu", "-z", "-j", "-J", "--zstd"] {
        let bytes = archive(&kiln, compression, &files);
        piped(&kiln, &["--no-cache"], &bytes).succeeds().logs("piped").logs("/c/file 7:8");
    }
    let bytes = archive(&kiln, "-z", &files);
    piped(&kiln, &[], &bytes).succeeds().stderr_has("all cached");
    piped(&kiln, &["-f", "other"], &bytes).succeeds().logs("other").logs("piped");
    piped(&kiln, &["-f", "none"], &bytes).exits(1).stderr_has("there is no Dockerfile `none` in the context");
    piped(&kiln, &[], &bytes[..bytes.len() / 2]).exits(1).stderr_has("failed to unpack the archive");
    piped(&kiln, &[], b"FROM base\nRUN echo alone\n").succeeds().logs("alone");
    piped(&kiln, &[], b"FROM base\nCOPY file /\n").exits(1).stderr_has("`file` does not exist");
    piped(&kiln, &[], b"").exits(2).stderr_has("is empty");
    piped(&kiln, &["-f", "x"], b"FROM base\n").exits(2).stderr_has("two Dockerfiles");
    piped(&kiln, &["-f", "-"], b"FROM base\n").exits(2).stderr_has("cannot be both");
}

#[test]
fn named_contexts() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(server) = GitServer::start() else { return };
    let web = Web::start();
    web.put("/f", Page::new("from the web\n").with("ETag", "\"1\""));
    server.commit("a", &[("file", "from git\n"), ("bin/tool", "#!/bin/sh\necho tool\n")]);
    let (git, http) = (format!("src={}#main", server.url("a")), format!("one={}", web.url("/f")));
    kiln.write(
        "Dockerfile",
        "FROM base AS src\nRUN exit 1\nFROM base\nCOPY --from=src file /g\nCOPY --from=one context /h\n\
         RUN --mount=from=src,target=/m --mount=from=one,source=context,target=/w cat /g /h /m/file /w; sh /m/bin/tool\n",
    );
    let arguments = ["--build-context", &git, "--build-context", &http];
    let ran = build(&kiln, ".", &arguments);
    ran.succeeds().logs("from git").logs("from the web").logs("tool");
    build(&kiln, ".", &arguments).succeeds().stderr_has("all cached");
    kiln.write("Dockerfile", "FROM src\nCOPY --from=base / /\nRUN cat /file\n");
    build(&kiln, ".", &arguments).succeeds().logs("from git");
    // One that nobody needs is not asked for.
    kiln.write("Dockerfile", "FROM base\nRUN true\n");
    build(&kiln, ".", &["--build-context", "gone=http://127.0.0.1:9/x.git"]).succeeds();
}

#[test]
fn an_interrupted_fetch_leaves_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let web = Web::start();
    web.put("/x.git/info/refs?service=git-upload-pack", Page::new("x".repeat(1000)).hanging());
    web.put("/slow", Page::new("x".repeat(1000)).hanging());
    for context in ["/x.git", "/slow"] {
        let child =
            command(&kiln, &web.url(context), &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
        assert_eq!(made(&kiln), 0);
        assert!(!runs(&web.url(context)), "git is left");
    }
}

/// Whether a process of this machine has the text among its arguments.
fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |path: &Path| std::fs::read(path.join("cmdline")).unwrap_or_default();
    processes.map(|entry| line(&entry.path())).any(|line| String::from_utf8_lossy(&line).contains(text))
}

/// How many directories of processes there are in which something is being made.
fn made(kiln: &Kiln) -> usize {
    std::fs::read_dir(kiln.root().join("tmp")).unwrap().flatten().filter(|entry| entry.path().is_dir()).count()
}
