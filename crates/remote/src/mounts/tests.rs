//! Cache mounts there and back: trees of all kinds, changes between exports, trees in use, and caches that lie.

use super::chunk::Chunk;
use super::index::Index;
use super::listing::{Encoder, Item, What};
use super::memo::MemoWriter;
use super::pack::PackBuilder;
use super::testing::{Memory, noise};
use super::{Exported, ImportError, Imported, Limits, Memo, export_mount, import_mount};
use crate::blob::{BlobRef, Content, Sent};
use crate::error::RemoteError;
use crate::transport::Blobs;
use kiln_layer::Time;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

static GOING: AtomicBool = AtomicBool::new(false);
const NO_LIMITS: Limits = Limits { max_age: None, max_size: None };

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn export(tree: &TempDir, memo: &Memo, blobs: &Memory) -> Exported {
    export_mount(tree.path(), memo.clone(), &NO_LIMITS, blobs, &GOING).unwrap()
}

fn import(index: &BlobRef, blobs: &Memory) -> (TempDir, Imported) {
    let into = directory();
    let imported = import_mount(index, into.path(), u64::MAX, blobs, &GOING).unwrap();
    (into, imported)
}

/// Everything about a tree that must come back, each path with a line.
fn listing(root: &Path) -> BTreeMap<String, String> {
    fn add(root: &Path, below: &Path, lines: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let contents = if meta.is_dir() {
                add(root, &path, lines);
                "directory".to_owned()
            } else if meta.is_symlink() {
                format!("→ {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("{} {}", meta.nlink(), blake3_of(&fs::read(&path).unwrap()))
            };
            let mut value = [0; 64];
            let xattr = rustix::fs::lgetxattr(&path, "user.kiln", &mut value).map(|length| value[..length].to_vec());
            let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
            let line = format!("{mode:o} {owner:?} {}.{} {xattr:?} {contents}", meta.mtime(), meta.mtime_nsec());
            let path = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
            lines.insert(path, line);
        }
    }
    let mut lines = BTreeMap::new();
    add(root, root, &mut lines);
    lines
}

fn blake3_of(bytes: &[u8]) -> String {
    Chunk::of(bytes).id.to_hex()
}

fn set_mtime(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn days_ago(days: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60)
}

#[test]
fn everything_comes_back_but_sockets_and_pipes() {
    let (tree, blobs) = (directory(), Memory::default());
    let at = |path: &str| tree.path().join(path);
    fs::create_dir_all(at("a/deep/er")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("a/deep/er/large"), noise(3_000_000, 3)).unwrap();
    fs::write(at("a/deep/zeros"), vec![0; 2_000_000]).unwrap();
    fs::write(at("a/nothing"), b"").unwrap();
    for name in ["a.b", "with space", "new\nline", "é"] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("a/deep/er/large"), at("another")).unwrap();
    fs::hard_link(at("a/nothing"), at("z")).unwrap();
    symlink("../nowhere", at("a/link")).unwrap();
    symlink("/etc/passwd", at("absolute")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    fs::set_permissions(at("a.b"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(at("é"), fs::Permissions::from_mode(0o2755)).unwrap();
    let attribute = |path| rustix::fs::setxattr(at(path), "user.kiln", b"v", rustix::fs::XattrFlags::empty());
    if attribute("a.b").is_err() || attribute("a").is_err() {
        eprintln!("skipped: attributes (this filesystem has none)");
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at("é"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::chown(at("empty"), Some(12), Some(0)).unwrap();
    } else {
        eprintln!("skipped: owners (needs root)");
    }
    set_mtime(&at("a.b"), SystemTime::UNIX_EPOCH - Duration::new(5, 7));
    set_mtime(&at("a/deep"), SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789));
    fs::set_permissions(at("a/deep"), fs::Permissions::from_mode(0o555)).unwrap();
    let exported = export(&tree, &Memo::default(), &blobs);
    let (into, imported) = import(&exported.index, &blobs);
    for name in ["socket", "pipe"] {
        fs::remove_file(at(name)).unwrap();
    }
    let expected = listing(tree.path());
    assert_eq!(listing(into.path()), expected);
    assert_eq!((exported.files, exported.left_out, imported.files), (expected.len() as u64, 0, expected.len() as u64));
    assert_eq!((exported.size, exported.sent, exported.total), (imported.size, exported.total, imported.fetched));
    assert!(exported.packs.iter().all(|pack| blobs.keep(pack).unwrap()));
}

#[test]
fn a_second_export_reads_and_sends_what_changed() {
    let (tree, blobs) = (directory(), Memory::default());
    for n in 0..300 {
        fs::write(tree.path().join(format!("file-{n:03}")), noise(30_000, n)).unwrap();
    }
    let first = export(&tree, &Memo::default(), &blobs);
    let memo = Memo::from_bytes(&first.memo.to_bytes());
    let again = export(&tree, &memo, &blobs);
    assert_eq!((again.index, again.sent, &again.memo), (first.index, 0, &memo));
    fs::write(tree.path().join("file-100"), noise(31_000, 1000)).unwrap();
    fs::remove_file(tree.path().join("file-200")).unwrap();
    fs::write(tree.path().join("new"), noise(10_000, 2000)).unwrap();
    let second = export(&tree, &memo, &blobs);
    assert!(second.sent < first.sent / 20, "{} of {}", second.sent, first.sent);
    let (into, imported) = import(&second.index, &blobs);
    assert_eq!(listing(into.path()), listing(tree.path()));
    // A machine that has just imported knows as much as the one that exported.
    let third = export(&into, &imported.memo, &blobs);
    assert_eq!((third.index, third.sent), (second.index, 0));
    fs::write(into.path().join("more"), noise(10_000, 3000)).unwrap();
    let fourth = export(&into, &imported.memo, &blobs);
    assert!(fourth.sent < first.sent / 20, "{} of {}", fourth.sent, first.sent);
}

#[test]
fn unchanged_files_are_not_opened() {
    let (tree, blobs) = (directory(), Memory::default());
    let path = tree.path().join("file");
    fs::write(&path, b"kiln").unwrap();
    let first = export(&tree, &Memo::default(), &blobs);
    // A memo that remembers other chunks is believed, because nobody looks.
    let mut writer = MemoWriter::default();
    let known = first.memo.files().find(Path::new("file")).unwrap();
    writer.add(Path::new("file"), &known.stat, known.recorded, &[], &[]);
    let believed = export(&tree, &writer.finish(first.memo.packs.clone()), &blobs);
    assert_eq!(believed.size, 0);
}

#[test]
fn other_branches_and_projects_send_nothing_twice() {
    let (one, other, blobs) = (directory(), directory(), Memory::default());
    for n in 0..400_u64 {
        let bytes = noise(20_000, n);
        fs::write(one.path().join(format!("{n:03}-one")), &bytes).unwrap();
        if n < 300 {
            fs::write(other.path().join(format!("{:03}-other", (n * 7) % 400)), &bytes).unwrap();
        } else {
            fs::write(other.path().join(format!("more-{n}")), noise(500, n + 1000)).unwrap();
        }
    }
    let first = export(&one, &Memo::default(), &blobs);
    let mut memo = Memo::default();
    memo.learn(&first.index, &blobs, &GOING);
    let second = export(&other, &memo, &blobs);
    assert!(second.sent < first.sent / 20, "{} of {}", second.sent, first.sent);
    let (into, _) = import(&second.index, &blobs);
    assert_eq!(listing(into.path()), listing(other.path()));
    // One pack that is lost is no reason to send the others again.
    let lost = blobs.blobs.lock().unwrap().remove(&first.packs[0].digest).unwrap();
    let mut memo = Memo::default();
    memo.learn(&first.index, &blobs, &GOING);
    let without = export(&other, &memo, &blobs);
    assert!(without.sent < lost.len() as u64 + first.sent / 20, "{} of {}", without.sent, first.sent);
    // What a place has lost is sent again.
    blobs.blobs.lock().unwrap().clear();
    let third = export(&other, &second.memo, &blobs);
    assert_eq!(third.sent, third.total);
    let (into, _) = import(&third.index, &blobs);
    assert_eq!(listing(into.path()), listing(other.path()));
}

#[test]
fn packs_of_little_use_are_made_anew() {
    let (tree, blobs) = (directory(), Memory::default());
    for n in 0..300 {
        fs::write(tree.path().join(format!("{n:03}")), noise(20_000, n)).unwrap();
    }
    let first = export(&tree, &Memo::default(), &blobs);
    for n in (0..300).filter(|n| n % 3 != 0) {
        fs::remove_file(tree.path().join(format!("{n:03}"))).unwrap();
    }
    let second = export(&tree, &first.memo, &blobs);
    assert!(second.total < first.total * 2 / 5, "{} of {}", second.total, first.total);
    let mut last = second;
    for n in 0..40 {
        fs::write(tree.path().join(format!("more-{n}")), noise(1000, 500 + n)).unwrap();
        last = export(&tree, &last.memo, &blobs);
        assert!(last.packs.len() < 30, "{} packs after {n} exports", last.packs.len());
    }
    let (into, _) = import(&last.index, &blobs);
    assert_eq!(listing(into.path()), listing(tree.path()));
}

#[test]
fn equal_trees_make_equal_caches() {
    let exports = [(); 2].map(|()| {
        let (tree, blobs) = (directory(), Memory::default());
        for n in 0..200 {
            let path = tree.path().join(format!("{n}"));
            fs::write(&path, noise(40_000, n)).unwrap();
            set_mtime(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(n));
        }
        export(&tree, &Memo::default(), &blobs).index
    });
    assert_eq!(exports[0], exports[1]);
}

#[test]
fn a_tree_in_use_is_exported_without_torn_files() {
    let (tree, blobs) = (directory(), Memory::default());
    let versions = [vec![b'a'; 300_000], vec![b'b'; 300_000]];
    let path = |n: usize| tree.path().join(format!("{n:02}"));
    (0..6).for_each(|n| fs::write(path(n), &versions[0]).unwrap());
    let done = AtomicBool::new(false);
    let exports: Vec<Exported> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                // In place, as a tool that doesn't rename would.
                let file = fs::OpenOptions::new().write(true).open(path(round % 6)).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &versions[round % 2], 0).unwrap();
                fs::write(tree.path().join("comes and goes"), b"x").unwrap();
                fs::remove_file(tree.path().join("comes and goes")).unwrap();
            }
        });
        let mut memo = Memo::default();
        let exports = (0..3).map(|_| {
            let exported = export(&tree, &memo, &blobs);
            memo = exported.memo.clone();
            exported
        });
        let exports = exports.collect();
        done.store(true, Ordering::Relaxed);
        exports
    });
    for exported in exports {
        let (into, _) = import(&exported.index, &blobs);
        for entry in fs::read_dir(into.path()).unwrap() {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            assert!(entry.file_name() == "comes and goes" || versions.contains(&bytes), "{:?} is torn", entry.path());
        }
    }
}

/// A tree that looks like Go's build cache, with entries of so many days.
fn go_cache(ages: &[u64]) -> TempDir {
    let tree = directory();
    for n in 0..256 {
        fs::create_dir(tree.path().join(format!("{n:02x}"))).unwrap();
    }
    fs::write(tree.path().join("trim.txt"), "1000000000").unwrap();
    for &age in ages {
        for kind in ["a", "d"] {
            let path = tree.path().join(format!("{age:02x}/{age:02x}00-{kind}"));
            fs::write(&path, noise(10_000, age)).unwrap();
            set_mtime(&path, days_ago(age));
        }
    }
    tree
}

#[test]
fn go_finds_nothing_to_delete_in_an_imported_cache() {
    let (tree, blobs) = (go_cache(&[0, 3, 7, 13, 20]), Memory::default());
    let limits = Limits { max_age: Some(Duration::from_secs(14 * 24 * 3600)), max_size: None };
    let exported = export_mount(tree.path(), Memo::default(), &limits, &blobs, &GOING).unwrap();
    assert_eq!(exported.left_out, 2, "the entry of 20 days");
    let (into, imported) = import(&exported.index, &blobs);
    let age =
        |path: &str| fs::metadata(into.path().join(path)).unwrap().modified().unwrap().elapsed().unwrap().as_secs();
    for path in ["00/0000-a", "03/0300-d", "07/0700-d", "0d/0d00-a"] {
        assert!(age(path) < 4 * 86_400 + 3600, "{path}");
    }
    assert!(age("03/0300-a") > 2 * 86_400);
    let trimmed: i64 = fs::read_to_string(into.path().join("trim.txt")).unwrap().parse().unwrap();
    assert!(Time::now().secs - trimmed < 600);
    assert!(!into.path().join("14/1400-a").exists());
    // What nobody uses grows old all the same; what is used is young again, and its bytes are not read.
    let used = into.path().join("0d/0d00-d");
    set_mtime(&used, SystemTime::now());
    let limits = Limits { max_age: Some(Duration::from_secs(6 * 24 * 3600)), ..limits };
    let second = export_mount(into.path(), imported.memo, &limits, &blobs, &GOING).unwrap();
    assert_eq!(second.left_out, 3, "0700-a, 0700-d and 0d00-a");
    let (last, _) = import(&second.index, &blobs);
    assert!(last.path().join("0d/0d00-d").exists() && !last.path().join("0d/0d00-a").exists());
}

#[test]
fn a_go_cache_is_cut_to_size_and_others_are_refused() {
    let (tree, blobs) = (go_cache(&[1, 2, 3, 4, 5, 6]), Memory::default());
    let limits = Limits { max_age: None, max_size: Some(45_000) };
    let exported = export_mount(tree.path(), Memo::default(), &limits, &blobs, &GOING).unwrap();
    let (into, _) = import(&exported.index, &blobs);
    assert_eq!(exported.left_out, 8);
    assert!(into.path().join("01/0100-a").exists() && into.path().join("02/0200-d").exists());
    let other = directory();
    fs::write(other.path().join("large"), noise(50_000, 1)).unwrap();
    let error = export_mount(other.path(), Memo::default(), &limits, &blobs, &GOING).unwrap_err();
    assert_eq!(error.to_string(), "it has 50000 bytes, more than 45000");
}

/// A cache mount as somebody might make it by hand.
fn forge(items: &[Item], contents: &[&[u8]], blobs: &Memory) -> BlobRef {
    let put = |bytes: Vec<u8>| {
        let blob = BlobRef::of_bytes(&bytes);
        blobs.write(&blob, Content::Bytes(&bytes)).unwrap();
        blob
    };
    let pack = |contents: &[&[u8]]| {
        let mut builder = PackBuilder::default();
        for bytes in contents {
            builder.add(Chunk::of(bytes), bytes);
        }
        put(builder.encode().unwrap().1)
    };
    let mut listing = Vec::new();
    Encoder::new(items.iter().map(Item::borrow)).read_to_end(&mut listing).unwrap();
    let packs = vec![pack(contents), pack(contents)];
    let sum = (items.len() as u64, items.iter().map(Item::size).sum());
    put(Index::new(sum, vec![Chunk::of(&listing)], vec![pack(&[&listing])], packs).encode())
}

fn file(path: &str, chunks: &[Chunk]) -> Item {
    let (what, mtime) = (What::File(chunks.to_vec()), Time::default());
    Item { path: path.into(), what, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
}

#[test]
fn caches_that_lie_are_refused() {
    let blobs = Memory::default();
    let attempt = |index: &BlobRef| {
        let around = directory();
        let into = around.path().join("into");
        fs::create_dir(&into).unwrap();
        let result = import_mount(index, &into, u64::MAX, &blobs, &GOING);
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1, "something escaped");
        result
    };
    let kiln = Chunk::of(b"kiln");
    attempt(&forge(&[file("a", &[kiln]), file("b", &[kiln, kiln])], &[b"kiln"], &blobs)).unwrap();
    let escaping = forge(&[file("../a", &[kiln])], &[b"kiln"], &blobs);
    assert!(matches!(attempt(&escaping), Err(ImportError::Listing { .. })));
    let through_link = [Item { what: What::Symlink(b"/tmp".to_vec()), ..file("a", &[]) }, file("a/b", &[kiln])];
    assert!(matches!(attempt(&forge(&through_link, &[b"kiln"], &blobs)), Err(ImportError::Listing { .. })));
    let missing = forge(&[file("a", &[Chunk::of(b"other")])], &[b"kiln"], &blobs);
    assert!(matches!(attempt(&missing), Err(ImportError::Missing { .. })));
    let of_another_size = forge(&[file("a", &[Chunk { size: 3, ..kiln }])], &[b"kiln"], &blobs);
    assert!(matches!(attempt(&of_another_size), Err(ImportError::Missing { .. })));
    let no_index = BlobRef::of_bytes(b"nothing");
    assert!(matches!(attempt(&no_index), Err(ImportError::Index { .. })));
    let whole = forge(&[file("a", &[kiln])], &[b"kiln"], &blobs);
    let index = Index::fetch(&blobs, &whole).unwrap();
    for pack in [index.packs[0], index.listing_packs[0]] {
        let bytes = blobs.blobs.lock().unwrap().remove(&pack.digest).unwrap();
        let error = attempt(&whole).unwrap_err();
        assert!(matches!(error, ImportError::Pack { .. }) && error.broken() == Some(&pack), "{error}");
        blobs.blobs.lock().unwrap().insert(pack.digest, bytes);
    }
    let stop = AtomicBool::new(true);
    assert!(matches!(import_mount(&whole, directory().path(), u64::MAX, &blobs, &stop), Err(ImportError::Cancelled)));
}

/// A place that answers only now and then.
struct Busy<'a>(&'a Memory, Vec<BlobRef>);

impl Blobs for Busy<'_> {
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        self.0.keep(blob)
    }

    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
        if self.1.contains(blob) {
            let (place, cause) = ("here".to_owned(), "busy".to_owned());
            return Err(RemoteError::Store { place, action: "read an object", cause });
        }
        self.0.read(blob)
    }

    fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError> {
        self.0.write(blob, content)
    }
}

#[test]
fn what_cannot_be_read_for_now_is_not_broken() {
    let (tree, blobs) = (directory(), Memory::default());
    fs::write(tree.path().join("file"), b"kiln").unwrap();
    let exported = export(&tree, &Memo::default(), &blobs);
    for blob in exported.packs.iter().chain([&exported.index]) {
        let error = import_mount(&exported.index, directory().path(), u64::MAX, &Busy(&blobs, vec![*blob]), &GOING);
        assert_eq!(error.unwrap_err().broken(), None);
        blobs.blobs.lock().unwrap().get_mut(&blob.digest).unwrap().truncate(20);
        let error = import_mount(&exported.index, directory().path(), u64::MAX, &blobs, &GOING);
        assert_eq!(error.unwrap_err().broken(), Some(blob));
        export(&tree, &Memo::default(), &blobs);
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_fetched() {
    let blobs = Memory::default();
    // A few bytes that say that they are many.
    let large = Chunk::of(&vec![0; 200_000]);
    let bomb = forge(&[file("a", &vec![large; 6000])], &[&vec![0; 200_000]], &blobs);
    blobs.reads.lock().unwrap().clear();
    let into = directory();
    let error = import_mount(&bomb, into.path(), 1 << 30, &blobs, &GOING).unwrap_err();
    assert_eq!(error.to_string(), "it has 1200000000 bytes, and there is room for 1073741824");
    assert_eq!(*blobs.reads.lock().unwrap(), [bomb.digest]);
    // So does an index that says less than its listing.
    let mut index = Index::fetch(&blobs, &bomb).unwrap();
    index.size = 5;
    let index = index.encode();
    let lies = BlobRef::of_bytes(&index);
    blobs.write(&lies, Content::Bytes(&index)).unwrap();
    let error = import_mount(&lies, into.path(), 1 << 30, &blobs, &GOING).unwrap_err();
    assert!(matches!(error, ImportError::Listing { .. }), "{error}");
    assert_eq!(error.broken(), Some(&lies));
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
}

#[test]
fn packs_that_do_not_hold_what_they_say_are_not_counted_on() {
    let (tree, blobs) = (directory(), Memory::default());
    for n in 0..20 {
        fs::write(tree.path().join(format!("{n:02}")), noise(60_000, n)).unwrap();
    }
    let first = export(&tree, &Memo::default(), &blobs);
    let honest = Index::fetch(&blobs, &first.index).unwrap();
    // The same chunks, so they say, and with digests that are right.
    let mut builder = PackBuilder::default();
    for n in 0..20 {
        builder.add(Chunk::of(&noise(60_000, n)), &noise(60_000, n + 100));
    }
    let bytes = builder.encode().unwrap().1;
    let pack = BlobRef::of_bytes(&bytes);
    blobs.write(&pack, Content::Bytes(&bytes)).unwrap();
    let mut index = honest.clone();
    index.packs = vec![pack];
    let index = index.encode();
    let lies = BlobRef::of_bytes(&index);
    blobs.write(&lies, Content::Bytes(&index)).unwrap();
    let mut memo = Memo::default();
    memo.learn(&lies, &blobs, &GOING);
    let second = export(&tree, &memo, &blobs);
    assert!(!second.packs.contains(&pack) && !second.memo.packs.iter().any(|pack| pack.on_hearsay));
    let (into, _) = import(&second.index, &blobs);
    assert_eq!(listing(into.path()), listing(tree.path()));
    // Nor are those that have been cut short since.
    let whole = honest.packs[0];
    blobs.blobs.lock().unwrap().get_mut(&whole.digest).unwrap().truncate(whole.size as usize / 2);
    let mut memo = Memo::default();
    memo.learn(&first.index, &blobs, &GOING);
    let other = Memory::default();
    *other.blobs.lock().unwrap() = blobs.blobs.lock().unwrap().clone();
    let third = export(&tree, &memo, &other);
    assert_eq!(third.left_out, 0);
    let (into, _) = import(&third.index, &other);
    assert_eq!(listing(into.path()), listing(tree.path()));
}

/// What happens to a tree between two exports.
#[derive(Clone, Debug)]
enum Change {
    Write(u8, u32, u64),
    Append(u8, u32),
    Remove(u8),
    Link(u8, u8),
    Symlink(u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let size = prop_oneof![0_u32..100, 0_u32..20_000, 100_000_u32..600_000];
    let change = prop_oneof![
        4 => (0_u8..40, size.clone(), 0_u64..6).prop_map(|(at, size, seed)| Change::Write(at, size, seed)),
        1 => (0_u8..40, size).prop_map(|(at, size)| Change::Append(at, size)),
        1 => (0_u8..40).prop_map(Change::Remove),
        1 => (0_u8..40, 0_u8..40).prop_map(|(from, to)| Change::Link(from, to)),
        1 => (0_u8..40).prop_map(Change::Symlink),
    ];
    proptest::collection::vec(change, 1..25)
}

fn apply(root: &Path, change: &Change) {
    let path = |at: u8| root.join(format!("d{}/e{}/{at}", at % 3, at % 2));
    let prepare = |path: &Path| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(path);
    };
    // What is not there cannot be changed; then nothing happens.
    match *change {
        Change::Write(at, size, seed) => {
            prepare(&path(at));
            fs::write(path(at), noise(size as usize, seed)).unwrap();
        }
        Change::Append(at, size) => {
            if let Ok(mut bytes) = fs::read(path(at)) {
                bytes.extend(noise(size as usize, 99));
                fs::write(path(at), bytes).unwrap();
            }
        }
        Change::Remove(at) => drop(fs::remove_file(path(at))),
        Change::Link(from, to) if from != to && path(from).exists() => {
            prepare(&path(to));
            fs::hard_link(path(from), path(to)).unwrap();
        }
        Change::Link(..) => {}
        Change::Symlink(at) => {
            prepare(&path(at));
            symlink("elsewhere", path(at)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_tree_comes_back_after_any_changes(rounds in proptest::collection::vec(changes(), 1..4)) {
        let (mut tree, blobs, mut memo) = (directory(), Memory::default(), Memo::default());
        for (round, changes) in rounds.iter().enumerate() {
            changes.iter().for_each(|change| apply(tree.path(), change));
            let exported = export(&tree, &memo, &blobs);
            let (into, imported) = import(&exported.index, &blobs);
            prop_assert_eq!(listing(into.path()), listing(tree.path()));
            // The next changes are made here or on another machine.
            if round % 2 == 0 {
                (tree, memo) = (into, imported.memo);
            } else {
                memo = Memo::from_bytes(&exported.memo.to_bytes());
            }
        }
    }
}
