//! The canonical stream, member by member.

use super::*;
use crate::tar::MemberKind;
use crate::tar::read::Archive;
use crate::{Builder, Meta, Stack, Time};
use std::sync::Arc;

fn members(bytes: &[u8]) -> Vec<(String, MemberKind, Time)> {
    let mut archive = Archive::new(bytes, 1 << 30);
    let mut members = Vec::new();
    while let Some(member) = archive.next().unwrap() {
        members.push((String::from_utf8(member.path).unwrap(), member.kind, member.mtime));
    }
    members
}

#[test]
fn members_are_in_order_and_whiteouts_have_names() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: whiteouts need root");
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let meta = |secs| Meta { mtime: Time { secs, nanos: 999_999_999 }, ..Meta::new(0o755) };
    let builder = Builder::new(work.path().join("base"), None).unwrap();
    for path in ["gone", "dir/gone", "full/x"] {
        builder.file(Path::new(path), &meta(1), &b""[..]).unwrap();
    }
    builder.finish().unwrap();
    let base = Arc::new(Stack::new(vec![work.path().join("base")]).unwrap());
    let dir = work.path().join("layer");
    let builder = Builder::new(dir.clone(), Some(base)).unwrap();
    builder.remove(Path::new("gone")).unwrap();
    builder.remove(Path::new("dir/gone")).unwrap();
    builder.opaque(Path::new("full")).unwrap();
    builder.file(Path::new("full/.aaa"), &meta(100), &b"x"[..]).unwrap();
    builder.file(Path::new("dir.d"), &meta(100), &b"x"[..]).unwrap();
    builder.hard_link(Path::new("dir/link"), Path::new("dir.d")).unwrap();
    builder.node(Path::new("socket"), &meta(100), &Kind::Socket).unwrap();
    builder.finish().unwrap();

    let packed = |latest| {
        let mut bytes = Vec::new();
        pack(&dir, &mut bytes, &PackOptions { latest }).unwrap();
        bytes
    };
    let time = Time::seconds;
    let (directory, file) = (MemberKind::Directory, MemberKind::File);
    let expected = [
        ("dir/", directory.clone(), time(0)),
        ("dir/.wh.gone", file.clone(), time(0)),
        ("dir/link", file.clone(), time(100)),
        ("dir.d", MemberKind::HardLink(b"dir/link".to_vec()), time(100)),
        ("full/", directory, time(0)),
        ("full/.wh..wh..opq", file.clone(), time(0)),
        ("full/.aaa", file.clone(), time(100)),
        (".wh.gone", file, time(0)),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(path, kind, time)| (path.to_owned(), kind, time)).collect();
    assert_eq!(members(&packed(None)), expected);
    assert!(packed(None) == packed(Some(100)), "nothing is later");
    assert!(members(&packed(Some(50))).iter().all(|(.., time)| time.secs <= 50));
}

#[test]
fn blocks_are_of_one_size() {
    let mut sizes = Vec::new();
    let mut stream = Blocks::new(1000, |block: Vec<u8>| {
        sizes.push(block.len());
        Ok(block)
    });
    for size in [1, 999, 500, 2700] {
        stream.push(&vec![0; size]).unwrap();
    }
    stream.finish().unwrap();
    assert_eq!(sizes, [1000, 1000, 1000, 1000, 200]);
}

#[test]
fn names_of_deletions_are_refused() {
    for name in [".wh.x", "d/.wh..wh..opq", ".wh."] {
        let work = tempfile::tempdir().unwrap();
        let builder = Builder::new(work.path().join("layer"), None).unwrap();
        builder.file(Path::new(name), &Meta::new(0o644), &b""[..]).unwrap();
        builder.finish().unwrap();
        let packed = pack(&work.path().join("layer"), io::sink(), &PackOptions::default());
        assert!(matches!(packed, Err(PackError::ReservedName { path }) if path == Path::new(name)));
    }
}
