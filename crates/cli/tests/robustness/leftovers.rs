//! What a kiln process has left behind: processes, mounts, and files of the store that nobody needs.

use crate::support::Kiln;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything on this machine that still has to do with a directory: a process that was started with it, works in it, runs from
/// it, or sees a mount of it. Background syncs of the store don't count: they end by themselves.
pub(crate) fn of_directory(directory: &Path) -> Vec<String> {
    let needle = directory.to_str().expect("a temporary directory has a plain name");
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let name = process.file_name().into_string().unwrap_or_default();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let path = process.path();
        // A process that ends meanwhile reads as empty.
        let text = |file: &str| String::from_utf8_lossy(&fs::read(path.join(file)).unwrap_or_default()).into_owned();
        let command = text("cmdline").replace('\0', " ");
        if command.contains("internal-sync") {
            continue;
        }
        // A filesystem that a test has mounted for the whole store is none of kiln's.
        let own_disk = |line: &str| line.split(' ').nth(4) == Some(needle);
        for mount in text("mountinfo").lines().filter(|line| line.contains(needle) && !own_disk(line)) {
            found.push(format!("process {name} `{command}` sees the mount {mount}"));
        }
        if name == own {
            continue;
        }
        if command.contains(needle) || text("environ").contains(needle) {
            found.push(format!("process {name} `{command}`"));
        }
        for link in ["cwd", "root", "exe"] {
            if fs::read_link(path.join(link)).is_ok_and(|target| target.starts_with(directory)) {
                found.push(format!("process {name} `{command}` has its {link} in there"));
            }
        }
    }
    found
}

/// Waits a moment for the kernel to finish what it does when processes die, then insists that nothing is left.
#[track_caller]
pub(crate) fn none(kiln: &Kiln) {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = of_directory(&kiln.root());
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The names in a directory of the store.
pub(crate) fn names(kiln: &Kiln, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(kiln.root().join(directory)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Waits until no background sync is at work on the store any more.
#[track_caller]
pub(crate) fn wait_for_sync(kiln: &Kiln) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let root = kiln.root();
    let root = root.to_str().expect("a plain name");
    loop {
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let busy = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok()).any(|command| {
            let command = String::from_utf8_lossy(&command);
            command.contains("internal-sync") && command.contains(root)
        });
        if !busy {
            return;
        }
        assert!(Instant::now() < deadline, "the background sync does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nothing is in the store's `tmp/`, once background syncs are through.
#[track_caller]
pub(crate) fn no_temporary_files(kiln: &Kiln) {
    wait_for_sync(kiln);
    let left = names(kiln, "tmp");
    assert!(left.is_empty(), "left in tmp/: {left:?}");
}
