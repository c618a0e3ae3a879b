//! Archives made by hand: what layers mean, and what hostile ones try.

use super::*;
use crate::stack::Stack;
use crate::tar::write::Header;
use std::collections::{BTreeMap, BTreeSet};

/// A member to write.
#[derive(Clone)]
struct M<'a> {
    path: &'a str,
    flag: u8,
    link: &'a str,
    data: &'a str,
    mode: u32,
    device: (u32, u32),
    xattrs: Vec<(OsString, Vec<u8>)>,
}

fn member<'a>(flag: u8, path: &'a str, link: &'a str, data: &'a str) -> M<'a> {
    let mode = if flag == b'5' { 0o755 } else { 0o644 };
    M { path, flag, link, data, mode, device: (1, 3), xattrs: Vec::new() }
}

fn file<'a>(path: &'a str, data: &'a str) -> M<'a> {
    member(b'0', path, "", data)
}

fn dir(path: &str) -> M<'_> {
    member(b'5', path, "", "")
}

fn symlink<'a>(path: &'a str, to: &'a str) -> M<'a> {
    member(b'2', path, to, "")
}

fn hard_link<'a>(path: &'a str, to: &'a str) -> M<'a> {
    member(b'1', path, to, "")
}

fn archive(members: &[M<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let header = Header {
            path: member.path.as_bytes(),
            link: member.link.as_bytes(),
            flag: member.flag,
            mode: member.mode,
            uid: 0,
            gid: 0,
            size: member.data.len() as u64,
            mtime: 1000,
            device: member.device,
            xattrs: &member.xattrs,
        };
        bytes.extend(header.blocks());
        bytes.extend_from_slice(member.data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Each path of a layer with a short text: `/` for a directory, `!` for an opaque one, `-` for a whiteout.
fn shape(dir: &Path) -> BTreeMap<String, String> {
    let namespace = Namespace::of_process();
    let mut shape = BTreeMap::new();
    for visit in crate::walk::Walk::new(dir).unwrap() {
        let visit = visit.unwrap();
        let text = match &visit.entry.kind {
            _ if visit.entry.is_whiteout() => "-".to_owned(),
            Kind::File => std::fs::read_to_string(dir.join(&visit.path)).unwrap(),
            Kind::Directory => {
                let opaque = overlay::is_opaque(visit.directory.unwrap().as_fd(), namespace).unwrap();
                if opaque { "!" } else { "/" }.to_owned()
            }
            Kind::Symlink(target) => format!("-> {}", target.to_string_lossy()),
            other => format!("{other:?}"),
        };
        shape.insert(visit.path.to_str().unwrap().to_owned(), text);
    }
    shape
}

fn applied(members: &[M<'_>]) -> Result<BTreeMap<String, String>, ApplyError> {
    let work = tempfile::tempdir().unwrap();
    // Something to hit for what escapes: the layer's directory is two levels down.
    std::fs::create_dir(work.path().join("outer")).unwrap();
    std::fs::write(work.path().join("secret"), "untouched").unwrap();
    let layer = work.path().join("outer/layer");
    let result = apply(&archive(members)[..], &layer, &ApplyOptions::default());
    assert_eq!(std::fs::read_to_string(work.path().join("secret")).unwrap(), "untouched");
    let names = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
    assert_eq!((names(work.path()), names(&work.path().join("outer"))), (2, 1), "something was made outside");
    result.map(|_| shape(&layer))
}

fn has_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: devices and owners need root");
    }
    root
}

/// What it is about, the archive, and what comes of it.
type Case<'a> = (&'a str, Vec<M<'a>>, &'a [(&'a str, &'a str)]);

#[test]
fn members_mean() {
    if !has_root() {
        return;
    }
    let table: Vec<Case<'_>> = vec![
        ("plain", vec![dir("a/"), file("a/b", "x")], &[("a", "/"), ("a/b", "x")]),
        ("root and absolute names", vec![dir("./"), file("/a", "x"), file("./b", "y")], &[("a", "x"), ("b", "y")]),
        ("implied parents", vec![file("a/b/c", "x")], &[("a", "/"), ("a/b", "/"), ("a/b/c", "x")]),
        ("whiteout", vec![file("a/.wh.b", "")], &[("a", "/"), ("a/b", "-")]),
        ("opaque", vec![dir("a/"), file("a/.wh..wh..opq", ""), file("a/b", "x")], &[("a", "!"), ("a/b", "x")]),
        ("opaque without a member", vec![file("a/.wh..wh..opq", "")], &[("a", "!")]),
        ("whiteout before a file", vec![file(".wh.a", ""), file("a", "x")], &[("a", "x")]),
        ("whiteout after a file", vec![file("a", "x"), file(".wh.a", "")], &[("a", "x")]),
        ("whiteout before a directory", vec![file(".wh.a", ""), dir("a/")], &[("a", "!")]),
        ("whiteout after a directory", vec![dir("a/"), file(".wh.a", "")], &[("a", "!")]),
        ("whiteout before an implied parent", vec![file(".wh.a", ""), file("a/b", "x")], &[("a", "!"), ("a/b", "x")]),
        ("device", vec![M { flag: b'3', ..file("a", "") }], &[("a", "Character { major: 1, minor: 3 }")]),
        ("device 0/0 is a whiteout", vec![M { flag: b'3', device: (0, 0), ..file("a", "") }], &[("a", "-")]),
        ("old file system's marks", vec![file(".wh..wh.plnk/1.2", "x"), dir(".wh..wh.aufs")], &[]),
        ("last one wins", vec![file("a", "x"), file("a", "y")], &[("a", "y")]),
        ("file over directory", vec![file("a/b/c", "x"), file("a", "y")], &[("a", "y")]),
        (
            "directory over file",
            vec![file("a", "x"), file("b", "y"), dir("a"), file("a/c", "z")],
            &[("a", "/"), ("a/c", "z"), ("b", "y")],
        ),
        ("directory twice keeps", vec![file("a/b", "x"), dir("a")], &[("a", "/"), ("a/b", "x")]),
        ("file over symlink", vec![symlink("a", "b"), file("b", "x"), file("a", "y")], &[("a", "y"), ("b", "x")]),
        ("hard link", vec![file("a", "x"), hard_link("b/c", "a")], &[("a", "x"), ("b", "/"), ("b/c", "x")]),
        ("hard link to itself", vec![file("a", "x"), hard_link("a", "./a")], &[("a", "x")]),
        (
            "hard link to a symlink",
            vec![symlink("a", "/etc"), hard_link("b", "a")],
            &[("a", "-> /etc"), ("b", "-> /etc")],
        ),
        ("inner dots", vec![file("a/../b", "x")], &[("b", "x")]),
        ("pipe", vec![member(b'6', "p", "", "")], &[("p", "Fifo")]),
    ];
    for (what, members, expected) in table {
        let expected: BTreeMap<_, _> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(applied(&members).unwrap(), expected, "{what}");
    }
}

#[test]
fn what_is_told_with_a_link_comes_last() {
    if !has_root() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let layer = work.path().join("layer");
    let told = |mode, value: &[u8], member: M<'static>| M {
        mode,
        xattrs: vec![(OsString::from("user.note"), value.to_vec())],
        ..member
    };
    let members = [told(0o4755, b"1", file("a", "x")), told(0o640, b"2", hard_link("b/c", "a"))];
    apply(&archive(&members)[..], &layer, &ApplyOptions::default()).unwrap();
    for path in ["a", "b/c"] {
        let entry = Directory::new(&layer).unwrap().entry(Path::new(path)).unwrap().unwrap();
        let mut value = [0; 1];
        rustix::fs::getxattr(layer.join(path), "user.note", &mut value).unwrap();
        assert_eq!((entry.mode & 0o7777, entry.nlink, value), (0o640, 2, *b"2"), "{path}");
    }
}

#[test]
fn links_are_followed_within_the_root() {
    let table: Vec<Case<'_>> = vec![
        (
            "same layer",
            vec![dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/x", "1")],
            &[("lib", "-> usr/lib"), ("usr/lib/x", "1")],
        ),
        (
            "missing target is made",
            vec![symlink("lib", "usr/lib"), file("lib/x", "1")],
            &[("usr", "/"), ("usr/lib", "/"), ("usr/lib/x", "1")],
        ),
        ("absolute target", vec![symlink("out", "/etc"), file("out/x", "1")], &[("out", "-> /etc"), ("etc/x", "1")]),
        ("upwards", vec![symlink("out", "../../.."), file("out/secret", "1")], &[("secret", "1")]),
        ("chain", vec![symlink("a", "b"), symlink("b", "/c/../.."), file("a/secret", "1")], &[("secret", "1")]),
        (
            "retargeted",
            vec![symlink("a", "b"), file("a/x", "1"), symlink("a", "c"), file("a/x", "2")],
            &[("b/x", "1"), ("c/x", "2")],
        ),
        (
            "directory becomes a link",
            vec![file("a/x", "1"), symlink("a", "/b"), file("a/y", "2")],
            &[("a", "-> /b"), ("b/y", "2")],
        ),
        (
            "hard link through a link",
            vec![symlink("out", "/"), file("secret", "1"), hard_link("x", "out/secret")],
            &[("x", "1")],
        ),
        ("whiteout through a link", vec![symlink("out", "/../d"), file("out/.wh.x", "")], &[("d/x", "-")]),
        ("directory through a link", vec![symlink("out", ".."), dir("out/made")], &[("made", "/")]),
        ("symlink through a link", vec![symlink("out", ".."), symlink("out/made", "/x")], &[("made", "-> /x")]),
    ];
    for (what, members, expected) in table {
        let shape = applied(&members).unwrap();
        for (path, text) in expected {
            assert_eq!(shape.get(*path).map(String::as_str), Some(*text), "{what}: {shape:?}");
        }
    }
}

#[test]
fn hostile_members_are_refused() {
    let deep = "d/".repeat(3000);
    let table: Vec<(&str, Vec<M<'_>>, &str)> = vec![
        ("parent", vec![file("../x", "1")], "`../x` leads out of the layer's root"),
        ("inner parent", vec![file("a/../../x", "1")], "leads out"),
        ("parent itself", vec![dir("..")], "leads out"),
        ("link to the outside", vec![hard_link("x", "../secret")], "`../secret` leads out"),
        ("link to the root", vec![hard_link("x", "/")], "which does not exist"),
        ("link to a directory", vec![dir("a"), hard_link("x", "a")], "failed to link `x`"),
        ("link to a whiteout", vec![file(".wh.a", ""), hard_link("x", "a")], "which does not exist"),
        ("nameless whiteout", vec![file("a/.wh.", "")], "not a valid whiteout"),
        ("whiteout of the parent", vec![file("a/.wh...", "")], "not a valid whiteout"),
        ("file as root", vec![file("./", "")], ""),
        ("symlink as root", vec![symlink(".", "/etc")], "would replace the layer's root"),
        ("below a file", vec![file("a", "x"), file("a/b", "y")], "lies below something"),
        ("below a file, deeper", vec![file("a", "x"), file("a/b/c", "y")], "lies below something"),
        ("below a device", vec![M { flag: b'3', ..file("a", "") }, file("a/b", "y")], "lies below something"),
        ("below a link to a file", vec![file("f", "x"), symlink("a", "f"), file("a/b", "y")], "lies below something"),
        ("circle of links", vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "y")], "symbolic links"),
        ("too deep", vec![file(&deep, "x")], "failed to"),
        ("strange type", vec![M { flag: b'V', ..file("a", "") }], "unsupported type `V`"),
    ];
    for (what, members, expected) in table {
        if !rustix::process::geteuid().is_root() && what == "below a device" {
            println!("skipped: {what} needs root");
            continue;
        }
        match applied(&members) {
            // A name with a slash at its end is a directory.
            Ok(shape) => assert!(expected.is_empty() && shape.is_empty(), "{what}: applied to {shape:?}"),
            Err(error) => assert!(error.to_string().contains(expected), "{what}: {error}"),
        }
    }
}

#[test]
fn archives_that_are_no_layers() {
    let options = ApplyOptions { contents: Contents::Files, ..ApplyOptions::default() };
    let work = tempfile::tempdir().unwrap();
    let members = [file("a/.wh.b", "x"), file("a/.wh..wh..opq", "y"), file(".wh..wh.z/c", "z"), file(".wh.", "e")];
    apply(&archive(&members)[..], &work.path().join("names"), &options).unwrap();
    let expected = [
        (".wh.", "e"),
        (".wh..wh.z", "/"),
        (".wh..wh.z/c", "z"),
        ("a", "/"),
        ("a/.wh..wh..opq", "y"),
        ("a/.wh.b", "x"),
    ];
    let expected = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(shape(&work.path().join("names")), expected);

    let error = |name: &str, members: &[M<'_>]| {
        apply(&archive(members)[..], &work.path().join(name), &options).unwrap_err().to_string()
    };
    assert!(error("link", &[hard_link("a", "b")]).contains("which does not exist"));
    assert!(error("outside", &[file("../a", "")]).contains("leads out"));
    assert!(error("device", &[M { flag: b'3', device: (0, 0), ..file("a", "") }]).contains("failed to create `a`"));
}

#[test]
fn attributes_of_the_host_are_dropped() {
    let mut members = vec![dir("a"), file("f", "x")];
    let value = |name: &str, value: &[u8]| (OsString::from(name), value.to_vec());
    for member in &mut members {
        member.xattrs = vec![
            value("trusted.overlay.opaque", b"y"),
            value("trusted.overlay.redirect", b"/etc"),
            value("user.overlay.opaque", b"y"),
            value("security.selinux", b"unconfined"),
            value("user.kept", b"1"),
        ];
    }
    let work = tempfile::tempdir().unwrap();
    apply(&archive(&members)[..], work.path(), &ApplyOptions::default()).unwrap();
    for name in ["a", "f"] {
        let names = at::list_names(|list| rustix::fs::llistxattr(work.path().join(name), list)).unwrap();
        let ours: Vec<_> = names.iter().filter(|name| *name != "security.selinux").collect();
        assert_eq!(ours, ["user.kept"]);
    }
}

#[test]
fn sizes_and_counts_are_bounded() {
    let work = tempfile::tempdir().unwrap();
    let apply = |number: u32, bytes: &[u8], limits| {
        let options = ApplyOptions { limits, ..ApplyOptions::default() };
        apply(bytes, &work.path().join(number.to_string()), &options).unwrap_err().to_string()
    };
    let limits = Limits { entries: 2, size: 1 << 20 };
    let three = archive(&[file("a", ""), file("b", ""), file("c", "")]);
    assert_eq!(apply(1, &three, limits), "the layer has more than 2 entries");
    let text = "x".repeat(1 << 20);
    assert_eq!(apply(2, &archive(&[file("a", &text)]), limits), "the tar stream is larger than 1048576 bytes");

    // A file of which the archive has less than it claims, and an extended header of which it has nothing.
    let mut claimed = archive(&[file("a", "")]);
    let huge = Header {
        path: b"a",
        link: b"",
        flag: b'0',
        mode: 0,
        uid: 0,
        gid: 0,
        size: 1 << 60,
        mtime: 0,
        device: (0, 0),
        xattrs: &[],
    };
    claimed.splice(..512, huge.blocks());
    assert_eq!(apply(3, &claimed, limits), "the files of the layer are larger than 1048576 bytes");
    let mut extended = archive(&[M { flag: b'x', ..file("a", "") }]);
    extended[124..136].copy_from_slice(b"77777777777\0");
    extended[148..156].fill(b' ');
    let sum: u32 = extended[..512].iter().map(|&byte| u32::from(byte)).sum();
    extended[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert_eq!(apply(4, &extended, limits), "the extended header at byte 0 is larger than 1048576 bytes");
}

#[test]
fn broken_streams_are_errors() {
    let whole = archive(&[dir("a"), file("a/b", "contents")]);
    let work = tempfile::tempdir().unwrap();
    let outcome = |number: usize, bytes: &[u8]| {
        apply(bytes, &work.path().join(number.to_string()), &ApplyOptions::default()).map_err(|error| error.to_string())
    };
    // Cut off anywhere but between members.
    for length in [1, 511, 513, 1000, 1024 + 3, 1024 + 511] {
        let error = outcome(length, &whole[..length]).unwrap_err();
        assert_eq!(error, format!("the tar stream ends early, after {length} bytes"));
    }
    assert!(outcome(0, &[]).is_ok());
    assert!(outcome(512, &whole[..512]).is_ok());
    let mut wrong = whole.clone();
    wrong[0] ^= 1;
    assert_eq!(outcome(1_000_000, &wrong).unwrap_err(), "invalid tar header at byte 0: wrong checksum");
}

#[test]
fn the_diff_id_is_of_the_whole_stream() {
    let mut bytes = archive(&[file("a", "x")]);
    bytes.extend_from_slice(b"what comes after the end");
    let work = tempfile::tempdir().unwrap();
    let applied = apply(&bytes[..], work.path(), &ApplyOptions::default()).unwrap();
    assert_eq!(applied.diff_id, Digest::of_bytes(&bytes));
    assert_eq!((applied.size, applied.entries, applied.bytes), (bytes.len() as u64, 1, 1));
    assert!(applied.deferred.is_empty());
}

#[test]
fn what_lower_layers_have_is_taken_from_them() {
    if !has_root() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let (lower, upper, later) = (work.path().join("lower"), work.path().join("upper"), work.path().join("later"));
    let members =
        [M { mode: 0o711, ..dir("d") }, M { mode: 0o4755, ..file("d/f", "lower") }, dir("gone"), file("kept", "x")];
    apply(&archive(&members)[..], &lower, &ApplyOptions::default()).unwrap();
    let base = Stack::new(vec![lower.clone()]).unwrap();

    let members =
        [file("d/new", "1"), hard_link("d/g", "d/f"), hard_link("h", "d/g"), file(".wh..wh..opq", ""), dir("kept-dir")];
    let bytes = archive(&members);
    let options = ApplyOptions { base: Some(&base), ..ApplyOptions::default() };
    assert!(apply(&bytes[..], &upper, &options).unwrap().deferred.is_empty());
    // At once, or first without the base: the same.
    let deferred = apply(&bytes[..], &later, &ApplyOptions::default()).unwrap().deferred;
    assert_eq!(deferred.parents, BTreeSet::from([PathBuf::from("d")]));
    assert_eq!(deferred.links.len(), 2);
    settle(&later, &deferred, &base).unwrap();
    assert_eq!(crate::diff_digest(&upper).unwrap(), crate::diff_digest(&later).unwrap());

    let shape = shape(&upper);
    let expected =
        [("d", "!"), ("d/g", "lower"), ("d/new", "1"), ("gone", "-"), ("h", "lower"), ("kept", "-"), ("kept-dir", "/")];
    assert_eq!(shape, expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
    let tree = Directory::new(&upper).unwrap();
    let entry = |path: &str| tree.entry(Path::new(path)).unwrap().unwrap();
    assert_eq!(entry("d").mode, 0o711);
    assert_eq!(entry("d").mtime, Time::seconds(1000));
    assert_eq!(entry("d/g").mode, 0o4755);
    assert_eq!(entry("d/g").ino, entry("h").ino);

    let dangling = archive(&[hard_link("x", "nowhere")]);
    let error = apply(&dangling[..], &work.path().join("dangling"), &options).unwrap_err();
    assert_eq!(error.to_string(), "tar member `x` is a hard link to `nowhere`, which does not exist");
}

#[test]
fn depth_costs_no_descriptors() {
    let work = tempfile::tempdir().unwrap();
    let layer = work.path().join("layer");
    let deep = "d/".repeat(2000) + "file";
    let link = "d/".repeat(1500) + "link";
    let bytes = archive(&[file(&deep, "x"), symlink(&link, ".."), file("e", "")]);
    // As many directories as a process may usually open are far fewer.
    apply(&bytes[..], &layer, &ApplyOptions::default()).unwrap();
    assert_eq!(crate::diff_digest(&layer).unwrap().entries, 2003);
    let mut packed = Vec::new();
    crate::pack(&layer, &mut packed, &crate::PackOptions::default()).unwrap();
    let again = work.path().join("again");
    apply(&packed[..], &again, &ApplyOptions::default()).unwrap();
    assert_eq!(crate::diff_digest(&again).unwrap(), crate::diff_digest(&layer).unwrap());

    let mut members = vec![file("kept", "x")];
    let outside = work.path().join("kept");
    std::fs::write(&outside, "kept").unwrap();
    members.extend([symlink("out", outside.to_str().unwrap()), symlink("up", "..")]);
    let links = work.path().join("links");
    apply(&archive(&members)[..], &links, &ApplyOptions::default()).unwrap();
    for dir in [&layer, &again, &links, &links] {
        crate::remove_tree(dir).unwrap();
        assert!(!dir.exists());
    }
    assert!(outside.exists());
}

#[test]
fn a_link_that_waits_for_its_base_is_dropped_with_its_place() {
    let work = tempfile::tempdir().unwrap();
    let bytes = archive(&[hard_link("a/x", "lower"), hard_link("b", "lower"), file("a", "1"), file("b", "2")]);
    let deferred = apply(&bytes[..], work.path(), &ApplyOptions::default()).unwrap().deferred;
    assert_eq!(deferred.links, [(PathBuf::from("b"), PathBuf::from("lower"))]);
    let base = Stack::new(Vec::new()).unwrap();
    settle(work.path(), &deferred, &base).unwrap();
    assert_eq!(shape(work.path()), BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));
}
