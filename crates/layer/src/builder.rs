//! Making a layer: files are put, removed and linked over a base, and the directory that results is an overlay lower
//! directory holding just the difference.
//!
//! Paths are plain and relative to the root (see [`crate::tree`]); no symbolic link is followed, neither one of the layer nor
//! one of the base: whoever wants `COPY x /lib/` to land in `/usr/lib` calls [`crate::resolve`] first.
//! Parents that are missing in the layer are copied up from the base with all their metadata, or made anew with the
//! metadata of [`Builder::implied`]. All methods take `&self` and may be called from several threads, as long as no two
//! threads work on the same path. Directories get their times in [`Builder::finish`].

mod record;

pub use record::BuiltFile;

use crate::at;
use crate::diff::Diff;
use crate::directory::Directory;
use crate::reading::with_buffer;
use crate::tree::{Entry, Kind, Time, Tree, TreeError, is_plain, split};
use crate::writing::{Meta, Target, make_file, make_node, set_meta, set_meta_at, set_new_meta};
use kiln_digest::ContentDigest;
use record::{Record, What};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes one layer over a base.
pub struct Builder {
    target: Target,
    base: Option<Arc<dyn Tree>>,
    implied: Meta,
    /// Held while directories are made or replaced, so that two threads don't make the same parent.
    directories: Mutex<Directories>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Directories {
    /// The times that [`Builder::finish`] sets.
    times: HashMap<PathBuf, Time>,
    /// Directories that hide what the base has below them.
    opaque: HashSet<PathBuf>,
}

/// What a finished layer amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its measure, as [`crate::diff_digest`] would give it.
    pub diff: Diff,
    /// Its regular files, but for those with several names, in the order of a walk.
    pub files: Vec<BuiltFile>,
}

/// A regular file that is there, for [`Builder::link_from`].
#[derive(Debug, Clone, Copy)]
pub struct Existing<'a> {
    /// The layer that has it.
    pub layer: &'a Directory,
    /// Where in there.
    pub path: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub content: ContentDigest,
    /// Device and inode, if further names of it may be linked.
    pub inode: Option<(u64, u64)>,
}

/// Why a layer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An absolute path, or one with `.` or `..`.
    #[error("`{path}` is not a plain path relative to the root")]
    Path {
        /// The path as given.
        path: PathBuf,
    },
    /// A parent of something that was to be made is a file or a symbolic link.
    #[error("`{path}` is not a directory")]
    NotADirectory {
        /// The parent.
        path: PathBuf,
    },
    /// What was to be copied could not be read.
    #[error("failed to read what becomes `{path}`")]
    Source {
        /// The path in the layer.
        path: PathBuf,
        /// The reader's reason.
        source: io::Error,
    },
    /// The base could not be read.
    #[error("failed to read the base of the layer")]
    Base(#[from] TreeError),
    /// The system refused.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path in the layer.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl BuildError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Io { action, path: path.to_owned(), source: errno.into() }
    }

    /// Whether [`Builder::link_from`] failed in a way that a copy would not: another device, or too many links.
    pub fn is_unlinkable(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::NOENT]
            .iter()
            .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }
}

impl Builder {
    /// Starts a layer in `dir`, which is made or must be empty. Its root gets the metadata of the base's root.
    ///
    /// # Errors
    /// [`BuildError::Io`] if the directory can't be made or opened, [`BuildError::Base`] if the base can't be read.
    pub fn new(dir: PathBuf, base: Option<Arc<dyn Tree>>) -> Result<Self, BuildError> {
        let target = Target::new(&dir).map_err(BuildError::io("make", &dir))?;
        let builder =
            Self { target, base, implied: Meta::new(0o755), directories: Mutex::default(), record: Mutex::default() };
        if let Some(base) = &builder.base {
            let root = Path::new("");
            if let Some(entry) = base.entry(root)? {
                let meta = Meta::of(&entry, base.xattrs(root)?);
                builder.set_directory(&mut builder.lock(), root, &meta)?;
            }
        }
        Ok(builder)
    }

    /// Sets what parents get that neither the layer nor the base has; 0755, owned by root, changed in 1970 unless told.
    #[must_use]
    pub fn implied(mut self, meta: Meta) -> Self {
        self.implied = meta;
        self
    }

    /// Makes a directory, or gives the one that is there new metadata. What the base has below it stays visible. A file
    /// that is there is replaced.
    ///
    /// # Errors
    /// As all methods: [`BuildError::Path`], [`BuildError::NotADirectory`] for a parent, [`BuildError::Base`],
    /// [`BuildError::Io`].
    pub fn directory(&self, path: &Path, meta: &Meta) -> Result<(), BuildError> {
        require_plain(path)?;
        let mut directories = self.lock();
        if let Some((parent, _)) = split(path) {
            let parent = self.ensure(&mut directories, parent)?;
            self.ensure_one(&mut directories, parent.as_fd(), path, true)?;
        }
        self.set_directory(&mut directories, path, meta)
    }

    /// Makes a regular file of what `reader` yields, replacing what the layer has there. The digest is of the bytes written.
    ///
    /// # Errors
    /// As [`Builder::directory`], and [`BuildError::Source`].
    pub fn file(&self, path: &Path, meta: &Meta, mut reader: impl Read) -> Result<(u64, ContentDigest), BuildError> {
        let mut file = File::from(self.make(path, "create", |parent, name| make_file(parent, name, meta.mode))?);
        let (size, digest) = copy(path, &mut reader, &mut file)?;
        set_new_meta(file.as_fd(), meta).map_err(BuildError::io("set the metadata of", path))?;
        self.note(path, What::File { content: digest, meta: meta.clone(), size, inode: None });
        Ok((size, digest))
    }

    /// Makes a regular file by a hard link to one of an earlier layer with the same bytes and, as `meta` says, the same metadata. Two
    /// paths of one layer may be linked from the same file only if they are hard links of each other in the image, since exports
    /// see them as such; then both must say which inode it is.
    ///
    /// # Errors
    /// As [`Builder::directory`]; where [`BuildError::is_unlinkable`], a copy may still succeed.
    pub fn link_from(&self, path: &Path, meta: &Meta, existing: Existing<'_>) -> Result<(), BuildError> {
        let Existing { layer, path: there, size, content, inode } = existing;
        let (from, from_name) = split(there).ok_or_else(|| BuildError::Path { path: there.to_owned() })?;
        let from = layer.parent(from).map_err(BuildError::io("link from", there))?;
        self.make(path, "link", |parent, name| {
            rustix::fs::linkat(from.as_fd(), from_name, parent, name, AtFlags::empty())
        })?;
        self.note(path, What::File { content, meta: meta.clone(), size, inode });
        Ok(())
    }

    /// Makes a symbolic link, replacing what the layer has there. The target is kept as written.
    ///
    /// # Errors
    /// As [`Builder::directory`].
    pub fn symlink(&self, path: &Path, meta: &Meta, target: &Path) -> Result<(), BuildError> {
        self.node(path, meta, &Kind::Symlink(target.as_os_str().to_owned()))
    }

    /// Makes a symbolic link, device, pipe or socket, replacing what the layer has there. A character device 0/0 would be a
    /// whiteout, and is refused as the kernel would refuse it in an overlay.
    ///
    /// # Errors
    /// As [`Builder::directory`]; `EPERM` for the device 0/0, `EOPNOTSUPP` for files and directories.
    pub fn node(&self, path: &Path, meta: &Meta, kind: &Kind) -> Result<(), BuildError> {
        self.make(path, "create", |parent, name| {
            if *kind == (Kind::Character { major: 0, minor: 0 }) {
                return Err(Errno::PERM);
            }
            make_node(parent, name, kind)?;
            set_meta_at(parent, name, meta, kind)
        })?;
        self.note(path, What::Node(kind.clone(), meta.clone()));
        Ok(())
    }

    /// Makes a hard link to the file at `to`, which this layer must have.
    ///
    /// # Errors
    /// As [`Builder::directory`]; `ENOENT` if the layer has no such file.
    pub fn hard_link(&self, path: &Path, to: &Path) -> Result<(), BuildError> {
        require_plain(to)?;
        let (from, from_name) = split(to).ok_or_else(|| BuildError::Path { path: to.to_owned() })?;
        let from = self
            .target
            .directory(from)
            .and_then(|found| found.ok_or(Errno::NOENT))
            .map_err(BuildError::io("link to", to))?;
        // A whiteout is a file as well: linked to, it would be one where nothing is hidden.
        let hidden = at::entry_at(from.as_fd(), from_name).is_ok_and(|entry| entry.is_whiteout());
        if hidden {
            return Err(BuildError::io("link to", to)(Errno::NOENT));
        }
        let inode = self.make(path, "link", |parent, name| {
            rustix::fs::linkat(from.as_fd(), from_name, parent, name, AtFlags::empty())?;
            at::entry_at(parent, name).map(|entry| (entry.dev, entry.ino))
        })?;
        self.note(to, What::Named(inode));
        self.note(path, What::Name(inode));
        Ok(())
    }

    /// Removes what is at `path` in the layer, and hides what the base has there. Nothing happens if neither has anything.
    ///
    /// # Errors
    /// As [`Builder::directory`]; [`BuildError::Path`] for the root.
    pub fn remove(&self, path: &Path) -> Result<(), BuildError> {
        require_plain(path)?;
        let Some((parent, name)) = split(path) else {
            return Err(BuildError::Path { path: path.to_owned() });
        };
        let mut directories = self.lock();
        let present = self.target.entry(path).map_err(BuildError::io("stat", path))?;
        let hidden = self.base_entry(&directories, path)?.is_some();
        if present.as_ref().is_some_and(|entry| !entry.is_whiteout()) {
            self.clear(&mut directories, path)?;
        } else if present.is_some() || !hidden {
            return Ok(());
        }
        if hidden {
            let parent = self.ensure(&mut directories, parent)?;
            self.target.whiteout(parent.as_fd(), name).map_err(BuildError::io("hide", path))?;
            self.note(path, What::Whiteout);
        }
        Ok(())
    }

    /// Hides all that the base has below the directory at `path`, which is made if it isn't there.
    ///
    /// # Errors
    /// As [`Builder::directory`].
    pub fn opaque(&self, path: &Path) -> Result<(), BuildError> {
        require_plain(path)?;
        let mut directories = self.lock();
        let directory = self.ensure(&mut directories, path)?;
        self.mark_opaque(&mut directories, directory.as_fd(), path)
    }

    /// What the layer itself has at `path`, whiteouts included.
    ///
    /// # Errors
    /// [`BuildError::Path`], [`BuildError::Io`].
    pub fn entry(&self, path: &Path) -> Result<Option<Entry>, BuildError> {
        require_plain(path)?;
        self.target.entry(path).map_err(BuildError::io("stat", path))
    }

    /// Sets the times of all directories that were made, and measures the layer.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub fn finish(self) -> Result<Built, BuildError> {
        let directories = self.directories.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (path, time) in &directories.times {
            self.target.set_directory_time(path, *time).map_err(BuildError::io("set the time of", path))?;
        }
        let (diff, files) = self.record.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        Ok(Built { diff, files })
    }

    fn note(&self, path: &Path, what: What) {
        // The root's own metadata is no part of a layer.
        if !path.as_os_str().is_empty() {
            self.record.lock().unwrap_or_else(PoisonError::into_inner).note(path, what);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something that is no directory at `path`, replacing what the layer has there.
    fn make<T>(
        &self,
        path: &Path,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &std::ffi::OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, BuildError> {
        require_plain(path)?;
        let (parent, name) = split(path).ok_or_else(|| BuildError::NotADirectory { path: path.to_owned() })?;
        let parent = match self.target.directory(parent) {
            Ok(Some(parent)) => parent,
            _ => self.ensure(&mut self.lock(), parent)?,
        };
        let made = match make(parent.as_fd(), name) {
            Err(Errno::EXIST) => {
                self.clear(&mut self.lock(), path)?;
                make(parent.as_fd(), name)
            }
            other => other,
        };
        made.map_err(BuildError::io(action, path))
    }

    /// The directory at `path`, made with all its parents where the layer lacks them.
    fn ensure(&self, directories: &mut Directories, path: &Path) -> Result<Arc<OwnedFd>, BuildError> {
        if let Ok(Some(directory)) = self.target.directory(path) {
            return Ok(directory);
        }
        let root = self.target.directory(Path::new("")).map_err(BuildError::io("open", path))?;
        let mut parent = root.ok_or_else(|| BuildError::NotADirectory { path: path.to_owned() })?;
        let mut ancestors: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
        ancestors.reverse();
        for ancestor in ancestors {
            parent = self.ensure_one(directories, parent.as_fd(), ancestor, false)?;
        }
        Ok(parent)
    }

    /// The directory at `path` in the open `parent`. If it must be made, it gets the base's metadata, or the implied ones.
    /// A file in its place is an error unless it may be replaced.
    fn ensure_one(
        &self,
        directories: &mut Directories,
        parent: BorrowedFd<'_>,
        path: &Path,
        replace: bool,
    ) -> Result<Arc<OwnedFd>, BuildError> {
        match self.target.directory(path) {
            Ok(Some(directory)) => return Ok(directory),
            Ok(None) | Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(BuildError::io("open", path)(error)),
        }
        let in_the_way = self.target.entry(path).map_err(BuildError::io("stat", path))?;
        let below = self.base_entry(directories, path)?;
        match (&in_the_way, &below) {
            (Some(entry), _) if !entry.is_whiteout() && !replace => {
                return Err(BuildError::NotADirectory { path: path.to_owned() });
            }
            (None, Some(base)) if !base.is_directory() && !replace => {
                return Err(BuildError::NotADirectory { path: path.to_owned() });
            }
            _ => {}
        }
        if in_the_way.is_some() {
            self.target.remove(parent, path).map_err(BuildError::io("replace", path))?;
            self.note(path, What::Gone);
        }
        let directory = self.target.make_directory(parent, path).map_err(BuildError::io("create", path))?;
        let base_directory = below.filter(Entry::is_directory);
        if in_the_way.is_some() {
            // What the file or whiteout hid must not come back.
            if base_directory.is_some() {
                self.mark_opaque(directories, directory.as_fd(), path)?;
            }
            self.set_directory(directories, path, &self.implied)?;
        } else if let (Some(entry), Some(base)) = (base_directory, &self.base) {
            let meta = Meta::of(&entry, base.xattrs(path)?);
            self.set_directory(directories, path, &meta)?;
        } else {
            self.set_directory(directories, path, &self.implied)?;
        }
        Ok(directory)
    }

    fn set_directory(&self, directories: &mut Directories, path: &Path, meta: &Meta) -> Result<(), BuildError> {
        let directory = self
            .target
            .directory(path)
            .and_then(|found| found.ok_or(Errno::NOENT))
            .map_err(BuildError::io("open", path))?;
        set_meta(directory.as_fd(), meta).map_err(BuildError::io("set the metadata of", path))?;
        directories.times.insert(path.to_owned(), meta.mtime);
        self.note(path, What::Directory(meta.clone()));
        Ok(())
    }

    fn mark_opaque(
        &self,
        directories: &mut Directories,
        directory: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<(), BuildError> {
        self.target.set_opaque(directory).map_err(BuildError::io("make opaque", path))?;
        directories.opaque.insert(path.to_owned());
        self.note(path, What::Opaque);
        Ok(())
    }

    /// Removes what the layer has at `path`.
    fn clear(&self, directories: &mut Directories, path: &Path) -> Result<(), BuildError> {
        let Some((parent, _)) = split(path) else { return Ok(()) };
        let parent = self.target.directory(parent).map_err(BuildError::io("open", path))?;
        if let Some(parent) = parent {
            self.target.remove(parent.as_fd(), path).map_err(BuildError::io("remove", path))?;
            self.note(path, What::Gone);
        }
        directories.times.retain(|known, _| !known.starts_with(path));
        directories.opaque.retain(|known| !known.starts_with(path));
        Ok(())
    }

    /// What of the base can still be seen at `path`, but for what the layer has at `path` itself.
    fn base_entry(&self, directories: &Directories, path: &Path) -> Result<Option<Entry>, BuildError> {
        let Some(base) = &self.base else { return Ok(None) };
        if !directories.opaque.is_empty() && path.ancestors().skip(1).any(|above| directories.opaque.contains(above)) {
            return Ok(None);
        }
        Ok(base.entry(path)?)
    }
}

fn require_plain(path: &Path) -> Result<(), BuildError> {
    if is_plain(path) { Ok(()) } else { Err(BuildError::Path { path: path.to_owned() }) }
}

/// Copies all of `reader` into `file`, hashing the bytes on their way.
fn copy(path: &Path, reader: &mut impl Read, file: &mut File) -> Result<(u64, ContentDigest), BuildError> {
    with_buffer(|buffer| {
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            match reader.read(buffer) {
                Ok(0) => return Ok((size, ContentDigest::from_bytes(*hasher.finalize().as_bytes()))),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                    let written = file.write_all(&buffer[..read]);
                    written.map_err(|source| BuildError::Io { action: "write", path: path.to_owned(), source })?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(BuildError::Source { path: path.to_owned(), source }),
            }
        }
    })
}

#[cfg(test)]
mod tests;
