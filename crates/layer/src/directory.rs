//! One plain directory as a [`Tree`]: contexts, unpacked tars, and a layer seen as it is on disk, whiteouts included.

use crate::at;
use crate::tree::{Entry, Tree, TreeError, require_plain, split};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A directory of the host, read as it is. The descriptor is opened once: a rename of the directory doesn't matter later.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    /// Directories that were last asked for attributes of their files, the latest at the end: a walk asks for one file after
    /// the other, in a few threads.
    last_parents: Mutex<Vec<(PathBuf, Arc<OwnedFd>)>>,
}

/// As many directories stay open.
const LAST_PARENTS: usize = 8;

impl Directory {
    /// Opens the directory; a symbolic link in `path` itself is followed.
    ///
    /// # Errors
    /// [`TreeError::Io`] if there is no such directory or it may not be read.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, TreeError> {
        let path = path.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| TreeError::io("open", &path, e))?;
        Ok(Self { root, last_parents: Mutex::default() })
    }

    pub(crate) fn lookup(&self, path: &Path) -> rustix::io::Result<Option<(OwnedFd, Entry)>> {
        let Some(file) = at::absent(at::open_beneath(self.root.as_fd(), path, OFlags::PATH))? else {
            return Ok(None);
        };
        let entry = at::entry_of_fd(file.as_fd())?;
        Ok(Some((file, entry)))
    }

    pub(crate) fn open_directory(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        at::open_directory(self.root.as_fd(), path)
    }

    /// The directory at `path`, kept open until others are asked for.
    pub(crate) fn parent(&self, path: &Path) -> rustix::io::Result<Arc<OwnedFd>> {
        let mut last = self.last_parents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, directory)) = last.iter().rev().find(|(known, _)| known == path) {
            return Ok(Arc::clone(directory));
        }
        let directory = Arc::new(self.open_directory(path)?);
        if last.len() == LAST_PARENTS {
            last.remove(0);
        }
        last.push((path.to_owned(), Arc::clone(&directory)));
        Ok(directory)
    }

    fn require(&self, path: &Path) -> Result<(OwnedFd, Entry), TreeError> {
        require_plain(path)?;
        self.lookup(path)
            .map_err(|e| TreeError::io("stat", path, e))?
            .ok_or_else(|| TreeError::NotFound { path: path.to_owned() })
    }
}

impl Tree for Directory {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError> {
        require_plain(path)?;
        let found = self.lookup(path).map_err(|e| TreeError::io("stat", path, e))?;
        Ok(found.map(|(_, entry)| entry))
    }

    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError> {
        let (_, entry) = self.require(path)?;
        if !entry.is_directory() {
            return Err(TreeError::NotADirectory { path: path.to_owned() });
        }
        let list = || {
            let directory = self.open_directory(path)?;
            let mut children = Vec::new();
            for name in at::names(directory.as_fd())? {
                if let Some(entry) = at::absent(at::entry_at(directory.as_fd(), &name))? {
                    children.push((name, entry));
                }
            }
            children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            Ok(children)
        };
        list().map_err(|e: Errno| TreeError::io("list", path, e))
    }

    fn open(&self, path: &Path) -> Result<File, TreeError> {
        require_plain(path)?;
        at::open_file(self.root.as_fd(), path.as_os_str(), path)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError> {
        require_plain(path)?;
        let read = || match split(path) {
            Some((parent, name)) => at::xattrs_at(self.parent(parent)?.as_fd(), name),
            None => at::xattrs_of_fd(self.root.as_fd()),
        };
        read().map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => TreeError::NotFound { path: path.to_owned() },
            errno => TreeError::io("read the attributes of", path, errno),
        })
    }
}
