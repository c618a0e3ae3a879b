//! Killing, dying, and many at once.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kiln_sandbox::ExitStatus;

use crate::fixture::{Trial, finish, need_root};

/// Whether any process on the host has this command line, arguments separated by zeros.
pub(crate) fn any_process_with(command: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path().join("cmdline"))
        .any(|path| fs::read(path).is_ok_and(|line| String::from_utf8_lossy(&line).contains(command)))
}

fn eventually(condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn kill_from_another_thread_leaves_nothing() {
    need_root!();
    let sandbox = Trial::sh("(trap '' TERM INT; sleep 2001 & wait) & setsid sleep 2002 & sleep 2003");
    let mut child = sandbox.spawn().unwrap();
    assert!(eventually(|| any_process_with("sleep\u{0}2002")));
    let killer = child.killer();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        killer.kill();
    });
    assert_eq!(child.wait().unwrap().status, ExitStatus::Signal(9));
    for argument in ["2001", "2002", "2003"] {
        assert!(!any_process_with(&format!("sleep\u{0}{argument}")), "{argument}");
    }
    // Pipes of killed descendants are closed, and killing the dead is harmless.
    child.killer().kill();
    assert_eq!(finish(&mut child).out, "");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(sandbox.directory.path().to_str().unwrap()));
}

#[test]
fn dropping_kills() {
    need_root!();
    let child = Trial::new(&["sleep", "2010"]).spawn().unwrap();
    assert!(any_process_with("sleep\u{0}2010"));
    drop(child);
    assert!(!any_process_with("sleep\u{0}2010"));
}

/// Not a test of its own: what `dies_with_its_parent` runs and kills.
#[test]
#[ignore = "run by another test"]
fn helper_that_is_killed() {
    let mut child = Trial::sh("echo started; (setsid sleep 2020 &); sleep 2021").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    println!("{line}");
    child.wait().unwrap();
}

#[test]
fn dies_with_its_parent() {
    need_root!();
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::helper_that_is_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "started"));
    assert!(eventually(|| any_process_with("sleep\u{0}2020") && any_process_with("sleep\u{0}2021")));
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert!(eventually(|| !any_process_with("sleep\u{0}2020") && !any_process_with("sleep\u{0}2021")));
}

#[test]
fn dies_with_its_parent_even_as_another_user() {
    need_root!();
    let own_thread = thread::spawn(|| {
        let mut sandbox = Trial::new(&["sleep", "2030"]);
        sandbox.spec.user.uid = 1000;
        let child = sandbox.spawn().unwrap();
        // The thread ends without killing or waiting.
        std::mem::forget(child);
        sandbox
    });
    let _sandbox = own_thread.join().unwrap();
    assert!(eventually(|| !any_process_with("sleep\u{0}2030")));
}

#[test]
fn two_hundred_from_eight_threads_beside_allocation() {
    need_root!();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut kept: Vec<Vec<u8>> = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    kept.push(vec![1; 1 + kept.len() * 97 % 9000]);
                    kept.truncate(50);
                    let _ = std::env::var_os("HOME");
                }
            });
        }
        let spawners: Vec<_> = (0..8)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..25 {
                        let ran = Trial::sh(&format!("echo {thread} {round}; exit {round}")).run();
                        assert_eq!(ran.out, format!("{thread} {round}\n"));
                        assert_eq!(ran.exit.code(), round);
                    }
                })
            })
            .collect();
        for spawner in spawners {
            spawner.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn descriptors_are_not_used_up() {
    need_root!();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    Trial::new(&["true"]).run();
    let before = count();
    for _ in 0..20 {
        Trial::new(&["true"]).run();
        assert!(Trial::new(&["/nothing"]).spawn().is_err());
    }
    // Other tests run beside this one.
    assert!(count() < before + 60, "{before} {}", count());
}
