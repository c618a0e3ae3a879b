//! What the integration tests share: a text for each thing in a tree, random changes, and a mount namespace of their own.

#![expect(dead_code, reason = "each test program uses a part")]

use kiln_layer::{Builder, Kind, Meta, Time, Tree};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A line for each path of a tree: all that an image keeps of it.
pub(crate) type Listing = BTreeMap<PathBuf, String>;

/// How exact a listing is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Times {
    Exact,
    /// Exact, but those of directories left out.
    Files,
    Seconds,
    Left,
}

pub(crate) fn listing(tree: &dyn Tree, times: Times) -> Listing {
    let mut listing = Listing::new();
    let mut first_names = BTreeMap::new();
    list(tree, Path::new(""), times, &mut listing, &mut first_names);
    listing
}

fn list(
    tree: &dyn Tree,
    directory: &Path,
    times: Times,
    listing: &mut Listing,
    first_names: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    for (name, entry) in tree.children(directory).unwrap() {
        let path = directory.join(&name);
        assert_eq!(tree.entry(&path).unwrap().as_ref(), Some(&entry), "{path:?}: lookup and listing differ");
        let time = match times {
            Times::Files if entry.is_directory() => String::new(),
            Times::Exact | Times::Files => format!("{}.{:09}", entry.mtime.secs, entry.mtime.nanos),
            Times::Seconds => entry.mtime.secs.to_string(),
            Times::Left => String::new(),
        };
        let content = match &entry.kind {
            Kind::File => tree.content(&path, &entry, &AtomicBool::new(false)).unwrap().digest.to_hex(),
            _ => String::new(),
        };
        let mut text = format!(
            "{:?} {:o} {}:{} {time} {content} {:?}",
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            tree.xattrs(&path).unwrap()
        );
        if entry.nlink > 1 && !entry.is_directory() {
            // Another name may lie outside the tree, or be hidden in it.
            let first = first_names.entry((entry.dev, entry.ino)).or_insert_with(|| path.clone());
            if *first != path {
                text.push_str(&format!(" = {first:?}"));
            }
        }
        listing.insert(path.clone(), text);
        if entry.is_directory() {
            list(tree, &path, times, listing, first_names);
        }
    }
}

/// One change of a layer over its base.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    File(PathBuf, Vec<u8>, Meta),
    Directory(PathBuf, Meta),
    Opaque(PathBuf),
    Symlink(PathBuf, PathBuf, Meta),
    Node(PathBuf, Kind, Meta),
    HardLink(PathBuf, PathBuf),
    Remove(PathBuf),
}

pub(crate) fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(OsString::from),
        1 => Just(OsString::from("näme")),
        1 => Just(OsString::from("new\nline")),
        1 => Just(OsString::from("x".repeat(150))),
        1 => Just(OsString::from("y".repeat(90))),
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.iter().collect())
}

pub(crate) fn meta() -> impl Strategy<Value = Meta> {
    let xattrs = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|value| vec![(OsString::from("user.kiln"), value)]),
        1 => Just(vec![(OsString::from("security.capability"), capability())]),
    ];
    let id = prop::sample::select(vec![0, 0, 1000, 2_097_151, 2_097_152, 4_000_000_000]);
    let time = (prop::sample::select(vec![0, 1_700_000_000, -5, 8_589_934_591, 8_589_934_592]), 0..1_000_000_000_u32);
    (prop::sample::select(vec![0o644, 0o755, 0o4755, 0o2750, 0o1777, 0o600, 0]), id.clone(), id, time, xattrs).prop_map(
        |(mode, uid, gid, (secs, nanos), xattrs)| Meta { mode, uid, gid, mtime: Time { secs, nanos }, xattrs },
    )
}

/// `cap_net_bind_service=ep`, version 2.
fn capability() -> Vec<u8> {
    let mut value = vec![1, 0, 0, 2, 0, 4, 0, 0];
    value.resize(20, 0);
    value
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (path(), prop::collection::vec(any::<u8>(), 0..2000), meta()).prop_map(|(p, d, m)| Change::File(p, d, m)),
        4 => (path(), meta()).prop_map(|(p, m)| Change::Directory(p, m)),
        1 => path().prop_map(Change::Opaque),
        2 => (path(), path(), meta()).prop_map(|(p, to, m)| Change::Symlink(p, to, m)),
        1 => (path(), meta()).prop_map(|(p, m)| Change::Node(p, Kind::Fifo, m)),
        1 => (path(), meta()).prop_map(|(p, m)| Change::Node(p, Kind::Character { major: 1, minor: 3 }, m)),
        1 => (path(), meta()).prop_map(|(p, m)| Change::Node(p, Kind::Block { major: 7, minor: 300 }, m)),
        2 => (path(), path()).prop_map(|(p, to)| Change::HardLink(p, to)),
        3 => path().prop_map(Change::Remove),
    ]
}

pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..25)
}

/// Builds a layer of random changes. Those that make no sense (a file below a file) fail, and leave the layer as it was.
pub(crate) fn build(dir: &Path, base: Option<Arc<dyn Tree>>, changes: &[Change]) {
    let builder = Builder::new(dir.to_owned(), base).unwrap();
    for change in changes {
        let _ = match change {
            Change::File(path, data, meta) => builder.file(path, meta, &data[..]).map(drop),
            Change::Directory(path, meta) => builder.directory(path, meta),
            Change::Opaque(path) => builder.opaque(path),
            Change::Symlink(path, to, meta) => builder.symlink(path, &symlink_meta(meta), to),
            Change::Node(path, kind, meta) => builder.node(path, &symlink_meta(meta), kind),
            Change::HardLink(path, to) if path != to => builder.hard_link(path, to),
            Change::HardLink(..) => Ok(()),
            Change::Remove(path) => builder.remove(path),
        };
    }
    builder.finish().unwrap();
}

/// Only files and directories can have a user's attributes or capabilities.
fn symlink_meta(meta: &Meta) -> Meta {
    Meta { xattrs: Vec::new(), ..meta.clone() }
}

/// Runs the named test of this program once more in a mount namespace of its own. `true` in that second run; `false` in the
/// first, when the work is done or can't be.
pub(crate) fn in_private_namespace(test: &str) -> bool {
    const INSIDE: &str = "KILN_TEST_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting an overlay needs root");
        return false;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            if text.contains("skipped: ") {
                println!("{text}");
            }
            assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => println!("skipped: no `unshare`: {error}"),
    }
    false
}

/// An overlay mount, gone when dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts the layers, bottom first, read-only or with an upper directory.
    pub(crate) fn new(at: &Path, layers: &[PathBuf], upper: Option<(&Path, &Path)>) -> std::io::Result<Self> {
        let mut options = String::from("redirect_dir=off,metacopy=off,index=off,xino=off,lowerdir=");
        let lower: Vec<_> = layers.iter().rev().map(|layer| layer.to_str().unwrap()).collect();
        options.push_str(&lower.join(":"));
        if let Some((upper, work)) = upper {
            options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
        }
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("overlay", at, "overlay", rustix::mount::MountFlags::empty(), options.as_c_str())?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
