//! Walking a layer's directory as it is on disk, whiteouts included: parents before what they hold, names in the order of their
//! bytes, so that every walk of the same layer meets the same things in the same order.

use crate::at;
use crate::tree::{Entry, TreeError};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A walk that is under way.
pub(crate) struct Walk {
    root: Arc<OwnedFd>,
    levels: Vec<Level>,
}

/// One thing met on the way; the root itself is not.
pub(crate) struct Visit {
    pub(crate) path: PathBuf,
    pub(crate) entry: Entry,
    pub(crate) name: OsString,
    /// The directory that holds it.
    pub(crate) parent: Arc<OwnedFd>,
    /// The thing itself, if it is a directory.
    pub(crate) directory: Option<Arc<OwnedFd>>,
}

struct Level {
    path: PathBuf,
    /// Closed while the walk is far below.
    directory: Option<Arc<OwnedFd>>,
    children: std::vec::IntoIter<(OsString, Entry)>,
}

/// So many levels keep their directory open.
const MAX_OPEN: usize = 64;

impl Walk {
    /// Starts at a directory of the host.
    pub(crate) fn new(dir: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || {
            let root = Arc::new(rustix::fs::open(dir, flags, Mode::empty())?);
            let level = Level::new(PathBuf::new(), Arc::clone(&root))?;
            Ok(Self { root, levels: vec![level] })
        };
        open().map_err(|e: rustix::io::Errno| TreeError::io("list", dir, e))
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    fn advance(&mut self) -> Result<Option<Visit>, TreeError> {
        loop {
            let depth = self.levels.len();
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some((name, entry)) = level.children.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.path.join(&name);
            let parent = match &level.directory {
                Some(directory) => Arc::clone(directory),
                None => {
                    let directory = at::open_directory(self.root.as_fd(), &level.path);
                    let directory = Arc::new(directory.map_err(|e| TreeError::io("open", &level.path, e))?);
                    Arc::clone(level.directory.insert(directory))
                }
            };
            let mut directory = None;
            if entry.is_directory() {
                let opened = at::open_directory(parent.as_fd(), Path::new(&name));
                let opened = Arc::new(opened.map_err(|e| TreeError::io("open", &path, e))?);
                directory = Some(Arc::clone(&opened));
                let below = Level::new(path.clone(), opened).map_err(|e| TreeError::io("list", &path, e))?;
                if depth >= MAX_OPEN {
                    self.levels[depth - MAX_OPEN].directory = None;
                }
                self.levels.push(below);
            }
            return Ok(Some(Visit { path, entry, name, parent, directory }));
        }
    }
}

impl Iterator for Walk {
    type Item = Result<Visit, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.levels.clear();
        }
        next.transpose()
    }
}

impl Level {
    fn new(path: PathBuf, directory: Arc<OwnedFd>) -> rustix::io::Result<Self> {
        let mut children = Vec::new();
        for name in at::names(directory.as_fd())? {
            let entry = at::entry_at(directory.as_fd(), &name)?;
            children.push((name, entry));
        }
        children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { path, directory: Some(directory), children: children.into_iter() })
    }
}
