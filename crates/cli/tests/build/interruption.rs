//! Builds that are interrupted: what they say, that nothing runs on, and that the next build works.

use super::errors::mounts;
use crate::support::Kiln;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A build that sleeps for a length of time that no other process on this machine sleeps.
fn sleeping(kiln: &Kiln, seconds: &str) -> Child {
    kiln.write(
        "Dockerfile",
        format!("FROM base\nRUN echo good > /good\nRUN trap '' INT TERM; echo asleep; sleep {seconds}; true\n"),
    );
    let child = kiln.build_command::<&str>([]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !sleeps(seconds) {
        assert!(start.elapsed() < Duration::from_secs(20), "the step does not start");
        sleep(Duration::from_millis(20));
    }
    child
}

/// Whether a process of this machine sleeps so long.
fn sleeps(seconds: &str) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .any(|line| line == wanted.as_bytes())
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn end(child: Child) -> Output {
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "it took too long");
    output
}

#[track_caller]
fn nothing_is_left(kiln: &Kiln, seconds: &str) {
    let start = Instant::now();
    while sleeps(seconds) {
        assert!(start.elapsed() < Duration::from_secs(5), "a process is left");
        sleep(Duration::from_millis(20));
    }
    assert_eq!(mounts(kiln), "", "a mount is left");
    kiln.write("Dockerfile", format!("FROM base\nRUN echo good > /good\nRUN cat /good; echo after {seconds}\n"));
    kiln.build::<&str>([]).succeeds().cached("RUN echo good").logs("good");
}

#[test]
fn interrupt_and_terminate() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for (name, seconds, status) in [("INT", "1131.7", 130), ("TERM", "1132.7", 143)] {
        let child = sleeping(&kiln, seconds);
        signal(&child, name);
        let output = end(child);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.ends_with("cancelled\n") && !text.contains("error:"), "{text}");
        nothing_is_left(&kiln, seconds);
    }
}

#[test]
fn kill() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let child = sleeping(&kiln, "1133.7");
    signal(&child, "KILL");
    assert_eq!(end(child).status.signal(), Some(9));
    nothing_is_left(&kiln, "1133.7");
}

#[test]
fn kill_at_any_moment() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for n in 0..25_u64 {
        kiln.write("file", format!("{n}"));
        kiln.write(
            "Dockerfile",
            "FROM base\nCOPY file /f\nRUN --mount=type=cache,target=/c cat /f > /g && cp /g /c/g\nRUN cat /g > /h\n",
        );
        let child = kiln.build_command(["-t", "app"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(n * 11));
        signal(&child, "KILL");
        drop(child.wait_with_output());
        let ran = kiln.build(["-t", "app"]);
        ran.succeeds();
        kiln.run(["run", "app", "cat", "/h"]).succeeds().stdout_is(&n.to_string());
    }
    assert_eq!(mounts(&kiln), "");
    kiln.run(["prune", "--force"]).succeeds();
    let left = std::fs::read_dir(kiln.root().join("tmp")).map_or(0, Iterator::count);
    assert!(left <= 2, "{left} directories below tmp");
}

#[test]
fn a_run_that_is_interrupted() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\n");
    kiln.build(["-t", "app"]).succeeds();
    let child = kiln.spawn(["run", "app", "sleep", "1134.7"]);
    let start = Instant::now();
    while !sleeps("1134.7") {
        assert!(start.elapsed() < Duration::from_secs(20), "the program does not start");
        sleep(Duration::from_millis(20));
    }
    signal(&child, "TERM");
    let output = end(child);
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(mounts(&kiln), "");
}
