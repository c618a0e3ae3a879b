//! System calls relative to an open directory: stat, list, open, extended attributes, each taking one name or a path that
//! the kernel itself keeps beneath the directory (`openat2` with `RESOLVE_BENEATH`). No symbolic link is ever followed.

use crate::overlay::is_file_attribute;
use crate::tree::{Entry, Kind, Time, TreeError};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::{Errno, Result};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// An extended attribute: its name and value.
pub(crate) type Xattr = (OsString, Vec<u8>);

/// Opens `path` beneath `root`, following no link in any component. Reading what was opened leaves no trace where that is allowed: the
/// time of the last access would be written to the disk for each file.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if !flags.contains(OFlags::PATH) {
        flags |= OFlags::NOATIME;
    }
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // The kernel asks to try again when a rename elsewhere raced with the check.
            Err(Errno::AGAIN | Errno::INTR) => continue,
            // Somebody else's file.
            Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => flags.remove(OFlags::NOATIME),
            other => return other,
        }
    }
}

/// Opens a directory beneath `root` for listing and for calls relative to it.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a regular file; `path` is what messages call it.
pub(crate) fn open_file(root: BorrowedFd<'_>, name: &OsStr, path: &Path) -> std::result::Result<File, TreeError> {
    // What turns out to be a pipe must not block, and must not be read.
    let file = open_beneath(root, Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
    let file = file.map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => TreeError::NotFound { path: path.to_owned() },
        Errno::LOOP | Errno::NXIO => TreeError::NotAFile { path: path.to_owned() },
        errno => TreeError::io("open", path, errno),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|e| TreeError::io("stat", path, e))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(File::from(file))
    } else {
        Err(TreeError::NotAFile { path: path.to_owned() })
    }
}

/// Turns "nothing there" into `None`: absent, below a file, or a name that no file can have.
pub(crate) fn absent<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is at one name of an open directory.
pub(crate) fn entry_at(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Entry> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    entry_of(&stat, || read_link(directory, name))
}

/// What an open file is, be it opened with `O_PATH` only.
pub(crate) fn entry_of_fd(file: BorrowedFd<'_>) -> Result<Entry> {
    let stat = rustix::fs::fstat(file)?;
    entry_of(&stat, || read_link(file, OsStr::new("")))
}

fn read_link(directory: BorrowedFd<'_>, name: &OsStr) -> Result<OsString> {
    Ok(OsString::from_vec(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes()))
}

fn entry_of(stat: &Stat, target: impl FnOnce() -> Result<OsString>) -> Result<Entry> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink(target()?),
        FileType::CharacterDevice => Kind::Character { major, minor },
        FileType::BlockDevice => Kind::Block { major, minor },
        FileType::Fifo => Kind::Fifo,
        _ => Kind::Socket,
    };
    Ok(Entry {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
        ctime: Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 },
        dev: stat.st_dev,
        ino: stat.st_ino,
        // Narrower on some architectures.
        nlink: u64::from(stat.st_nlink as u32),
    })
}

/// The names in an open directory, in the order of the file system, without `.` and `..`.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut listing = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// The path by which a name in an open directory can be reached for calls that have no `*at` form.
pub(crate) fn proc_path(directory: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    if !name.is_empty() {
        path.push(name);
    }
    path
}

/// The attributes of one name of an open directory that belong to the file, sorted by name.
pub(crate) fn xattrs_at(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<Xattr>> {
    let path = proc_path(directory, name);
    attributes(|list| rustix::fs::llistxattr(&path, list), |name, value| rustix::fs::lgetxattr(&path, name, value))
}

/// The attributes of an open file that belong to it, sorted by name.
pub(crate) fn xattrs_of_fd(file: BorrowedFd<'_>) -> Result<Vec<Xattr>> {
    attributes(|list| rustix::fs::flistxattr(file, list), |name, value| rustix::fs::fgetxattr(file, name, value))
}

fn attributes(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&OsStr, &mut [u8]) -> Result<usize>,
) -> Result<Vec<Xattr>> {
    let mut found = Vec::new();
    for name in list_names(list)? {
        if is_file_attribute(&name) {
            // An attribute may vanish between the two calls only if someone writes to the tree; then it is not there.
            match sized(|buffer| get(&name, buffer)) {
                Ok(value) => found.push((name, value)),
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The names of all attributes, the overlay's own too.
pub(crate) fn list_names(list: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<OsString>> {
    let names = match sized(list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect())
}

/// Calls with ever larger buffers, up to the kernel's limit of 64 KiB for names and values alike.
fn sized(call: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; 64 * 1024];
    let length = call(&mut large)?;
    large.truncate(length);
    Ok(large)
}
