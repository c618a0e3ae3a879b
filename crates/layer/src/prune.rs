//! What a RUN leaves in the overlay's upper directory, made into a layer: overlayfs keeps notes of its own there, and
//! copies up what was merely touched. Without them the layer says what changed, and a step that changes nothing leaves nothing.
//! A directory that was made anew in a base's place is opaque to overlayfs; here it becomes one whiteout for each name that is no
//! longer in it, as in BuildKit's layers, so no layer made by a step has opaque directories.

use crate::at;
use crate::overlay::Namespace;
use crate::reading::{self, FileReader};
use crate::tree::{Entry, Tree, TreeError};
use crate::walk::{Visit, Walk};
use crate::writing::timestamps;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Why an upper directory could not be made into a layer.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The upper directory or the base could not be read, or something could not be removed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The mount let overlayfs refer to lower layers, which an image can't.
    #[error(
        "`{path}` refers to a lower layer by the attribute `{attribute}`\nhint: overlays must be mounted with `redirect_dir=off,metacopy=off`"
    )]
    Refers {
        /// The path in the layer.
        path: PathBuf,
        /// The overlay's attribute.
        attribute: String,
    },
}

/// Removes from the upper directory `upper` what says nothing about the base that it was mounted over: files that don't differ
/// from the base's (mode, owner, attributes, time, bytes), empty directories that don't (but for their time), whiteouts of what
/// the base doesn't have, and overlayfs's own attributes. Whiteouts take the place of opaque marks. Directories that stay keep
/// their times. Fails once `stop` is true.
///
/// # Errors
/// [`PruneError`].
pub fn prune_unchanged(upper: &Path, base: &dyn Tree, stop: &AtomicBool) -> Result<(), PruneError> {
    let namespace = Namespace::of_process();
    let mut pruning =
        Pruning { base, namespace, stop, replaced: HashSet::new(), directories: Vec::new(), touched: HashSet::new() };
    let mut walk = Walk::new(upper)?;
    let root = Arc::clone(walk.root());
    let root_entry = at::entry_of_fd(root.as_fd()).map_err(|e| TreeError::io("stat", upper, e))?;
    pruning.strip(upper, &at::proc_path(root.as_fd(), OsStr::new(".")))?;
    while let Some(visit) = walk.next().transpose()? {
        pruning.visit(&visit)?;
        reading::check(stop).map_err(|e| TreeError::io("read", &visit.path, e))?;
    }
    pruning.remove_directories(&root, &root_entry)
}

struct Pruning<'a> {
    base: &'a dyn Tree,
    namespace: Namespace,
    stop: &'a AtomicBool,
    /// Directories that are there in the place of the base's.
    replaced: HashSet<PathBuf>,
    /// Parents before what they hold.
    directories: Vec<(PathBuf, Entry)>,
    /// Directories out of which something was taken, which changed their time.
    touched: HashSet<PathBuf>,
}

impl Pruning<'_> {
    fn visit(&mut self, visit: &Visit) -> Result<(), PruneError> {
        let path = &visit.path;
        let host_path = at::proc_path(visit.parent.as_fd(), &visit.name);
        let opaque = self.strip(path, &host_path)?;
        let below = self.base.entry(path)?;
        if let Some(directory) = &visit.directory {
            let hides = opaque || self.replaced.contains(&parent(path));
            if hides && below.is_some_and(|below| below.is_directory()) {
                self.hide_one_by_one(directory.as_fd(), path)?;
            }
            self.directories.push((path.clone(), visit.entry.clone()));
            return Ok(());
        }
        let says_nothing = match below {
            None => visit.entry.is_whiteout(),
            Some(below) => self.is_same_file(visit, &below)?,
        };
        if says_nothing {
            rustix::fs::unlinkat(&visit.parent, &visit.name, AtFlags::empty())
                .map_err(|e| TreeError::io("remove", path, e))?;
            self.touched.insert(parent(path));
        }
        Ok(())
    }

    /// Removes the overlay's own attributes; whether the path is opaque.
    fn strip(&self, path: &Path, host_path: &Path) -> Result<bool, PruneError> {
        let failed = |e| TreeError::io("read the attributes of", path, e);
        let mut opaque = false;
        for name in at::list_names(|list| rustix::fs::llistxattr(host_path, list)).map_err(failed)? {
            let Some(own) = name.as_bytes().strip_prefix(self.namespace.prefix().as_bytes()) else { continue };
            match own {
                b"redirect" | b"metacopy" => {
                    let (path, attribute) = (path.to_owned(), name.to_string_lossy().into_owned());
                    return Err(PruneError::Refers { path, attribute });
                }
                _ => {
                    opaque |= own == b"opaque";
                    rustix::fs::lremovexattr(host_path, &name)
                        .map_err(|e| TreeError::io("remove an attribute of", path, e))?;
                }
            }
        }
        Ok(opaque)
    }

    /// Makes a whiteout for everything that the base has in the directory and the layer has not.
    fn hide_one_by_one(&mut self, directory: BorrowedFd<'_>, path: &Path) -> Result<(), TreeError> {
        for (name, _) in self.base.children(path)? {
            match rustix::fs::mknodat(directory, &name, FileType::CharacterDevice, Mode::empty(), 0) {
                Ok(()) => self.touched.insert(path.to_owned()),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(TreeError::io("hide", &path.join(&name), error)),
            };
        }
        self.replaced.insert(path.to_owned());
        Ok(())
    }

    /// Whether a file is a mere copy of the base's. Whether it has other names does not matter: as in BuildKit's layers, a new name
    /// of a base's file is a file of its own.
    fn is_same_file(&self, visit: &Visit, below: &Entry) -> Result<bool, TreeError> {
        let upper = &visit.entry;
        if upper.is_whiteout() || !is_same_entry(upper, below) || upper.mtime != below.mtime {
            return Ok(false);
        }
        let failed = |e| TreeError::io("read the attributes of", &visit.path, e);
        if at::xattrs_at(visit.parent.as_fd(), &visit.name).map_err(failed)? != self.base.xattrs(&visit.path)? {
            return Ok(false);
        }
        if !upper.is_file() {
            return Ok(true);
        }
        if upper.size != below.size {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&visit.parent, &visit.name, flags, Mode::empty());
        let file = file.map_err(|e| TreeError::io("open", &visit.path, e))?;
        let one = FileReader::new(File::from(file), upper.size, self.stop);
        let other = FileReader::new(self.base.open(&visit.path)?, below.size, self.stop);
        have_same_bytes(one, other).map_err(|e| TreeError::io("read", &visit.path, e))
    }

    /// Removes empty directories that don't differ from the base's, deepest first, and gives those that stay their times.
    fn remove_directories(mut self, root: &OwnedFd, root_entry: &Entry) -> Result<(), PruneError> {
        while let Some((path, entry)) = self.directories.pop() {
            if self.is_same_directory(root.as_fd(), &path, &entry)? && self.remove(root.as_fd(), &path)? {
                self.touched.remove(&path);
                self.touched.insert(parent(&path));
            } else if self.touched.contains(&path) {
                set_time(root.as_fd(), &path, &entry)?;
            }
        }
        if self.touched.contains(Path::new("")) {
            set_time(root.as_fd(), Path::new(""), root_entry)?;
        }
        Ok(())
    }

    fn is_same_directory(&self, root: BorrowedFd<'_>, path: &Path, entry: &Entry) -> Result<bool, PruneError> {
        let Some(below) = self.base.entry(path)? else { return Ok(false) };
        if !is_same_entry(entry, &below) {
            return Ok(false);
        }
        let xattrs = at::open_directory(root, path).and_then(|directory| at::xattrs_of_fd(directory.as_fd()));
        Ok(xattrs.map_err(|e| TreeError::io("read the attributes of", path, e))? == self.base.xattrs(path)?)
    }

    /// Removes a directory if it is empty.
    fn remove(&self, root: BorrowedFd<'_>, path: &Path) -> Result<bool, TreeError> {
        let name = path.file_name().map(OsString::from).unwrap_or_default();
        let removed = at::open_directory(root, &parent(path))
            .and_then(|parent| rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR));
        match removed {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(TreeError::io("remove", path, error)),
        }
    }
}

fn is_same_entry(upper: &Entry, below: &Entry) -> bool {
    upper.kind == below.kind && upper.mode == below.mode && upper.uid == below.uid && upper.gid == below.gid
}

fn have_same_bytes(mut one: FileReader<'_>, mut other: FileReader<'_>) -> std::io::Result<bool> {
    reading::with_buffer(|buffer| {
        let (mine, theirs) = buffer.split_at_mut(buffer.len() / 2);
        loop {
            let length = one.read(mine)?;
            if length == 0 {
                return Ok(other.read(theirs)? == 0);
            }
            match other.read_exact(&mut theirs[..length]) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
                Ok(()) if mine[..length] != theirs[..length] => return Ok(false),
                Ok(()) => {}
            }
        }
    })
}

fn set_time(root: BorrowedFd<'_>, path: &Path, entry: &Entry) -> Result<(), TreeError> {
    at::open_directory(root, path)
        .and_then(|directory| rustix::fs::futimens(directory, &timestamps(entry.mtime)))
        .map_err(|e| TreeError::io("set the time of", path, e))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}
