//! What changes a layer's digest, and what doesn't.

use super::*;
use crate::{Builder, Directory, Existing, Meta, Time};

const META: Meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime: Time::seconds(5), xattrs: Vec::new() };

fn digest(make: impl FnOnce(&Builder)) -> Diff {
    let work = tempfile::tempdir().unwrap();
    let builder = Builder::new(work.path().join("layer"), None).unwrap();
    make(&builder);
    builder.finish().unwrap();
    diff_digest(&work.path().join("layer")).unwrap()
}

fn file(builder: &Builder, path: &str, meta: &Meta, data: &str) {
    builder.file(Path::new(path), meta, data.as_bytes()).unwrap();
}

#[test]
fn everything_but_times_counts() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: owners and devices need root");
        return;
    }
    type Make = fn(&Builder);
    let different: [(&str, Make); 18] = [
        ("nothing", |_| {}),
        ("file", |b| file(b, "a", &META, "x")),
        ("name", |b| file(b, "b", &META, "x")),
        ("bytes", |b| file(b, "a", &META, "y")),
        ("mode", |b| file(b, "a", &Meta { mode: 0o4644, ..META }, "x")),
        ("user", |b| file(b, "a", &Meta { uid: 1, ..META }, "x")),
        ("group", |b| file(b, "a", &Meta { gid: 1, ..META }, "x")),
        ("attribute", |b| file(b, "a", &Meta { xattrs: vec![("user.a".into(), vec![])], ..META }, "x")),
        ("attribute's value", |b| file(b, "a", &Meta { xattrs: vec![("user.a".into(), vec![1])], ..META }, "x")),
        ("directory", |b| b.directory(Path::new("a"), &META).unwrap()),
        ("opaque directory", |b| {
            b.directory(Path::new("a"), &META).unwrap();
            b.opaque(Path::new("a")).unwrap();
        }),
        ("link", |b| b.symlink(Path::new("a"), &META, Path::new("x")).unwrap()),
        ("link's target", |b| b.symlink(Path::new("a"), &META, Path::new("y")).unwrap()),
        ("pipe", |b| b.node(Path::new("a"), &META, &Kind::Fifo).unwrap()),
        ("device", |b| b.node(Path::new("a"), &META, &Kind::Character { major: 1, minor: 3 }).unwrap()),
        ("block device", |b| b.node(Path::new("a"), &META, &Kind::Block { major: 1, minor: 3 }).unwrap()),
        ("two files", |b| {
            file(b, "a", &META, "x");
            file(b, "b", &META, "x");
        }),
        ("one file of two names", |b| {
            file(b, "a", &META, "x");
            b.hard_link(Path::new("b"), Path::new("a")).unwrap();
        }),
    ];
    let digests: Vec<_> = different.iter().map(|(_, make)| digest(make).digest).collect();
    for (one, digest) in digests.iter().enumerate() {
        for other in 0..one {
            assert_ne!(*digest, digests[other], "{} and {}", different[one].0, different[other].0);
        }
    }
    let later = digest(|b| file(b, "a", &Meta { mtime: Time::now(), ..META }, "x"));
    assert_eq!(later.digest, digests[1]);
    assert!(digest(|_| {}).is_empty());
}

#[test]
fn names_of_files_elsewhere_do_not_count() {
    let work = tempfile::tempdir().unwrap();
    let made = |name: &str| work.path().join(name);
    let make = |name: &str, from: Option<&str>| {
        let builder = Builder::new(made(name), None).unwrap();
        match from {
            Some(from) => {
                let (layer, content) = (Directory::new(made(from)).unwrap(), ContentDigest::of_bytes(b"x"));
                let existing = Existing { layer: &layer, path: Path::new("a"), size: 1, content, inode: None };
                builder.link_from(Path::new("a"), &META, existing).unwrap();
            }
            None => file(
                &builder,
                "a",
                &Meta { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw(), ..META },
                "x",
            ),
        }
        builder.finish().unwrap();
        diff_digest(&made(name)).unwrap()
    };
    let first = make("first", None);
    assert_eq!(make("second", Some("first")), first);
    assert_eq!(diff_digest(&made("first")).unwrap(), first);
}

#[test]
fn many_threads_give_the_same() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("layer");
    let builder = Builder::new(dir.clone(), None).unwrap();
    let meta = Meta { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw(), ..META };
    for number in 0..600_u32 {
        let path = PathBuf::from(format!("d{}/f{number}", number % 9));
        let data = number.to_le_bytes().repeat(number as usize * 10);
        builder.file(&path, &meta, &data[..]).unwrap();
    }
    let built = builder.finish().unwrap();
    assert_eq!(built.files.len(), 600);
    assert_eq!(diff_digest(&dir).unwrap(), built.diff);
}
