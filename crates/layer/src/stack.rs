//! A stack of overlay lower directories as one [`Tree`]: what an overlay mount of them would show, without a mount.
//!
//! Which layers take part in a directory (those above the first whiteout, file or opaque mark) is found once and remembered,
//! and the directories used last stay open, so a lookup costs one `fstatat` of a single name for each layer that takes part in
//! the parent. The layers must not change meanwhile.
//! As in the kernel, an opaque mark on a layer's own root means nothing.

use crate::at;
use crate::directory::Directory;
use crate::overlay::{self, Namespace};
use crate::tree::{Entry, Tree, TreeError, require_plain, split};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::{HashMap, hash_map};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The merged view of a stack of layers.
#[derive(Debug)]
pub struct Stack {
    /// Top first, as lookups go.
    layers: Vec<Directory>,
    namespace: Namespace,
    merged: RwLock<HashMap<PathBuf, Arc<[usize]>>>,
    /// The directories used last, the very last at the end.
    open: Mutex<Vec<Arc<Opened>>>,
}

/// A directory, open in each layer that takes part in it, top first.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    layers: Vec<OwnedFd>,
}

/// So many directories are remembered (some 10 MB); then all are forgotten.
const MAX_REMEMBERED: usize = 1 << 16;
/// So many descriptors are kept open, unless one directory needs more.
const MAX_OPEN: usize = 128;

impl Stack {
    /// Opens the layers' directories, bottom first. Without any layer the tree is an empty directory.
    ///
    /// # Errors
    /// [`TreeError::Io`] with the path of a layer that can't be opened.
    pub fn new(layers: Vec<PathBuf>) -> Result<Self, TreeError> {
        let layers = layers.into_iter().rev().map(Directory::new).collect::<Result<_, _>>()?;
        Ok(Self { layers, namespace: Namespace::of_process(), merged: RwLock::default(), open: Mutex::default() })
    }

    /// The layers that take part in the directory at `path`, top first; none if there is no such directory.
    fn merged(&self, path: &Path) -> Result<Arc<[usize]>, TreeError> {
        let mut unknown = Vec::new();
        let mut known = None;
        {
            let merged = self.merged.read().unwrap_or_else(PoisonError::into_inner);
            for ancestor in path.ancestors() {
                known = merged.get(ancestor).map(Arc::clone);
                if known.is_some() {
                    break;
                }
                unknown.push(ancestor);
            }
        }
        let mut taking_part = known.unwrap_or_default();
        for path in unknown.into_iter().rev() {
            taking_part = if path.as_os_str().is_empty() {
                (0..self.layers.len()).collect()
            } else {
                self.merge(path, &taking_part).map_err(|e| TreeError::io("stat", path, e))?
            };
            let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
            if merged.len() >= MAX_REMEMBERED {
                merged.clear();
            }
            merged.insert(path.to_owned(), Arc::clone(&taking_part));
        }
        Ok(taking_part)
    }

    fn merge(&self, path: &Path, parent: &[usize]) -> rustix::io::Result<Arc<[usize]>> {
        let mut taking_part = Vec::new();
        for &index in parent {
            let layer = &self.layers[index];
            let Some((_, entry)) = layer.lookup(path)? else { continue };
            if !entry.is_directory() {
                break;
            }
            taking_part.push(index);
            if overlay::is_opaque(layer.open_directory(path)?.as_fd(), self.namespace)? {
                break;
            }
        }
        Ok(taking_part.into())
    }

    fn opened(&self, path: &Path) -> Result<Arc<Opened>, TreeError> {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = open.iter().rposition(|opened| opened.path == path) {
                open[at..].rotate_left(1);
                return Ok(Arc::clone(&open[open.len() - 1]));
            }
        }
        let taking_part = self.merged(path)?;
        let layers = taking_part.iter().map(|&index| self.layers[index].open_directory(path)).collect::<Result<_, _>>();
        let layers = layers.map_err(|e| TreeError::io("open", path, e))?;
        let opened = Arc::new(Opened { path: path.to_owned(), layers });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::clone(&opened));
        // A directory that isn't there counts too, so that these don't pile up.
        let mut left: usize = open.iter().map(|opened| opened.layers.len().max(1)).sum();
        let mut surplus = 0;
        while left > MAX_OPEN && surplus + 1 < open.len() {
            left -= open[surplus].layers.len().max(1);
            surplus += 1;
        }
        open.drain(..surplus);
        Ok(opened)
    }

    /// The directory that holds what is at `path`, in the topmost layer that has something there; not for the root.
    fn lookup(&self, path: &Path) -> Result<Option<Found>, TreeError> {
        require_plain(path)?;
        let Some((parent, name)) = split(path) else { return Ok(None) };
        let directory = self.opened(parent)?;
        for (layer, opened) in directory.layers.iter().enumerate() {
            match at::absent(at::entry_at(opened.as_fd(), name)).map_err(|e| TreeError::io("stat", path, e))? {
                Some(entry) if entry.is_whiteout() => return Ok(None),
                Some(entry) => return Ok(Some(Found { directory, layer, entry })),
                None => {}
            }
        }
        Ok(None)
    }

    fn require(&self, path: &Path) -> Result<Found, TreeError> {
        self.lookup(path)?.ok_or_else(|| TreeError::NotFound { path: path.to_owned() })
    }

    fn list(&self, path: &Path, layers: &[usize]) -> rustix::io::Result<Vec<(OsString, Entry)>> {
        let mut seen: HashMap<OsString, Option<Entry>> = HashMap::new();
        for &index in layers {
            let directory = self.layers[index].open_directory(path)?;
            for name in at::names(directory.as_fd())? {
                if let hash_map::Entry::Vacant(place) = seen.entry(name) {
                    let entry = at::entry_at(directory.as_fd(), place.key())?;
                    place.insert((!entry.is_whiteout()).then_some(entry));
                }
            }
        }
        let mut children: Vec<_> = seen.into_iter().filter_map(|(name, entry)| Some((name, entry?))).collect();
        children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(children)
    }
}

impl Tree for Stack {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError> {
        if path.as_os_str().is_empty() {
            return self.layers.first().map_or(Ok(Some(EMPTY_ROOT)), |top| top.entry(path));
        }
        Ok(self.lookup(path)?.map(|found| found.entry))
    }

    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError> {
        require_plain(path)?;
        let layers = self.merged(path)?;
        if layers.is_empty() && !path.as_os_str().is_empty() {
            self.require(path)?;
            return Err(TreeError::NotADirectory { path: path.to_owned() });
        }
        // Not the descriptors that are open already: threads would share their position.
        self.list(path, &layers).map_err(|e| TreeError::io("list", path, e))
    }

    fn open(&self, path: &Path) -> Result<File, TreeError> {
        let not_a_file = || TreeError::NotAFile { path: path.to_owned() };
        if path.as_os_str().is_empty() {
            return Err(not_a_file());
        }
        let found = self.require(path)?;
        if !found.entry.is_file() {
            return Err(not_a_file());
        }
        at::open_file(found.directory(), path.file_name().unwrap_or_default(), path)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError> {
        if path.as_os_str().is_empty() {
            return self.layers.first().map_or(Ok(Vec::new()), |top| top.xattrs(path));
        }
        let found = self.require(path)?;
        at::xattrs_at(found.directory(), path.file_name().unwrap_or_default())
            .map_err(|e| TreeError::io("read the attributes of", path, e))
    }
}

/// Where a lookup ended.
struct Found {
    directory: Arc<Opened>,
    layer: usize,
    entry: Entry,
}

impl Found {
    fn directory(&self) -> BorrowedFd<'_> {
        self.directory.layers[self.layer].as_fd()
    }
}

/// The root of `FROM scratch`.
const EMPTY_ROOT: Entry = Entry {
    kind: crate::tree::Kind::Directory,
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: crate::tree::Time { secs: 0, nanos: 0 },
    ctime: crate::tree::Time { secs: 0, nanos: 0 },
    dev: 0,
    ino: 0,
    nlink: 1,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Meta};

    #[test]
    fn directories_that_were_closed_are_opened_again() {
        let work = tempfile::tempdir().unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let meta = Meta { uid, gid, ..Meta::new(0o644) };
        let mut layers = Vec::new();
        let path = |directory: u32, file: u32| PathBuf::from(format!("d{directory}/f{file}"));
        for layer in 0..4 {
            let dir = work.path().join(layer.to_string());
            let builder = Builder::new(dir.clone(), None).unwrap().implied(Meta { mode: 0o755, ..meta.clone() });
            for directory in 0..50 {
                builder.file(&path(directory, layer), &meta, layer.to_string().as_bytes()).unwrap();
                builder.file(&path(directory, 9), &meta, layer.to_string().as_bytes()).unwrap();
            }
            builder.finish().unwrap();
            layers.push(dir);
        }
        let stack = Stack::new(layers).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let stack = &stack;
                scope.spawn(move || {
                    for number in 0..500 {
                        let directory = (number * (thread + 7)) % 50;
                        for (file, bytes) in [(0, "0"), (3, "3"), (9, "3")] {
                            let file = stack.open(&path(directory, file)).unwrap();
                            assert_eq!(std::io::read_to_string(file).unwrap(), bytes);
                        }
                        assert!(stack.entry(&path(directory, 5)).unwrap().is_none());
                        assert!(stack.entry(&path(directory + 50, 0)).unwrap().is_none());
                        assert_eq!(stack.children(path(directory, 0).parent().unwrap()).unwrap().len(), 5);
                    }
                });
            }
        });
        let open = stack.open.lock().unwrap();
        assert!(open.iter().map(|opened| opened.layers.len()).sum::<usize>() <= MAX_OPEN);
    }

    #[test]
    fn no_layers_are_an_empty_directory() {
        let stack = Stack::new(Vec::new()).unwrap();
        let root = Path::new("");
        assert!(stack.entry(root).unwrap().unwrap().is_directory());
        assert!(stack.children(root).unwrap().is_empty());
        assert!(stack.xattrs(root).unwrap().is_empty());
        assert!(stack.entry(Path::new("a")).unwrap().is_none());
        assert!(matches!(stack.children(Path::new("a")), Err(TreeError::NotFound { .. })));
    }
}
