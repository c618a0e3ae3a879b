//! A context that changes while it is read: a right result or an error, never a record that lies.

use crate::support::{Kiln, Ran};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const SIZE: usize = 3 << 20;

/// Builds while `change` runs again and again with rising numbers; each build must succeed, or say what is going on. Gives the
/// highest number and how many builds succeeded.
fn build_while(kiln: &Kiln, builds: u32, change: impl Fn(u32) + Send + Sync, judge: impl Fn(&Ran)) -> (u32, u32) {
    let (over, version) = (AtomicBool::new(false), AtomicU32::new(0));
    let succeeded = thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                change(version.fetch_add(1, Ordering::SeqCst) + 1);
            }
        });
        let mut succeeded = 0;
        for _ in 0..builds {
            let ran = kiln.build::<&str>([]);
            match ran.status {
                Some(0) => {
                    succeeded += 1;
                    judge(&ran);
                }
                Some(1) => {
                    ran.stderr_has("changed while it was copied").stderr_has("Dockerfile:2").stderr_has("hint: ");
                }
                _ => panic!("{ran}"),
            }
        }
        succeeded
    });
    (version.load(Ordering::SeqCst), succeeded)
}

/// Ends the changes when the builds are over, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A file all of whose bytes are those of its version.
fn bytes(version: u32) -> Vec<u8> {
    let line = format!("{:07}\n", version % 40);
    line.repeat(SIZE / line.len()).into_bytes()
}

/// Replaced in one go: whoever opens it sees one version.
fn replace(path: &Path, contents: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, contents).expect("a file");
    fs::rename(&new, path).expect("a file to replace");
}

/// The versions that are in the image: one, if it is whole.
const VERSIONS: &str = "echo versions $(sort -u /data | wc -l)";

#[track_caller]
fn version_of(kiln: &Kiln, expected: u32) {
    let ran = kiln.run(["run", "app"]);
    ran.succeeds().stdout_is(&format!("{:07}\n", expected % 40));
}

#[test]
fn a_file_that_is_replaced_is_copied_whole_or_not_at_all() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", format!("FROM base\nCOPY data /data\nRUN {VERSIONS}\nCMD sort -u /data\n"));
    let data = kiln.context().join("data");
    replace(&data, &bytes(0));
    let change = |version| {
        replace(&data, &bytes(version));
        thread::sleep(Duration::from_millis(u64::from(version % 13) * 6));
    };
    let (last, succeeded) = build_while(&kiln, 14, change, |ran| {
        assert!(ran.logged("versions 1") || ran.step("RUN").contains(&"CACHED"), "{ran}");
    });
    println!("{last} versions, {succeeded} of 14 builds succeeded");
    // No record of all those builds lies: each version again, first the one that is there.
    for version in (0..=last).rev().take(12) {
        if version != last {
            replace(&data, &bytes(version));
        }
        kiln.build(["-t", "app"]).succeeds();
        version_of(&kiln, version);
    }
}

#[test]
fn a_file_that_is_written_in_place_is_noticed() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nCOPY data /data\nCMD sort -u /data\n");
    let data = kiln.context().join("data");
    fs::write(&data, bytes(0)).expect("a file");
    let change = |version| {
        use std::os::unix::fs::FileExt;
        let file = fs::File::options().write(true).open(&data).expect("a file");
        for (number, piece) in bytes(version).chunks(64 << 10).enumerate() {
            file.write_all_at(piece, number as u64 * (64 << 10)).expect("written");
        }
    };
    build_while(&kiln, 8, change, |_| {});
    for version in [3, 4, 3, 39] {
        change(version);
        kiln.build(["-t", "app"]).succeeds();
        version_of(&kiln, version);
    }
}

#[test]
fn an_archive_that_is_replaced_is_unpacked_whole_or_not_at_all() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let archives = kiln.path("archives");
    fs::create_dir(&archives).expect("a directory");
    let archive = |version: u32| {
        let path = archives.join(format!("{}.tar.gz", version % 5));
        if !path.exists() {
            let directory = archives.join(version.to_string());
            fs::create_dir(&directory).expect("a directory");
            fs::write(directory.join("data"), bytes(version)).expect("a file");
            // Of the same size, whatever the version.
            fs::write(directory.join("version"), format!("{:07}\n", version % 40)).expect("a file");
            let tar =
                Command::new("tar").arg("-czf").arg(&path).arg("-C").arg(&directory).args(["data", "version"]).status();
            assert!(tar.expect("tar").success());
        }
        fs::read(path).expect("an archive")
    };
    let all: Vec<Vec<u8>> = (0..5).map(archive).collect();
    let data = kiln.context().join("data.tar.gz");
    replace(&data, &all[0]);
    kiln.write("Dockerfile", "FROM base\nADD data.tar.gz /\nRUN cat /version\nCMD cat /version\n");
    let change = |version: u32| {
        replace(&data, &all[(version % 5) as usize]);
        thread::sleep(Duration::from_millis(u64::from(version % 11) * 5));
    };
    let (last, succeeded) = build_while(&kiln, 14, change, |_| {});
    println!("{last} versions, {succeeded} of 14 builds succeeded");
    for version in 0..5 {
        replace(&data, &all[version as usize]);
        kiln.build(["-t", "app"]).succeeds();
        version_of(&kiln, version);
    }
}

#[test]
fn files_that_come_and_go() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for number in 0..200 {
        kiln.write(&format!("tree/d{}/f{number}", number % 10), format!("{number}"));
    }
    kiln.write("Dockerfile", "FROM base\nCOPY tree /tree\nCMD find /tree -type f | wc -l\n");
    let tree = kiln.context().join("tree");
    let change = |version: u32| {
        let directory = tree.join(format!("d{}", version % 10));
        let away = tree.join("away");
        fs::rename(&directory, &away).expect("renamed");
        thread::sleep(Duration::from_millis(1));
        fs::rename(&away, &directory).expect("renamed back");
    };
    build_while(&kiln, 8, change, |_| {});
    kiln.build(["-t", "app"]).succeeds();
    kiln.run(["run", "app"]).succeeds().stdout_is("200\n");
}

#[test]
fn changes_that_hide_are_noticed() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nCOPY data /data\nCMD cat /data\n");
    let data = kiln.context().join("data");
    let build = |text: &str| {
        kiln.build(["-t", "app"]).succeeds();
        kiln.run(["run", "app"]).succeeds().stdout_is(text);
    };
    kiln.write("data", "one\n");
    build("one\n");
    // Same size, at once, and with the same time.
    let time = fs::metadata(&data).and_then(|metadata| metadata.modified()).expect("a time");
    let with_time = |text: &str| {
        fs::write(&data, text).expect("a file");
        let file = fs::File::options().write(true).open(&data).expect("a file");
        file.set_times(fs::FileTimes::new().set_modified(time)).expect("a time");
    };
    with_time("two\n");
    build("two\n");
    thread::sleep(Duration::from_millis(60));
    build("two\n");
    with_time("six\n");
    build("six\n");
    // Another file under the same name, with the same time.
    let other = kiln.context().join("other");
    fs::write(&other, "ten\n").expect("a file");
    fs::File::options()
        .write(true)
        .open(&other)
        .and_then(|file| file.set_times(fs::FileTimes::new().set_modified(time)))
        .expect("a time");
    fs::rename(&other, &data).expect("renamed");
    build("ten\n");
    // The mode alone.
    kiln.chmod("data", 0o600);
    assert_eq!(kiln.files::<&str>([])["data"].mode, "-rw-------");
}
