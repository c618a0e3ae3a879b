//! The parent's side: removing what was created.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timestamps, fgetxattr, flistxattr, fstat, futimens,
    openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::{Stubs, Times, relative_parent};
use crate::openat2::openat2;

/// A created mount point could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("remove the mount point `{}`", path.display())]
pub struct CleanUpError {
    /// Its path in the container.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// The times of one directory in which stubs were created.
struct ParentTimes {
    /// Before the first.
    before: Times,
    /// After the last: if it still has them, nobody else changed it.
    after: Times,
}

pub(super) fn clean_up(stubs: &Stubs) -> Result<(), CleanUpError> {
    let removable = || stubs.stubs.iter().filter(|stub| !stub.system);
    if removable().next().is_none() {
        return Ok(());
    }
    let error = |path: &Path, errno: Errno| CleanUpError { path: path.to_owned(), source: errno.into() };
    let root = open_root(&stubs.upper).map_err(|errno| error(&stubs.upper, errno))?;
    let mut times: BTreeMap<&Path, ParentTimes> = BTreeMap::new();
    for stub in &stubs.stubs {
        let parent = relative_parent(&stub.path);
        times
            .entry(parent)
            .and_modify(|times| times.after = stub.after)
            .or_insert(ParentTimes { before: stub.before, after: stub.after });
    }
    // A system directory next to a stub is there to stay, and its parent's times with it.
    for stub in stubs.stubs.iter().filter(|stub| stub.system) {
        if let Some(times) = times.get_mut(relative_parent(&stub.path)) {
            times.before = times.after;
        }
    }
    // In reverse order of creation, which is deepest first within each parent.
    let mut parents: Vec<&Path> = Vec::new();
    for stub in removable().collect::<Vec<_>>().into_iter().rev() {
        let parent = relative_parent(&stub.path);
        let Some(name) = stub.path.file_name() else { continue };
        let Some(directory) = open_below(&root, parent).map_err(|errno| error(&stub.path, errno))? else { continue };
        if remove(&directory, name, stub.directory, times.get(parent)).map_err(|errno| error(&stub.path, errno))? {
            parents.push(parent);
        }
    }
    if !stubs.lower.is_empty() {
        for parent in parents {
            prune(&root, &stubs.lower, parent).map_err(|errno| error(&Path::new("/").join(parent), errno))?;
        }
    }
    Ok(())
}

/// Removes a stub if it is still what it was, and sets its parent's times right. Says whether it is gone.
fn remove(parent: &OwnedFd, name: &OsStr, directory: bool, times: Option<&ParentTimes>) -> rustix::io::Result<bool> {
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        done => done?,
    };
    let found = FileType::from_raw_mode(stat.st_mode);
    let untouched = if directory {
        found == FileType::Directory
    } else {
        found == FileType::RegularFile && stat.st_size == 0 && stat.st_nlink == 1
    };
    if !untouched {
        return Ok(false);
    }
    let now = Times::of(&fstat(parent)?);
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match unlinkat(parent, name, flags) {
        Err(Errno::NOTEMPTY) => return Ok(false),
        done => done?,
    }
    let times = match times {
        Some(times) if times.after.modification == now.modification => times.before,
        // Once set back by the removal of a neighbour, or changed by the process.
        _ => now,
    };
    set_times(parent, times)?;
    Ok(true)
}

/// Removes a directory of the upper layer, and then its parents, as long as they repeat what is below them.
fn prune(root: &OwnedFd, lower: &[PathBuf], path: &Path) -> rustix::io::Result<()> {
    let mut path = path;
    while let (Some(name), Some(parent)) = (path.file_name(), path.parent()) {
        let Some(directory) = open_below(root, path)? else { return Ok(()) };
        if !is_empty(&directory)? || !repeats_lower(&directory, lower, path)? {
            return Ok(());
        }
        let Some(holder) = open_below(root, parent)? else { return Ok(()) };
        // Overlayfs left the times of the holder alone when it copied the directory up.
        let times = Times::of(&fstat(&holder)?);
        match unlinkat(&holder, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => return Ok(()),
            done => done?,
        }
        set_times(&holder, times)?;
        path = parent;
    }
    Ok(())
}

/// Whether a directory adds nothing to the topmost one of the same path below it.
fn repeats_lower(directory: &OwnedFd, lower: &[PathBuf], path: &Path) -> rustix::io::Result<bool> {
    for layer in lower.iter().rev() {
        let below = match open_below(&open_root(layer)?, path) {
            Ok(None) => continue,
            Ok(Some(below)) => below,
            // A file or whiteout on the way hides all layers below it.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        return Ok(same_metadata(&fstat(directory)?, &fstat(&below)?) && same_attributes(directory, &below)?);
    }
    Ok(false)
}

fn same_metadata(one: &Stat, other: &Stat) -> bool {
    (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
        && Times::of(one).modification == Times::of(other).modification
}

/// Compares extended attributes. Those of overlayfs are its bookkeeping, but for the one that hides what is below.
fn same_attributes(one: &OwnedFd, other: &OwnedFd) -> rustix::io::Result<bool> {
    let (one, other) = (attributes(one)?, attributes(other)?);
    let opaque = |name: &Vec<u8>| name.ends_with(b".overlay.opaque");
    if one.keys().any(opaque) {
        return Ok(false);
    }
    let shown = |name: &&Vec<u8>| !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.");
    let count = other.keys().filter(shown).count();
    let mut same = one.iter().filter(|(name, _)| shown(name));
    Ok(one.keys().filter(shown).count() == count && same.all(|(name, value)| other.get(name) == Some(value)))
}

fn attributes(file: &OwnedFd) -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0u8; 64 << 10];
    let length = match flistxattr(file, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => 0,
        done => done?,
    };
    let mut value = vec![0u8; 64 << 10];
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = fgetxattr(file, name, value.as_mut_slice())?;
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    Ok(found)
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_times(directory: &OwnedFd, times: Times) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Times::timespec(times.access),
        last_modification: Times::timespec(times.modification),
    };
    futimens(directory, &times)
}

fn open_root(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory below another; the path has no symbolic links, or is no longer what the child saw.
fn open_below(root: &OwnedFd, path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match openat2(root, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOENT) => Ok(None),
        done => done.map(Some),
    }
}
