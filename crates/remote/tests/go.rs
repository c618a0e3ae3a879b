//! A real Go toolchain on a build cache that has travelled.
//!
//! `cargo xtask test` says where one is; without it this test says `skipped`.

use kiln_registry::{Client, Config, Credentials};
use kiln_remote::{Access, CacheLocation, Limits, Memo, connect, export_mount, import_mount};
use std::collections::HashSet;
use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

/// The variable in which `cargo xtask test` names the context of the golang image.
const CONTEXT: &str = "KILN_TEST_GOLANG";

/// How many packages `go build` compiles with this cache.
fn compiled(go: &Path, project: &Path, cache: &Path) -> usize {
    let mut command = Command::new(go.join("bin/go"));
    command.args(["build", "-x", "-buildvcs=false", "-o", "app", "."]).current_dir(project).env_clear();
    command.env("GOCACHE", cache).env("GOPATH", project.join("gopath")).env("HOME", project);
    command.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env("PATH", "/usr/bin:/bin");
    // Go ignores a module that is right in the directory for temporary files.
    command.env("TMPDIR", cache.parent().expect("a parent"));
    let output = command.output().expect("go runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    log.lines().filter(|line| line.contains("/compile -o ")).count()
}

/// The files of the cache's entries.
fn entries(cache: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    let fans =
        below(cache.to_owned()).filter(|path| path.is_dir() && path.file_name().is_some_and(|name| name.len() == 2));
    let mut entries: Vec<PathBuf> = fans.flat_map(below).collect();
    entries.sort();
    entries
}

#[test]
fn an_imported_build_cache_compiles_nothing_and_loses_nothing() {
    let Some(context) = std::env::var_os(CONTEXT) else {
        println!("skipped: {CONTEXT} is not set; `cargo xtask test` sets it");
        return;
    };
    let go = Path::new(&context).join("go");
    let work = tempfile::tempdir().expect("a directory");
    let at = |path: &str| work.path().join(path);
    let write = |path: &str, text: &str| {
        fs::create_dir_all(at(path).parent().expect("a parent")).expect("a directory");
        fs::write(at(path), text).expect("a file");
    };
    write("project/go.mod", "module example.com/travels\n\ngo 1.25\n");
    write("project/one/one.go", "package one\n\nfunc One() int { return 1 }\n");
    write(
        "project/main.go",
        "package main\n\nimport \"example.com/travels/one\"\n\nfunc main() { println(one.One()) }\n",
    );
    let project = at("project");
    assert!(compiled(&go, &project, &at("laptop")) > 5, "runtime and all that it needs");

    // Six days pass: one more than Go keeps what it doesn't use.
    let then = SystemTime::now() - Duration::from_secs(6 * 24 * 60 * 60);
    for entry in entries(&at("laptop")) {
        let file = fs::File::open(entry).expect("an entry");
        file.set_times(FileTimes::new().set_modified(then)).expect("a time");
    }
    let seconds = then.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    fs::write(at("laptop/trim.txt"), seconds.to_string()).expect("a file");
    let unused = at("laptop/00").join(format!("{}-d", "0".repeat(64)));
    fs::write(&unused, b"of another program").expect("an entry");
    fs::File::open(&unused).and_then(|file| file.set_times(FileTimes::new().set_modified(then))).expect("a time");

    let stop = Arc::new(AtomicBool::new(false));
    let access = Access {
        client: Client::new(Config::default(), Credentials::none()),
        stop: Arc::clone(&stop),
        pushed: Vec::new(),
        broken: HashSet::new(),
    };
    let location = CacheLocation::Local { directory: at("cache"), tag: "latest".to_owned(), digest: None };
    let cache = connect(&location, &access).expect("a cache");
    let exported = export_mount(&at("laptop"), Memo::default(), &Limits::default(), &*cache, &stop).expect("an export");
    fs::create_dir(at("runner")).expect("a directory");
    let imported = import_mount(&exported.index, &at("runner"), Limits::MAX_SIZE, &*cache, &stop).expect("an import");

    fs::remove_file(at("project/app")).expect("the program");
    let before = entries(&at("runner"));
    assert_eq!(compiled(&go, &project, &at("runner")), 0);
    assert!(Command::new(at("project/app")).status().expect("the program runs").success());
    let after = entries(&at("runner"));
    assert!(before.iter().all(|entry| after.contains(entry)), "Go has deleted something");

    // What a build on the runner adds is all that the runner sends.
    write("project/one/one.go", "package one\n\nfunc One() int { return 2 }\n");
    assert!(compiled(&go, &project, &at("runner")) <= 2);
    let again = export_mount(&at("runner"), imported.memo, &Limits::default(), &*cache, &stop).expect("an export");
    assert!(again.sent < exported.sent / 20, "{} of {}", again.sent, exported.sent);
}
