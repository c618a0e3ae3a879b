//! What lands in a layer, seen as it is and stacked on its base.

use super::*;
use crate::{Directory, Stack, Time};
use std::os::unix::fs::MetadataExt;

struct Bench {
    work: tempfile::TempDir,
    base: Arc<dyn Tree>,
}

/// A base with `dir/{file,sub/deep}` (mode 0711, dated 500), a link `lnk` to it and a file `plain`.
fn bench() -> Option<Bench> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: whiteouts need root");
        return None;
    }
    let work = tempfile::tempdir().unwrap();
    let builder = Builder::new(work.path().join("base"), None).unwrap();
    let meta =
        Meta { mode: 0o711, uid: 7, gid: 8, mtime: Time::seconds(500), xattrs: vec![("user.kept".into(), vec![1])] };
    builder.directory(Path::new("dir"), &meta).unwrap();
    builder.file(Path::new("dir/file"), &Meta::new(0o644), &b"base"[..]).unwrap();
    builder.file(Path::new("dir/sub/deep"), &Meta::new(0o644), &b"base"[..]).unwrap();
    builder.symlink(Path::new("lnk"), &Meta::new(0o777), Path::new("dir")).unwrap();
    builder.file(Path::new("plain"), &Meta::new(0o644), &b"base"[..]).unwrap();
    builder.finish().unwrap();
    let base = Arc::new(Stack::new(vec![work.path().join("base")]).unwrap());
    Some(Bench { work, base })
}

impl Bench {
    /// Makes a layer, and gives it as it is on disk, and stacked.
    fn layer(&self, make: impl FnOnce(&Builder)) -> (Directory, Stack) {
        let dir = self.work.path().join("layer");
        let builder = Builder::new(dir.clone(), Some(Arc::clone(&self.base))).unwrap();
        make(&builder);
        assert_eq!(builder.finish().unwrap().diff, crate::diff_digest(&dir).unwrap(), "as a walk finds it");
        (Directory::new(&dir).unwrap(), Stack::new(vec![self.work.path().join("base"), dir]).unwrap())
    }
}

fn names(tree: &dyn Tree, path: &str) -> Vec<String> {
    tree.children(Path::new(path)).unwrap().into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
}

fn text(tree: &dyn Tree, path: &str) -> String {
    io::read_to_string(tree.open(Path::new(path)).unwrap()).unwrap()
}

fn path(path: &str) -> &Path {
    Path::new(path)
}

fn existing_file<'a>(layer: &'a Directory, path: &'a str) -> Existing<'a> {
    let content = ContentDigest::of_bytes(b"base");
    Existing { layer, path: Path::new(path), size: 4, content, inode: None }
}

const PLAIN: Meta = Meta { mode: 0o600, uid: 0, gid: 0, mtime: Time::seconds(9), xattrs: Vec::new() };

#[test]
fn parents_are_copied_up() {
    let Some(bench) = bench() else { return };
    let (layer, stack) = bench.layer(|builder| {
        let (size, digest) = builder.file(path("dir/new/file"), &PLAIN, &b"new"[..]).unwrap();
        assert_eq!((size, digest), (3, ContentDigest::of_bytes(b"new")));
    });
    let dir = layer.entry(path("dir")).unwrap().unwrap();
    assert_eq!((dir.mode, dir.uid, dir.gid, dir.mtime), (0o711, 7, 8, Time::seconds(500)));
    assert_eq!(layer.xattrs(path("dir")).unwrap(), [("user.kept".into(), vec![1])]);
    let new = layer.entry(path("dir/new")).unwrap().unwrap();
    assert_eq!((new.mode, new.uid, new.mtime), (0o755, 0, Time::default()));
    assert_eq!(names(&stack, "dir"), ["file", "new", "sub"]);
}

#[test]
fn implied_parents_are_as_told() {
    let work = tempfile::tempdir().unwrap();
    let implied = Meta { mode: 0o750, mtime: Time::seconds(77), ..Meta::default() };
    let builder = Builder::new(work.path().join("layer"), None).unwrap().implied(implied);
    let id = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    builder.file(path("a/b"), &Meta { uid: id, gid: group, ..PLAIN }, &b""[..]).unwrap();
    assert_eq!(builder.finish().unwrap().diff.entries, 2);
    let stat = work.path().join("layer/a").metadata().unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o750, 77));
}

#[test]
fn removing_leaves_a_whiteout_only_over_the_base() {
    let Some(bench) = bench() else { return };
    let (layer, stack) = bench.layer(|builder| {
        builder.file(path("own"), &PLAIN, &b""[..]).unwrap();
        builder.file(path("dir/file"), &PLAIN, &b"newer"[..]).unwrap();
        for gone in ["own", "never", "dir/file", "dir/never/was", "plain/below", "plain", "plain"] {
            builder.remove(path(gone)).unwrap();
        }
        assert!(matches!(builder.remove(path("")), Err(BuildError::Path { .. })));
    });
    assert_eq!(names(&layer, ""), ["dir", "plain"]);
    assert_eq!(names(&layer, "dir"), ["file"]);
    assert!(layer.entry(path("plain")).unwrap().unwrap().is_whiteout());
    assert_eq!(names(&stack, ""), ["dir", "lnk"]);
    assert_eq!(names(&stack, "dir"), ["sub"]);
}

#[test]
fn what_was_removed_does_not_come_back() {
    let Some(bench) = bench() else { return };
    let (_, stack) = bench.layer(|builder| {
        builder.remove(path("dir")).unwrap();
        builder.file(path("dir/sub/new"), &PLAIN, &b""[..]).unwrap();
        // Hidden by now, so nothing is left to hide.
        builder.remove(path("dir/file")).unwrap();
    });
    assert_eq!(names(&stack, "dir"), ["sub"]);
    assert_eq!(names(&stack, "dir/sub"), ["new"]);
    assert_eq!(stack.entry(path("dir")).unwrap().unwrap().mode, 0o755, "a new directory, not the base's");
}

#[test]
fn kinds_replace_each_other() {
    let Some(bench) = bench() else { return };
    let (layer, stack) = bench.layer(|builder| {
        builder.file(path("dir"), &PLAIN, &b"file"[..]).unwrap();
        builder.directory(path("plain"), &PLAIN).unwrap();
        builder.file(path("plain/x"), &PLAIN, &b"x"[..]).unwrap();
        builder.directory(path("lnk"), &PLAIN).unwrap();
        builder.file(path("lnk/y"), &PLAIN, &b"y"[..]).unwrap();
        builder.file(path("tree/of/files"), &PLAIN, &b"z"[..]).unwrap();
        builder.symlink(path("tree"), &PLAIN, path("/etc")).unwrap();
    });
    assert_eq!(text(&stack, "dir"), "file");
    assert_eq!(names(&stack, "plain"), ["x"]);
    assert_eq!(names(&stack, "lnk"), ["y"]);
    assert_eq!(layer.entry(path("tree")).unwrap().unwrap().kind, Kind::Symlink("/etc".into()));

    let again = tempfile::tempdir().unwrap();
    let builder = Builder::new(again.path().join("layer"), Some(Arc::clone(&bench.base))).unwrap();
    builder.file(path("dir"), &PLAIN, &b"file"[..]).unwrap();
    builder.directory(path("dir"), &PLAIN).unwrap();
    builder.finish().unwrap();
    let stack = Stack::new(vec![bench.work.path().join("base"), again.path().join("layer")]).unwrap();
    assert_eq!(names(&stack, "dir"), [""; 0], "the base's directory stays hidden");
}

#[test]
fn links_in_parents_are_not_followed() {
    let Some(bench) = bench() else { return };
    bench.layer(|builder| {
        builder.symlink(path("own"), &PLAIN, path("/etc")).unwrap();
        for parent in ["own", "lnk", "plain"] {
            let error = builder.file(&path(parent).join("x"), &PLAIN, &b""[..]).unwrap_err();
            assert_eq!(error.to_string(), format!("`{parent}` is not a directory"));
        }
        for bad in ["/x", "../x", "a/../x", ""] {
            assert!(builder.file(path(bad), &PLAIN, &b""[..]).is_err(), "{bad:?}");
        }
        let error = builder.node(path("x"), &PLAIN, &Kind::Character { major: 0, minor: 0 }).unwrap_err();
        assert!(error.to_string().contains("failed to create `x`"), "{error}");
    });
}

#[test]
fn files_are_linked() {
    let Some(bench) = bench() else { return };
    let existing = bench.work.path().join("base/plain");
    let base = Directory::new(bench.work.path().join("base")).unwrap();
    let elsewhere = Directory::new("/proc/self").unwrap();
    let (layer, _) = bench.layer(|builder| {
        builder.file(path("copy"), &PLAIN, &b"other"[..]).unwrap();
        builder.link_from(path("copy"), &Meta::new(0o644), existing_file(&base, "plain")).unwrap();
        builder.hard_link(path("dir/second"), path("copy")).unwrap();
        assert!(builder.hard_link(path("x"), path("missing")).is_err());
        builder.remove(path("plain")).unwrap();
        assert!(builder.hard_link(path("x"), path("plain")).is_err(), "a link to a whiteout would be a whiteout");
        let error = builder.link_from(path("x"), &PLAIN, existing_file(&elsewhere, "status")).unwrap_err();
        assert!(error.is_unlinkable(), "{error:?}");
    });
    let inode = existing.metadata().unwrap().ino();
    assert_eq!(layer.entry(path("copy")).unwrap().unwrap().ino, inode);
    assert_eq!(layer.entry(path("dir/second")).unwrap().unwrap().ino, inode);
}

#[test]
fn threads_share_a_builder() {
    let Some(bench) = bench() else { return };
    let (layer, _) = bench.layer(|builder| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..500 {
                        let name = format!("d{}/e{}/f{thread}-{number}", number % 7, number % 50);
                        builder.file(path(&name), &PLAIN, name.as_bytes()).unwrap();
                    }
                });
            }
        });
    });
    let mut found = 0;
    for (directory, _) in layer.children(path("")).unwrap() {
        for (sub, entry) in layer.children(path(directory.to_str().unwrap())).unwrap() {
            assert_eq!(entry.mtime, Time::default());
            found += layer.children(&path(directory.to_str().unwrap()).join(sub)).unwrap().len();
        }
    }
    assert_eq!(found, 2000);
}

#[test]
fn errors_of_the_source_are_told_apart() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let work = tempfile::tempdir().unwrap();
    let builder = Builder::new(work.path().join("layer"), None).unwrap();
    let error = builder.file(path("a"), &PLAIN, Broken).unwrap_err();
    assert!(matches!(error, BuildError::Source { .. }));
    assert_eq!(error.to_string(), "failed to read what becomes `a`");
}
