//! Writing into one directory by descriptor: the parents of what is made are kept open, each file is made by calls that take
//! a single name, and no symbolic link is followed anywhere. [`crate::Builder`] and [`crate::apply`] share this.

use crate::at;
use crate::overlay::{self, Namespace};
#[cfg(test)]
use crate::tree::TreeError;
use crate::tree::{Entry, Kind, Time, split};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a new file gets besides its contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission, set-id and sticky bits (`0o7777`); symbolic links have none.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When the contents last changed.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Meta {
    /// Owned by root, last changed in 1970, without attributes.
    pub fn new(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }

    /// What `entry` has, with the attributes that [`crate::Tree::xattrs`] gave.
    pub fn of(entry: &Entry, xattrs: Vec<(OsString, Vec<u8>)>) -> Self {
        Self { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs }
    }
}

/// As many directories are kept open; a build's other parts need descriptors too, and 1024 is a usual limit.
const MAX_OPEN: usize = 192;

/// A directory that is being filled.
#[derive(Debug)]
pub struct Target {
    root: Arc<OwnedFd>,
    pub(crate) namespace: Namespace,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    directories: HashMap<PathBuf, (Arc<OwnedFd>, u64)>,
    clock: u64,
}

impl Target {
    /// Opens the directory, making it (mode 0755) if it isn't there.
    pub fn new(path: &Path) -> Result<Self> {
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
            // Whatever the umask: a layer's root is the image's root.
            Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(0o755))?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let root = Arc::new(rustix::fs::open(path, flags, Mode::empty())?);
        Ok(Self { root, namespace: Namespace::of_process(), open: Mutex::default() })
    }

    /// The directory at a plain path, or `None` if nothing is there. Fails with `ENOTDIR` or `ELOOP` if something else is.
    pub fn directory(&self, path: &Path) -> Result<Option<Arc<OwnedFd>>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(Arc::clone(&self.root)));
        }
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.clock += 1;
            let clock = open.clock;
            if let Some((directory, used)) = open.directories.get_mut(path) {
                *used = clock;
                return Ok(Some(Arc::clone(directory)));
            }
        }
        match at::open_directory(self.root.as_fd(), path) {
            Ok(directory) => Ok(Some(self.remember(path, directory))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remember(&self, path: &Path, directory: OwnedFd) -> Arc<OwnedFd> {
        let directory = Arc::new(directory);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.directories.len() >= MAX_OPEN {
            let mut used: Vec<u64> = open.directories.values().map(|(_, used)| *used).collect();
            let middle = used.len() / 2;
            let (_, &mut median, _) = used.select_nth_unstable(middle);
            open.directories.retain(|_, (_, used)| *used > median);
        }
        let clock = open.clock;
        open.directories.insert(path.to_owned(), (Arc::clone(&directory), clock));
        directory
    }

    /// Makes one directory, mode 0700 for now, and opens it. Fails with `EEXIST` if anything is there.
    pub fn make_directory(&self, parent: BorrowedFd<'_>, path: &Path) -> Result<Arc<OwnedFd>> {
        let (_, name) = split(path).ok_or(Errno::EXIST)?;
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let directory = at::open_directory(parent, Path::new(name))?;
        Ok(self.remember(path, directory))
    }

    /// What is at a plain path. Links in the parents count as absent, as anything below a file does.
    pub(crate) fn entry(&self, path: &Path) -> Result<Option<Entry>> {
        let Some((parent, name)) = split(path) else { return at::entry_of_fd(self.root.as_fd()).map(Some) };
        let Some(parent) = at::absent(self.directory(parent))?.flatten() else { return Ok(None) };
        at::absent(at::entry_at(parent.as_fd(), name))
    }

    /// Removes what is at `path`, with all below it.
    pub(crate) fn remove(&self, parent: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let Some((_, name)) = split(path) else { return Err(Errno::BUSY) };
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            other => return other,
        }
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .directories
            .retain(|known, _| !known.starts_with(path));
        remove_directory(parent, name)
    }

    /// Makes the mark that hides a lower name.
    pub(crate) fn whiteout(&self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    /// Makes the open directory opaque.
    pub(crate) fn set_opaque(&self, directory: BorrowedFd<'_>) -> Result<()> {
        overlay::set_opaque(directory, self.namespace)
    }

    /// Sets the time of the directory at `path`, if one is there.
    pub(crate) fn set_directory_time(&self, path: &Path, time: Time) -> Result<()> {
        match self.directory(path) {
            Ok(Some(directory)) => rustix::fs::futimens(&directory, &timestamps(time)),
            Ok(None) | Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Removes a directory of the host with all below it, however deep; nothing happens if there is none. Links are removed, not
/// followed. (The standard library's way opens a descriptor for each level, of which a hostile layer can have too many.)
#[cfg(test)]
pub(crate) fn remove_tree(dir: &Path) -> std::result::Result<(), TreeError> {
    let (Some(name), parent) = (dir.file_name(), dir.parent()) else {
        return Err(TreeError::Path { path: dir.to_owned() });
    };
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let removed =
        rustix::fs::open(parent, flags, Mode::empty()).and_then(|parent| match remove_one(parent.as_fd(), name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => remove_directory(parent.as_fd(), name),
            other => other,
        });
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(TreeError::io("remove", dir, error)),
    }
}

/// Removes a directory with all below it. Only one level is open at a time, so depth costs neither stack nor descriptors; the
/// way back up is `..`, which nobody else can move under this process's own directory.
fn remove_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let mut current = at::open_directory(parent, Path::new(name))?;
    let mut levels = vec![(name.to_owned(), at::names(current.as_fd())?)];
    while let Some((name, children)) = levels.last_mut() {
        if let Some(child) = children.pop() {
            match remove_one(current.as_fd(), &child) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    current = at::open_directory(current.as_fd(), Path::new(&child))?;
                    levels.push((child, at::names(current.as_fd())?));
                }
                Err(error) => return Err(error),
            }
            continue;
        }
        let name = std::mem::take(name);
        levels.pop();
        if levels.is_empty() {
            return rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        current = rustix::fs::openat(&current, "..", flags, Mode::empty())?;
        rustix::fs::unlinkat(&current, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Removes a file or an empty directory.
fn remove_one(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        other => other,
    }
}

/// Gives an open file or directory its owner, attributes, mode and time, in the order in which none undoes another: a change
/// of owner clears set-id bits and capabilities, writing an attribute may need the owner's rights.
pub fn set_meta(file: BorrowedFd<'_>, meta: &Meta) -> Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    for (name, value) in &meta.xattrs {
        set_xattr(name, rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode & 0o7777))?;
    rustix::fs::futimens(file, &timestamps(meta.mtime))
}

/// As [`set_meta`], for a regular file that was just made by [`make_file`]: what it has already is not set again. In a store without
/// surprises (set-group-id directories, a narrow umask) that leaves the time.
pub fn set_new_meta(file: BorrowedFd<'_>, meta: &Meta) -> Result<()> {
    let made = rustix::fs::fstat(file)?;
    if made.st_uid == meta.uid
        && made.st_gid == meta.gid
        && made.st_mode & 0o7777 == meta.mode & 0o7777
        && meta.xattrs.is_empty()
    {
        return rustix::fs::futimens(file, &timestamps(meta.mtime));
    }
    set_meta(file, meta)
}

/// As [`set_meta`], for what can't or mustn't be opened: links, devices, pipes.
pub fn set_meta_at(parent: BorrowedFd<'_>, name: &OsStr, meta: &Meta, kind: &Kind) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let path = at::proc_path(parent, name);
    for (name, value) in &meta.xattrs {
        match rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()) {
            // The kernel knows no user attributes of these kinds; an archive may have come from one that does.
            Err(Errno::PERM) => {}
            other => set_xattr(name, other)?,
        }
    }
    if !matches!(kind, Kind::Symlink(_)) {
        // `fchmodat` follows links; the name was made a moment ago by this process in a directory that nobody else sees.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(meta.mode & 0o7777), AtFlags::empty())?;
    }
    rustix::fs::utimensat(parent, name, &timestamps(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// A file system without attributes keeps none; most other failures are errors.
fn set_xattr(name: &OsStr, result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) => Ok(()),
        // In a user namespace nobody may set these, and nothing there reads them.
        Err(Errno::PERM) if name.as_encoded_bytes().starts_with(b"trusted.") => Ok(()),
        other => other,
    }
}

/// Makes a symbolic link, device or pipe. Fails with `EEXIST` if anything is there, and with `EOPNOTSUPP` for other kinds.
pub fn make_node(parent: BorrowedFd<'_>, name: &OsStr, kind: &Kind) -> Result<()> {
    let (file_type, device) = match kind {
        Kind::Symlink(target) => return rustix::fs::symlinkat(target, parent, name),
        Kind::Character { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor)),
        Kind::Block { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::File | Kind::Directory => return Err(Errno::OPNOTSUPP),
    };
    rustix::fs::mknodat(parent, name, file_type, Mode::empty(), device)
}

/// Makes a new, empty file, with as much of the mode as the umask leaves. Fails with `EEXIST` if anything is there.
pub fn make_file(parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode & 0o777))
}

/// Access and modification time are set alike: the former is never part of an image.
pub(crate) fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.secs, tv_nsec: time.nanos.min(999_999_999).into() };
    Timestamps { last_access: time, last_modification: time }
}
