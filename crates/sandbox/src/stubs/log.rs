//! The child's side: resolving targets, creating what is missing, and writing that down without allocation.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, chownat, fstat, mkdirat, openat, readlinkat_raw, statx};
use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid, fchdir};

use super::{Kind, Origin, Times};
use crate::mounts::{last_errno, resolve};

/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;
/// Bytes for all paths of created mount points.
const PATHS_LEN: usize = 64 << 10;
const PATH_LEN: usize = libc::PATH_MAX as usize;
const NAME_LEN: usize = 256;

/// What the child created, written into buffers that the parent allocated.
#[derive(Debug)]
pub(crate) struct StubLog {
    paths: Vec<u8>,
    entries: Vec<Entry>,
    /// Of directories that are created for mounts.
    owner: (Uid, Gid),
}

/// One created file or directory of the root filesystem.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    end: usize,
    kind: Kind,
    origin: Origin,
    before: Times,
    after: Times,
}

impl StubLog {
    /// A log with room for every component of every target, and some for what dangling links lead to.
    pub(crate) fn for_targets<'a>(targets: impl Iterator<Item = &'a CStr>, owner: (Uid, Gid)) -> Self {
        let components: usize =
            targets.map(|target| target.to_bytes().iter().filter(|byte| **byte == b'/').count()).sum();
        Self { paths: Vec::with_capacity(PATHS_LEN), entries: Vec::with_capacity(components + 64), owner }
    }

    /// What was created, in order: absolute path, kind, origin, and the times of its parent before and after.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], Kind, Origin, Times, Times)> {
        self.entries.iter().filter_map(|entry| {
            let path = self.paths.get(entry.start..entry.end)?;
            Some((path, entry.kind, entry.origin, entry.before, entry.after))
        })
    }

    /// Opens a target, creating what is missing of it.
    pub(crate) fn resolve_or_create(
        &mut self,
        root: &OwnedFd,
        target: &CStr,
        kind: Kind,
        origin: Origin,
    ) -> Result<OwnedFd> {
        match resolve(root, target) {
            Err(Errno::NOENT) => {}
            done => return done,
        }
        let mut path = PathBuffer::new();
        path.push(target.to_bytes())?;
        let mut links = 0;
        loop {
            let (parent, component) = existing_prefix(root, &mut path)?;
            let mut name = [0u8; NAME_LEN];
            let name = component_name(&path, &component, &mut name)?;
            let mut link = [0u8; PATH_LEN];
            match readlinkat_raw(&parent, name, &mut link) {
                Ok(length) => {
                    // A link that leads nowhere yet, as `/etc/resolv.conf` is in many images: what it names is created.
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    follow(root, &mut path, &parent, &component, &link[..length])?;
                }
                Err(Errno::NOENT) => {
                    let last = component.end == path.length;
                    let kind = if last { kind } else { Kind::Directory };
                    self.make(root, &parent, name, kind, origin)?;
                }
                // Something is there that could not be resolved.
                Err(Errno::INVAL) => return Err(Errno::NOTDIR),
                Err(errno) => return Err(errno),
            }
            match resolve(root, path.as_c_str()) {
                Err(Errno::NOENT) => {}
                done => return done,
            }
        }
    }

    fn make(&mut self, root: &OwnedFd, parent: &OwnedFd, name: &CStr, kind: Kind, origin: Origin) -> Result<()> {
        let before = Times::of(&fstat(parent)?);
        match kind {
            Kind::Directory => {
                mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
                let (uid, gid) = self.owner;
                if origin == Origin::Mount && (uid, gid) != (Uid::ROOT, Gid::ROOT) {
                    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
            }
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
            }
        }
        // What is created below another mount is not in the root filesystem, and not ours to remove.
        if mount_id(parent)? != mount_id(root)? {
            return Ok(());
        }
        let after = Times::of(&fstat(parent)?);
        let mut directory = [0u8; PATH_LEN];
        let directory = canonical(root, parent, &mut directory)?;
        let start = self.paths.len();
        let separator: &[u8] = if directory == b"/" { b"" } else { b"/" };
        let name = name.to_bytes();
        let length = directory.len() + separator.len() + name.len();
        if self.paths.capacity() - start < length || self.entries.len() == self.entries.capacity() {
            return Err(Errno::NAMETOOLONG);
        }
        for part in [directory, separator, name] {
            self.paths.extend_from_slice(part);
        }
        self.entries.push(Entry { start, end: start + length, kind, origin, before, after });
        Ok(())
    }
}

/// A component of a path: a range of its bytes, without slashes.
struct Component {
    start: usize,
    end: usize,
}

/// The longest part of the path that exists, opened, and the component that follows it.
fn existing_prefix(root: &OwnedFd, path: &mut PathBuffer) -> Result<(OwnedFd, Component)> {
    let mut end = path.length;
    loop {
        let Some(slash) = path.bytes[..end].iter().rposition(|byte| *byte == b'/') else {
            return Err(Errno::INVAL);
        };
        let component = Component { start: slash + 1, end };
        if slash == 0 {
            return Ok((resolve(root, c"/")?, component));
        }
        path.bytes[slash] = 0;
        let prefix = resolve(root, path.as_c_str());
        path.bytes[slash] = b'/';
        match prefix {
            Err(Errno::NOENT) => end = slash,
            done => return Ok((done?, component)),
        }
    }
}

fn component_name<'a>(path: &PathBuffer, component: &Component, name: &'a mut [u8; NAME_LEN]) -> Result<&'a CStr> {
    let bytes = &path.bytes[component.start..component.end];
    if bytes.is_empty() || bytes == b"." || bytes == b".." {
        return Err(Errno::NOENT);
    }
    if bytes.len() >= NAME_LEN {
        return Err(Errno::NAMETOOLONG);
    }
    name[..bytes.len()].copy_from_slice(bytes);
    CStr::from_bytes_until_nul(&*name).map_err(|_| Errno::INVAL)
}

/// Replaces everything up to a component that is a symbolic link by what it leads to.
fn follow(root: &OwnedFd, path: &mut PathBuffer, parent: &OwnedFd, component: &Component, link: &[u8]) -> Result<()> {
    let mut next = PathBuffer::new();
    if link.first() != Some(&b'/') {
        let mut directory = [0u8; PATH_LEN];
        next.push(canonical(root, parent, &mut directory)?)?;
    }
    next.push(link)?;
    next.push(&path.bytes[component.end..path.length])?;
    *path = next;
    Ok(())
}

/// The path of a directory of the root filesystem, without symbolic links. The child's root is `root` by now.
fn canonical<'a>(root: &OwnedFd, directory: &OwnedFd, buffer: &'a mut [u8; PATH_LEN]) -> Result<&'a [u8]> {
    fchdir(directory)?;
    // SAFETY: the buffer is live and of the length given.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let failed = last_errno();
    fchdir(root)?;
    // The length counts the terminating zero. A directory out of reach does not start with a slash.
    match usize::try_from(length) {
        Ok(length) if length > 1 && buffer.first() == Some(&b'/') => Ok(&buffer[..length - 1]),
        Ok(_) => Err(Errno::NOENT),
        Err(_) => Err(failed),
    }
}

fn mount_id(file: &OwnedFd) -> Result<u64> {
    Ok(statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// An absolute path of bounded length, with single slashes and none at its end.
struct PathBuffer {
    bytes: [u8; PATH_LEN],
    length: usize,
}

impl PathBuffer {
    fn new() -> Self {
        Self { bytes: [0; PATH_LEN], length: 0 }
    }

    /// Appends the components of `path`.
    fn push(&mut self, path: &[u8]) -> Result<()> {
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            // One byte stays for the terminating zero.
            let end = self.length + 1 + name.len();
            if end >= PATH_LEN {
                return Err(Errno::NAMETOOLONG);
            }
            self.bytes[self.length] = b'/';
            self.bytes[self.length + 1..end].copy_from_slice(name);
            self.length = end;
        }
        Ok(())
    }

    fn as_c_str(&self) -> &CStr {
        if self.length == 0 { c"/" } else { CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"/") }
    }
}
