//! The content digest of a layer: what a step changed, never when. Two runs of a step that leave the same names, kinds, modes,
//! owners, attributes, link targets, bytes, whiteouts and hard links have the same digest.
//!
//! The form that is hashed, for each thing in the order of [`crate::walk`]: path, tag of the kind, then what the kind has; of a
//! further name of an inode only the first name. The root's own metadata is not part of it, nor are sockets, since no
//! image keeps them.

use crate::at::{self, Xattr};
use crate::overlay::{self, Namespace};
use crate::reading::{self, FileReader};
use crate::tree::{Entry, Kind, TreeError};
use crate::walk::{Visit, Walk};
use kiln_digest::{ContentDigest, Hasher};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A layer, measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diff {
    /// What the layer changes.
    pub digest: ContentDigest,
    /// The bytes of all regular files, each inode once.
    pub size_bytes: u64,
    /// Files, directories, links and whiteouts.
    pub entries: u64,
}

impl Diff {
    /// Whether the layer changes nothing at all.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// Measures the layer in `dir`, an overlay lower directory.
///
/// # Errors
/// [`TreeError`].
pub fn diff_digest(dir: &Path) -> Result<Diff, TreeError> {
    diff_digest_until(dir, &AtomicBool::new(false))
}

/// As [`diff_digest`], but fails once `stop` is true.
///
/// # Errors
/// [`TreeError`].
pub fn diff_digest_until(dir: &Path, stop: &AtomicBool) -> Result<Diff, TreeError> {
    let mut layer = Layer::new();
    let mut walk = Walk::new(dir)?;
    let root = Arc::clone(walk.root());
    while let Some(visit) = walk.next().transpose()? {
        layer.visit(&visit).map_err(|e| TreeError::io("read the attributes of", &visit.path, e))?;
        reading::check(stop).map_err(|e| TreeError::io("read", &visit.path, e))?;
    }
    layer.hash_files(&root, stop)?;
    Ok(measure(&layer.found))
}

/// What was found, its files' bytes not yet hashed.
struct Layer {
    namespace: Namespace,
    found: Vec<Found>,
    to_hash: Vec<ToHash>,
    links: HashMap<(u64, u64), usize>,
}

/// One thing in a layer.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) entry: Entry,
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) opaque: bool,
    /// The digest of a regular file's bytes.
    pub(crate) content: Option<ContentDigest>,
    /// An earlier name of the same inode.
    pub(crate) same_as: Option<usize>,
}

struct ToHash {
    index: usize,
    size: u64,
}

/// Below this, starting threads takes longer than hashing.
const PARALLEL_FROM: u64 = 4 << 20;

impl Layer {
    fn new() -> Self {
        Self { namespace: Namespace::of_process(), found: Vec::new(), to_hash: Vec::new(), links: HashMap::new() }
    }

    fn visit(&mut self, visit: &Visit) -> rustix::io::Result<()> {
        let entry = &visit.entry;
        if entry.kind == Kind::Socket {
            return Ok(());
        }
        let index = self.found.len();
        let mut same_as = None;
        if entry.nlink > 1 && !entry.is_directory() && !entry.is_whiteout() {
            let first = *self.links.entry((entry.dev, entry.ino)).or_insert(index);
            same_as = (first != index).then_some(first);
        }
        let (xattrs, opaque) = match &visit.directory {
            Some(directory) => {
                (at::xattrs_of_fd(directory.as_fd())?, overlay::is_opaque(directory.as_fd(), self.namespace)?)
            }
            None if same_as.is_some() || entry.is_whiteout() => (Vec::new(), false),
            None => (at::xattrs_at(visit.parent.as_fd(), &visit.name)?, false),
        };
        if entry.is_file() && same_as.is_none() {
            self.to_hash.push(ToHash { index, size: entry.size });
        }
        let (path, entry) = (visit.path.clone(), entry.clone());
        self.found.push(Found { path, entry, xattrs, opaque, content: None, same_as });
        Ok(())
    }

    /// Hashes the files' bytes, large files first so that the last one doesn't leave the other threads idle.
    fn hash_files(&mut self, root: &Arc<OwnedFd>, stop: &AtomicBool) -> Result<(), TreeError> {
        let mut to_hash = std::mem::take(&mut self.to_hash);
        let total: u64 = to_hash.iter().map(|file| file.size).sum();
        let mut workers = thread::available_parallelism().map_or(1, usize::from).min(8);
        if total < PARALLEL_FROM && to_hash.len() < 256 {
            workers = 1;
        }
        to_hash.sort_by_key(|file| std::cmp::Reverse(file.size));
        let next = AtomicUsize::new(0);
        let hash_some = || {
            let mut hashed = Vec::new();
            while let Some(file) = to_hash.get(next.fetch_add(1, Ordering::Relaxed)) {
                let path = &self.found[file.index].path;
                hashed.push((file.index, hash_file(root, path, file.size, stop)?));
            }
            Ok::<_, TreeError>(hashed)
        };
        let hashed: Vec<_> = thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(hash_some)).collect();
            let mut hashed = vec![hash_some()];
            hashed.extend(others.into_iter().map(|other| match other.join() {
                Ok(hashed) => hashed,
                Err(panic) => std::panic::resume_unwind(panic),
            }));
            hashed
        });
        for some in hashed {
            for (index, digest) in some? {
                self.found[index].content = Some(digest);
            }
        }
        Ok(())
    }
}

/// Measures what was found, in the order of a walk.
pub(crate) fn measure(all: &[Found]) -> Diff {
    let mut hasher = Hasher::new("kiln layer diff v1");
    let mut size_bytes = 0;
    for found in all {
        hasher.field(found.path.as_os_str().as_bytes());
        if let Some(first) = found.same_as {
            hasher.field(b"link").field(all[first].path.as_os_str().as_bytes());
            continue;
        }
        if found.entry.is_file() {
            size_bytes += found.entry.size;
        }
        hash_entry(&mut hasher, found);
    }
    Diff { digest: hasher.content(), size_bytes, entries: all.len() as u64 }
}

fn hash_entry(hasher: &mut Hasher, found: &Found) {
    let entry = &found.entry;
    if entry.is_whiteout() {
        hasher.field(b"whiteout");
        return;
    }
    match &entry.kind {
        Kind::File => {
            hasher.field(b"file");
            if let Some(content) = &found.content {
                hasher.field(content.as_bytes());
            }
        }
        Kind::Directory => {
            hasher.field(if found.opaque { &b"opaque"[..] } else { b"directory" });
        }
        Kind::Symlink(target) => {
            hasher.field(b"symlink").field(target.as_bytes());
        }
        Kind::Character { major, minor } => {
            hasher.field(b"character").number((*major).into()).number((*minor).into());
        }
        Kind::Block { major, minor } => {
            hasher.field(b"block").number((*major).into()).number((*minor).into());
        }
        Kind::Fifo => {
            hasher.field(b"fifo");
        }
        Kind::Socket => {}
    }
    // A symbolic link's mode is whatever the file system says.
    let mode = if matches!(entry.kind, Kind::Symlink(_)) { 0o777 } else { entry.mode };
    hasher.number(mode.into()).number(entry.uid.into()).number(entry.gid.into()).number(found.xattrs.len() as u64);
    for (name, value) in &found.xattrs {
        hasher.field(name.as_bytes()).field(value);
    }
}

fn hash_file(root: &OwnedFd, path: &Path, size: u64, stop: &AtomicBool) -> Result<ContentDigest, TreeError> {
    let file = at::open_beneath(root.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK);
    let file = File::from(file.map_err(|e| TreeError::io("open", path, e))?);
    reading::hash(FileReader::new(file, size, stop)).map_err(|e| TreeError::io("read", path, e))
}

#[cfg(test)]
mod tests;
