//! What a context's files hold, remembered by their stat, so that an unchanged file is not read again.
//!
//! One opaque file a context. What is remembered of a file holds while its size, mtime, ctime and inode are the same; a change of
//! attributes moves the ctime too. A file whose ctime is too near to the moment of reading may change again without any of these
//! moving; it is not remembered. What no build has asked for in the last [`KEEP`] times that the cache was written is forgotten.
//!
//! On disk: postcard of [`Stored`], the folders and the names in each in the order of their bytes.

use kiln_digest::ContentDigest;
use kiln_layer::{Entry, FileContent, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel's file times may lag by a tick; several ticks are left as a margin.
const RACY: Duration = Duration::from_millis(40);
const FORMAT: u32 = 2;
/// So many times the cache is written with what nobody asks for.
const KEEP: u32 = 16;

/// What is remembered of the files of one context.
#[derive(Debug)]
pub(super) struct StatCache {
    file: Option<PathBuf>,
    /// What the file has, read when the first question comes.
    earlier: OnceLock<Earlier>,
    fresh: Mutex<HashMap<String, Known>>,
}

/// What earlier builds have left.
#[derive(Debug, Default)]
struct Earlier {
    /// How often the cache was written.
    writes: u32,
    folders: HashMap<String, Folder>,
}

#[derive(Debug)]
struct Folder {
    names: String,
    files: Vec<File>,
    /// Whether this build has asked, for each file.
    asked: Vec<AtomicBool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
    inode: u64,
    digest: ContentDigest,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    /// Where its name ends in those of its folder; it begins where the one before ends.
    name_end: u32,
    /// The write of the cache before which it was last asked for.
    asked: u32,
    known: Known,
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    writes: u32,
    /// Each folder with its path, the names of its files one after the other, and the files.
    #[serde(borrow)]
    folders: Vec<(&'a str, std::borrow::Cow<'a, str>, Vec<File>)>,
}

fn pair(time: Time) -> (i64, u32) {
    (time.secs, time.nanos)
}

impl StatCache {
    /// A cache kept in `file`; nothing is read until it is asked. Without a file it lives for this process.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, earlier: OnceLock::new(), fresh: Mutex::default() }
    }

    fn earlier(&self) -> &Earlier {
        // An unreadable cache only costs reading the files again.
        self.earlier.get_or_init(|| self.file.as_deref().and_then(read).unwrap_or_default())
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file at `path` holds, if its stat says that it is the one remembered.
    pub(super) fn get(&self, path: &Path, entry: &Entry) -> Option<FileContent> {
        let path = path.to_str()?;
        match self.earlier().get(path) {
            Some(known) if known.is_of(entry) => Some(known.content()),
            _ => self.fresh().get(path).filter(|known| known.is_of(entry)).map(Known::content),
        }
    }

    /// Remembers what a file holds whose stat was `entry` before it was read, starting at `since`.
    pub(super) fn put(&self, path: &Path, entry: &Entry, content: &FileContent, since: SystemTime) {
        let Some(path) = path.to_str() else { return };
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(RACY);
        if pair(entry.ctime) >= (since.as_secs().cast_signed(), since.subsec_nanos()) {
            return;
        }
        self.fresh().insert(path.to_owned(), Known::new(entry, content));
    }

    /// Gives the cache's file and its new bytes to `write`, if something is new. Two processes may do so at once: the last one
    /// wins, and nothing is lost but time.
    pub(super) fn save<E>(&self, write: impl FnOnce(&Path, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let fresh = std::mem::take(&mut *self.fresh());
        let Some(file) = self.file.as_deref().filter(|_| !fresh.is_empty()) else { return Ok(()) };
        let stored = self.earlier().merged(&fresh);
        write(file, &postcard::to_stdvec(&(FORMAT, stored)).expect("a stat cache is plain data"))
    }
}

impl Known {
    fn new(entry: &Entry, content: &FileContent) -> Self {
        let bytes = |(name, value): &(OsString, Vec<u8>)| (name.as_bytes().to_vec(), value.clone());
        Self {
            size: entry.size,
            mtime: pair(entry.mtime),
            ctime: pair(entry.ctime),
            inode: entry.ino,
            digest: content.digest,
            xattrs: content.xattrs.iter().map(bytes).collect(),
        }
    }

    fn is_of(&self, entry: &Entry) -> bool {
        self.size == entry.size
            && self.mtime == pair(entry.mtime)
            && self.ctime == pair(entry.ctime)
            && self.inode == entry.ino
    }

    fn content(&self) -> FileContent {
        let attribute = |(name, value): &(Vec<u8>, Vec<u8>)| (OsString::from_vec(name.clone()), value.clone());
        FileContent { digest: self.digest, xattrs: self.xattrs.iter().map(attribute).collect() }
    }
}

impl Earlier {
    fn get(&self, path: &str) -> Option<&Known> {
        let (folder, name) = split(path);
        let folder = self.folders.get(folder)?;
        let at = folder.find(name)?;
        folder.asked[at].store(true, Ordering::Relaxed);
        Some(&folder.files[at].known)
    }

    /// All that is known, without what was not asked for in a long time.
    fn merged<'a>(&'a self, fresh: &'a HashMap<String, Known>) -> Stored<'a> {
        let writes = self.writes.wrapping_add(1);
        let mut folders: BTreeMap<&str, BTreeMap<&str, (u32, &Known)>> = BTreeMap::new();
        for (path, folder) in &self.folders {
            let files = folder.files.iter().zip(&folder.asked).enumerate().filter_map(|(at, (file, asked))| {
                let asked = if asked.load(Ordering::Relaxed) { writes } else { file.asked };
                (writes.wrapping_sub(asked) < KEEP).then(|| (folder.name(at), (asked, &file.known)))
            });
            folders.insert(path, files.collect());
        }
        for (path, known) in fresh {
            let (folder, name) = split(path);
            folders.entry(folder).or_default().insert(name, (writes, known));
        }
        let stored = folders.into_iter().filter(|(_, files)| !files.is_empty()).map(|(path, files)| {
            let mut names = String::new();
            let files = files.into_iter().map(|(name, (asked, known))| {
                names.push_str(name);
                let name_end = u32::try_from(names.len()).expect("the names of one directory take less than 4 GiB");
                File { name_end, asked, known: known.clone() }
            });
            let files = files.collect();
            (path, names.into(), files)
        });
        Stored { writes, folders: stored.collect() }
    }
}

impl Folder {
    fn name(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.files[before].name_end);
        // A damaged file may say anything; then nothing is found.
        self.names.get(start as usize..self.files[at].name_end as usize).unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.files.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn read(file: &Path) -> Option<Earlier> {
    let bytes = std::fs::read(file).ok()?;
    let (format, rest) = postcard::take_from_bytes::<u32>(&bytes).ok()?;
    if format != FORMAT {
        return None;
    }
    let stored: Stored<'_> = postcard::from_bytes(rest).ok()?;
    let folders = stored.folders.into_iter().map(|(path, names, files)| {
        let asked = files.iter().map(|_| AtomicBool::new(false)).collect();
        (path.to_owned(), Folder { names: names.into_owned(), files, asked })
    });
    Some(Earlier { writes: stored.writes, folders: folders.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layer::Kind;

    fn entry(size: u64, ctime: i64) -> Entry {
        let time = Time::seconds(ctime);
        Entry { kind: Kind::File, mode: 0, uid: 0, gid: 0, size, mtime: time, ctime: time, dev: 1, ino: 2, nlink: 1 }
    }

    fn content(text: &str) -> FileContent {
        let xattrs = vec![(OsString::from("user.a"), b"v".to_vec()); text.len() % 2];
        FileContent { digest: ContentDigest::of_bytes(text.as_bytes()), xattrs }
    }

    fn save(cache: &StatCache) -> bool {
        let mut saved = false;
        let write = |path: &Path, bytes: &[u8]| {
            saved = true;
            std::fs::write(path, bytes)
        };
        cache.save(write).unwrap();
        saved
    }

    #[test]
    fn what_was_put_is_found_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let open = || StatCache::new(Some(directory.path().join("cache")));
        let paths = ["b", "a", "d/b", "d/a", "d/e/f", "d/a b", "é/ü"];
        let first = open();
        for path in paths {
            first.put(Path::new(path), &entry(path.len() as u64, 7), &content(path), SystemTime::now());
        }
        assert_eq!(first.get(Path::new("a"), &entry(1, 7)), Some(content("a")), "also by this one");
        assert!(save(&first));
        let second = open();
        for path in paths {
            assert_eq!(second.get(Path::new(path), &entry(path.len() as u64, 7)), Some(content(path)), "{path}");
            assert_eq!(second.get(Path::new(path), &entry(path.len() as u64, 8)), None, "{path}");
        }
        assert_eq!(second.get(Path::new("d"), &entry(1, 7)), None);
        assert!(!save(&second), "nothing is new");
        second.put(Path::new("a"), &entry(1, 9), &content("other"), SystemTime::now());
        assert!(save(&second));
        assert_eq!(open().get(Path::new("a"), &entry(1, 9)), Some(content("other")));
        assert_eq!(open().get(Path::new("d/e/f"), &entry(5, 7)), Some(content("d/e/f")));
    }

    #[test]
    fn a_file_that_may_change_unseen_is_not_remembered() {
        let cache = StatCache::new(None);
        let since = UNIX_EPOCH + Duration::from_secs(1000);
        for (ctime, remembered) in [(999, true), (1000, false), (1001, false)] {
            cache.put(Path::new("a"), &entry(1, ctime), &content("a"), since);
            assert_eq!(cache.get(Path::new("a"), &entry(1, ctime)).is_some(), remembered, "{ctime}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let first = StatCache::new(Some(path.clone()));
        for name in ["used", "unused"] {
            first.put(Path::new(name), &entry(1, 7), &content(name), SystemTime::now());
        }
        save(&first);
        let mut there = Vec::new();
        for write in 0..i64::from(KEEP) {
            let cache = StatCache::new(Some(path.clone()));
            assert!(cache.get(Path::new("used"), &entry(1, 7)).is_some());
            cache.put(Path::new("new"), &entry(1, write), &content("new"), SystemTime::now());
            save(&cache);
            there.push(read(&path).unwrap().get("unused").is_some());
        }
        assert_eq!((there.first(), there.last()), (Some(&true), Some(&false)));
    }

    #[test]
    fn a_damaged_cache_is_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let cache = StatCache::new(Some(path.clone()));
        cache.put(Path::new("d/a"), &entry(1, 7), &content("a"), SystemTime::now());
        save(&cache);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for damaged in [whole[..at].to_vec(), [&whole[..at], &[whole[at] ^ 0x55], &whole[at + 1..]].concat()] {
                std::fs::write(&path, damaged).unwrap();
                let cache = StatCache::new(Some(path.clone()));
                let _ = cache.get(Path::new("d/a"), &entry(1, 7));
                cache.put(Path::new("d/b"), &entry(1, 7), &content("b"), SystemTime::now());
                save(&cache);
            }
        }
    }
}
