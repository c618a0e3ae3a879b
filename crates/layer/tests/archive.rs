//! Layers through archives and back, with GNU tar and Python's `tarfile` as judges in both directions.

mod support;

use kiln_layer::{
    ApplyOptions, BlobFormat, Builder, Directory, Meta, PackOptions, Stack, Time, Tree, apply, decompress, diff_digest,
    pack, pack_tree, write_layer,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use support::{Change, Listing, Times, build, changes, listing};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: owners and devices need root");
    }
    root
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn packed(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packed = pack(dir, &mut bytes, &PackOptions::default()).unwrap();
    assert_eq!((packed.diff_id, packed.size), (kiln_digest::Digest::of_bytes(&bytes), bytes.len() as u64));
    bytes
}

fn show(dir: &Path, times: Times) -> Listing {
    listing(&Directory::new(dir).unwrap(), times)
}

#[test]
fn layers_round_trip() {
    if !is_root() {
        return;
    }
    let mut runner = TestRunner::new(config(120));
    let tested = runner.run(&(changes(), changes()), |(lower, upper)| {
        let work = tempfile::tempdir().unwrap();
        let place = |name: &str| work.path().join(name);
        build(&place("lower"), None, &lower);
        let base: Arc<dyn Tree> = Arc::new(Stack::new(vec![place("lower")]).unwrap());
        build(&place("upper"), Some(base), &upper);

        let bytes = packed(&place("upper"));
        let applied = apply(&bytes[..], &place("applied"), &ApplyOptions::default()).unwrap();
        prop_assert_eq!(applied.diff_id, kiln_digest::Digest::of_bytes(&bytes));
        prop_assert!(applied.deferred.is_empty(), "{:?}", applied.deferred);
        prop_assert_eq!(diff_digest(&place("applied")).unwrap(), diff_digest(&place("upper")).unwrap());
        prop_assert!(packed(&place("applied")) == bytes, "packing again gives other bytes");
        let stack = |top: &str| listing(&Stack::new(vec![place("lower"), place(top)]).unwrap(), Times::Seconds);
        prop_assert_eq!(stack("applied"), stack("upper"));

        for format in [BlobFormat::Gzip, BlobFormat::Zstd, BlobFormat::Tar] {
            let mut blob = Vec::new();
            let written = write_layer(&place("upper"), format, &mut blob, &PackOptions::default()).unwrap();
            prop_assert_eq!(written.diff_id, applied.diff_id);
            prop_assert_eq!(written.uncompressed_size, bytes.len() as u64);
            prop_assert_eq!(
                (written.blob, written.blob_size),
                (kiln_digest::Digest::of_bytes(&blob), blob.len() as u64)
            );
            let mut stream = Vec::new();
            std::io::copy(&mut decompress(std::io::Cursor::new(blob)).unwrap(), &mut stream).unwrap();
            prop_assert!(stream == bytes, "{:?} gives another stream", format);
        }
        Ok(())
    });
    tested.unwrap();
}

#[test]
fn a_tree_packs_as_what_it_shows() {
    if !is_root() {
        return;
    }
    let mut runner = TestRunner::new(config(60));
    let tested = runner.run(&(changes(), changes()), |(lower, upper)| {
        let work = tempfile::tempdir().unwrap();
        let place = |name: &str| work.path().join(name);
        build(&place("lower"), None, &lower);
        let base: Arc<dyn Tree> = Arc::new(Stack::new(vec![place("lower")]).unwrap());
        build(&place("upper"), Some(base), &upper);
        let stack = Stack::new(vec![place("lower"), place("upper")]).unwrap();
        let mut bytes = Vec::new();
        pack_tree(&stack, &mut bytes, &PackOptions::default()).unwrap();
        apply(&bytes[..], &place("all"), &ApplyOptions::default()).unwrap();
        prop_assert_eq!(show(&place("all"), Times::Seconds), listing(&stack, Times::Seconds));
        Ok(())
    });
    tested.unwrap();
}

/// Runs a program with the bytes as its input.
fn run(command: &mut Command, input: &[u8]) -> Output {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no `{program}`");
    }
    found
}

#[test]
fn gnu_tar_reads_what_is_written() {
    if !is_root() || !has("tar") {
        return;
    }
    let mut runner = TestRunner::new(config(40));
    let tested = runner.run(&changes(), |mut changes| {
        changes.retain(|change| !matches!(change, Change::Opaque(_)));
        let work = tempfile::tempdir().unwrap();
        let (ours, theirs) = (work.path().join("ours"), work.path().join("theirs"));
        build(&ours, None, &changes);
        std::fs::create_dir(&theirs).unwrap();
        let options = [
            "--warning=no-timestamp",
            "--numeric-owner",
            "--same-permissions",
            "--delay-directory-restore",
            "--xattrs-include=*",
            "-x",
            "-f",
            "-",
        ];
        let output = run(Command::new("tar").arg("-C").arg(&theirs).args(options), &packed(&ours));
        prop_assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        prop_assert_eq!(show(&theirs, Times::Seconds), show(&ours, Times::Seconds));
        Ok(())
    });
    tested.unwrap();
}

/// A tree that every format of tar can hold.
fn plain_tree(dir: &Path) {
    let builder = Builder::new(dir.to_owned(), None).unwrap();
    let meta = |mode, id, secs| Meta { mode, uid: id, gid: id, mtime: Time::seconds(secs), xattrs: Vec::new() };
    let path = Path::new;
    builder.directory(path("dir"), &meta(0o2755, 0, 1000)).unwrap();
    builder.file(path("dir/file"), &meta(0o4711, 1000, 1_700_000_000), &b"contents"[..]).unwrap();
    builder.file(path("dir/empty"), &meta(0o600, 0, 0), &b""[..]).unwrap();
    builder.file(path("dir/block"), &meta(0o600, 0, 0), &[7; 512][..]).unwrap();
    builder.file(path("dir/large"), &meta(0o600, 0, 0), &[7; 700_000][..]).unwrap();
    builder.hard_link(path("dir/second name"), path("dir/file")).unwrap();
    builder.symlink(path("dir/link"), &meta(0o777, 5, 77), path("../else where")).unwrap();
    builder.node(path("pipe"), &meta(0o640, 0, 5), &kiln_layer::Kind::Fifo).unwrap();
    builder.node(path("device"), &meta(0o666, 0, 5), &kiln_layer::Kind::Character { major: 1, minor: 3 }).unwrap();
    builder.finish().unwrap();
}

/// Names and links longer than the header's fields, ids and times beyond its digits.
fn long_tree(dir: &Path) {
    plain_tree(dir);
    let builder = Builder::new(dir.to_owned(), None).unwrap();
    let long: PathBuf = ["n".repeat(90), "o".repeat(120), "p".repeat(200)].iter().collect();
    let meta = Meta { mode: 0o640, uid: 4_000_000_000, gid: 3_000_000, mtime: Time::seconds(-77), xattrs: Vec::new() };
    builder.file(&long, &meta, &b"far down"[..]).unwrap();
    builder.hard_link(Path::new("near"), &long).unwrap();
    builder.symlink(Path::new("very far"), &Meta { mtime: Time::seconds(1 << 34), ..meta }, &long).unwrap();
    builder.file(Path::new("ünïcödé \n new line"), &Meta::new(0o600), &b"x"[..]).unwrap();
    builder.finish().unwrap();
}

fn applied(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("layer");
    apply(bytes, &dir, &ApplyOptions::default()).unwrap();
    (work, dir)
}

#[test]
fn what_gnu_tar_writes_is_read() {
    if !is_root() || !has("tar") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let trees = [("plain", plain_tree as fn(&Path)), ("long", long_tree)];
    for (name, make) in trees {
        let dir = work.path().join(name);
        make(&dir);
        for format in ["v7", "ustar", "oldgnu", "gnu", "posix"] {
            if name == "long" && matches!(format, "v7" | "ustar") || format == "v7" && name == "plain" {
                // These can't hold the long names, and v7 no devices.
                continue;
            }
            let format = format!("--format={format}");
            let output = run(Command::new("tar").args(["-c", "-f", "-", "-C"]).arg(&dir).args([&format, "."]), b"");
            let (_work, layer) = applied(&output.stdout);
            assert_eq!(show(&layer, Times::Seconds), show(&dir, Times::Seconds), "{name}, {format}");
        }
    }
    // Only this one has attributes and fractions of seconds.
    let dir = work.path().join("attributes");
    build(
        &dir,
        None,
        &[Change::File(
            "f".into(),
            b"x".to_vec(),
            Meta {
                mode: 0o755,
                mtime: Time { secs: 5, nanos: 123_456_789 },
                xattrs: vec![("user.a".into(), b"one\0two\n".to_vec())],
                ..Meta::default()
            },
        )],
    );
    let options = ["--format=posix", "--xattrs", "--xattrs-include=*", "-c", "-f", "-", "-C"];
    let output = run(Command::new("tar").args(options).arg(&dir).arg("."), b"");
    let (_work, layer) = applied(&output.stdout);
    assert_eq!(show(&layer, Times::Exact), show(&dir, Times::Exact));
}

#[test]
fn sparse_files_of_gnu_tar_are_read() {
    if !is_root() || !has("tar") {
        return;
    }
    use std::os::unix::fs::{FileExt, MetadataExt};
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("tree");
    std::fs::create_dir(&dir).unwrap();
    let file = std::fs::File::create(dir.join("holes")).unwrap();
    file.set_len(60 << 20).unwrap();
    for number in 0..50 {
        file.write_all_at(format!("piece {number}").as_bytes(), number << 20).unwrap();
    }
    let empty = std::fs::File::create(dir.join("only a hole")).unwrap();
    empty.set_len(1 << 20).unwrap();
    for options in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let output = run(Command::new("tar").args(["-c", "-S", "-f", "-", "-C"]).arg(&dir).args(options).arg("."), b"");
        assert!(output.stdout.len() < 2 << 20, "{options:?} are not sparse");
        let (_work, layer) = applied(&output.stdout);
        assert_eq!(show(&layer, Times::Seconds), show(&dir, Times::Seconds), "{options:?}");
        assert!(layer.join("holes").metadata().unwrap().blocks() < 4096, "{options:?}: holes were filled");
    }
}

#[test]
fn python_reads_and_writes_the_same() {
    if !is_root() || !has("python3") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("tree");
    long_tree(&dir);
    let script = "import sys,tarfile\n\
        source=tarfile.open(fileobj=sys.stdin.buffer,mode='r|')\n\
        target=tarfile.open(fileobj=sys.stdout.buffer,mode='w|',format=getattr(tarfile,sys.argv[1]))\n\
        for member in source:\n\
        \x20target.addfile(member,source.extractfile(member) if member.isreg() else None)\n\
        target.close()\n";
    for format in ["GNU_FORMAT", "PAX_FORMAT"] {
        let output = run(Command::new("python3").args(["-c", script, format]), &packed(&dir));
        let (_work, layer) = applied(&output.stdout);
        assert_eq!(show(&layer, Times::Seconds), show(&dir, Times::Seconds), "{format}");
    }
}

#[test]
fn gzip_and_zstd_programs_read_the_blobs() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("tree");
    let builder = Builder::new(dir.clone(), None).unwrap();
    let numbers: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    builder.file(Path::new("data"), &Meta::new(0o644), &numbers[..]).unwrap();
    builder.finish().unwrap();
    let stream = packed(&dir);
    for (format, program) in [(BlobFormat::Gzip, "gzip"), (BlobFormat::Zstd, "zstd")] {
        if !has(program) {
            continue;
        }
        let mut blob = Vec::new();
        write_layer(&dir, format, &mut blob, &PackOptions::default()).unwrap();
        let output = run(Command::new(program).args(["-d", "-c"]), &blob);
        assert!(output.stdout == stream, "{program} gives another stream");
    }
}
