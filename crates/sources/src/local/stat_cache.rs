//! Digests of a context's files, remembered by their stat, so that an unchanged file is not read again.
//!
//! One opaque file a context. A remembered digest holds while size, mtime, ctime and inode are the same. A file whose ctime is
//! too near to the moment of hashing may change again without any of these moving; it is not remembered.

use kiln_digest::ContentDigest;
use kiln_layer::{Entry, Time};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel's file times may lag by a tick; several ticks are left as a margin.
const RACY: Duration = Duration::from_millis(40);
const FORMAT: u32 = 1;

/// The remembered digests of one context.
#[derive(Debug)]
pub(super) struct StatCache {
    file: Option<PathBuf>,
    entries: OnceLock<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    known: HashMap<String, Known>,
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
    inode: u64,
    digest: ContentDigest,
}

fn pair(time: Time) -> (i64, u32) {
    (time.secs, time.nanos)
}

impl StatCache {
    /// A cache kept in `file`; nothing is read until it is asked. Without a file it lives for this process.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, entries: OnceLock::new() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        let entries = self.entries.get_or_init(|| {
            // An unreadable cache only costs reading the files again.
            let known = self.file.as_deref().and_then(|file| read(file).ok()).unwrap_or_default();
            Mutex::new(Entries { known, changed: false })
        });
        entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of the file at `path`, if its stat says that it is the one remembered.
    pub(super) fn get(&self, path: &Path, entry: &Entry) -> Option<ContentDigest> {
        let entries = self.entries();
        let known = entries.known.get(path.to_str()?)?;
        let same = known.size == entry.size
            && known.mtime == pair(entry.mtime)
            && known.ctime == pair(entry.ctime)
            && known.inode == entry.ino;
        same.then_some(known.digest)
    }

    /// Remembers the digest of a file whose stat was `entry` before it was hashed, starting at `since`.
    pub(super) fn put(&self, path: &Path, entry: &Entry, digest: ContentDigest, since: SystemTime) {
        let Some(path) = path.to_str() else { return };
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(RACY);
        let ctime = (entry.ctime.secs, entry.ctime.nanos);
        if ctime >= (since.as_secs().cast_signed(), since.subsec_nanos()) {
            return;
        }
        let known =
            Known { size: entry.size, mtime: pair(entry.mtime), ctime: pair(entry.ctime), inode: entry.ino, digest };
        let mut entries = self.entries();
        if entries.known.get(path) != Some(&known) {
            entries.known.insert(path.to_owned(), known);
            entries.changed = true;
        }
    }

    /// Writes the cache back if something is new. Two processes may do so at once: the last one wins, and nothing is lost but
    /// time.
    pub(super) fn save(&self) -> io::Result<()> {
        let (Some(file), Some(entries)) = (&self.file, self.entries.get()) else {
            return Ok(());
        };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.changed {
            return Ok(());
        }
        let bytes = postcard::to_stdvec(&(FORMAT, &entries.known)).map_err(io::Error::other)?;
        let nonce = std::process::id();
        let temporary = file.with_extension(format!("{nonce}.new"));
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(&temporary, file)?;
        entries.changed = false;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<HashMap<String, Known>> {
    let bytes = std::fs::read(file)?;
    let (format, rest) = postcard::take_from_bytes::<u32>(&bytes).map_err(io::Error::other)?;
    if format != FORMAT {
        return Ok(HashMap::new());
    }
    postcard::from_bytes(rest).map_err(io::Error::other)
}
