//! Following links, over a real directory.

use super::*;
use crate::Directory;
use kiln_digest::ContentDigest;
use std::os::unix::fs::symlink;

fn tree() -> (tempfile::TempDir, Directory) {
    let work = tempfile::tempdir().unwrap();
    let at = |path: &str| work.path().join(path);
    std::fs::create_dir_all(at("usr/lib/x86")).unwrap();
    std::fs::write(at("usr/lib/file"), "contents").unwrap();
    for (target, link) in [
        ("usr/lib", "lib"),
        ("/usr/lib/x86", "arch"),
        ("../../../../..", "usr/lib/out"),
        ("b", "a"),
        ("a", "b"),
        ("nowhere/at/all", "dangling"),
        ("file", "usr/lib/alias"),
        ("lib/alias", "alias"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    let tree = Directory::new(work.path()).unwrap();
    (work, tree)
}

#[test]
fn links_are_resolved_within_the_root() {
    let (_work, tree) = tree();
    let table = [
        ("", ""),
        ("/", ""),
        ("..", ""),
        ("usr/lib/file", "usr/lib/file"),
        ("/usr/./lib//file/", "usr/lib/file"),
        ("lib/file", "usr/lib/file"),
        ("lib", "usr/lib"),
        ("lib/../bin", "usr/bin"),
        ("arch/new", "usr/lib/x86/new"),
        ("usr/lib/out/etc", "etc"),
        ("lib/out/lib/out/usr", "usr"),
        ("dangling", "nowhere/at/all"),
        ("dangling/more", "nowhere/at/all/more"),
        ("not/there/../here", "not/here"),
        ("alias", "usr/lib/file"),
        ("usr/lib/file/below", "usr/lib/file/below"),
    ];
    for (path, expected) in table {
        assert_eq!(resolve(&tree, Path::new(path), true).unwrap(), Path::new(expected), "{path}");
    }
    let table = [("lib", "lib"), ("alias", "alias"), ("lib/alias", "usr/lib/alias"), ("a", "a"), ("lib/", "lib")];
    for (path, expected) in table {
        assert_eq!(
            resolve(&tree, Path::new(path), false).unwrap(),
            Path::new(expected),
            "{path}, not following the last"
        );
    }
    let error = resolve(&tree, Path::new("a/x"), true).unwrap_err();
    assert_eq!(error.to_string(), "`a/x` leads through more than 255 symbolic links");
}

#[test]
fn nothing_is_followed_otherwise() {
    let (_work, tree) = tree();
    let path = Path::new;
    assert_eq!(tree.entry(path("lib")).unwrap().unwrap().kind, Kind::Symlink("usr/lib".into()));
    assert!(tree.entry(path("lib/file")).unwrap().is_none());
    assert!(tree.entry(path("usr/lib/file/below")).unwrap().is_none());
    assert!(tree.entry(path(&"n".repeat(300))).unwrap().is_none());
    assert!(matches!(tree.open(path("lib/file")), Err(TreeError::NotAFile { .. })));
    assert!(matches!(tree.open(path("usr/none")), Err(TreeError::NotFound { .. })));
    assert!(matches!(tree.open(path("alias")), Err(TreeError::NotAFile { .. })));
    assert!(matches!(tree.children(path("lib")), Err(TreeError::NotADirectory { .. })));
    assert!(matches!(tree.children(path("nowhere")), Err(TreeError::NotFound { .. })));
    let file = tree.entry(path("usr/lib/file")).unwrap().unwrap();
    let content = tree.content(path("usr/lib/file"), &file, &AtomicBool::new(false)).unwrap();
    assert_eq!(content.digest, ContentDigest::of_bytes(b"contents"));
    for bad in ["/usr", "..", "usr/../lib", "./usr", "a\0b"] {
        assert!(matches!(tree.entry(path(bad)), Err(TreeError::Path { .. })), "{bad:?}");
    }
}

#[test]
fn pipes_are_not_opened() {
    let (work, tree) = tree();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, work.path().join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    // Opening one would wait for a writer for ever.
    assert!(matches!(tree.open(Path::new("pipe")), Err(TreeError::NotAFile { .. })));
}
