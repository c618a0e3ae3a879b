//! Directories and files that kiln makes in a cache, where steps have written: no link of theirs leads outside.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a directory below `root` with its parents. Steps have written what is there, so its links lead nowhere outside.
pub(super) fn make_directory(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut parent = root.try_clone()?;
    let mut made = PathBuf::new();
    for name in path {
        made.push(name);
        // The kernel asks to try again when a rename or a mount elsewhere raced with its check of a `..`.
        let open = || {
            loop {
                match rustix::fs::openat2(&root, &made, flags, Mode::empty(), inside) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    done => return done,
                }
            }
        };
        parent = match open() {
            Err(Errno::NOENT) => {
                // A parallel step may make it as well; a link that leads nowhere stays one, and is an error.
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => open()?,
                    Err(errno) => return Err(errno.into()),
                }
            }
            opened => opened?,
        };
    }
    Ok(parent)
}

/// Puts a small file below `root`, with its parents, unless it is there. Who reads it meanwhile sees the old one or the new one.
pub(super) fn write_file(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = make_directory(root, parent)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if has(&directory, name, bytes) {
        return Ok(());
    }
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(".kiln-{}-{number}", std::process::id());
    match rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
    let file = rustix::fs::openat(&directory, &temporary, create, Mode::from_raw_mode(0o644))?;
    File::from(file).write_all(bytes)?;
    rustix::fs::renameat(&directory, &temporary, &directory, name)?;
    Ok(())
}

/// Whether a regular file holds just these bytes. What a step has put there instead, such as a device, is never opened.
fn has(directory: &OwnedFd, name: &OsStr, bytes: &[u8]) -> bool {
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(place) = rustix::fs::openat(directory, name, look, Mode::empty()) else { return false };
    let is_file = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !rustix::fs::fstat(&place).is_ok_and(is_file) {
        return false;
    }
    // The very file that was looked at, whatever has its name by now.
    let Ok(file) = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())) else { return false };
    let mut there = Vec::new();
    file.take(bytes.len() as u64 + 1).read_to_end(&mut there).is_ok() && there == bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_made_inside_only() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink("../../../../../../..", root.path().join("up")).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        for path in ["a/b", "real/c", "link/d", "up/e"] {
            make_directory(root.path(), Path::new(path)).unwrap();
        }
        for made in ["a/b", "real/c", "real/d", "e"] {
            assert!(root.path().join(made).is_dir(), "{made}");
        }
        assert!(make_directory(root.path(), Path::new("out/f")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        make_directory(root.path(), Path::new("")).unwrap();
    }

    #[test]
    fn files_replace_what_steps_left() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let target = outside.path().join("file");
        std::fs::write(&target, "outside").unwrap();
        symlink(&target, root.path().join("conf")).unwrap();
        for text in ["one", "one", "two"] {
            write_file(root.path(), Path::new("conf"), text.as_bytes()).unwrap();
            write_file(root.path(), Path::new("a/b"), text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(root.path().join("conf")).unwrap(), text);
            assert_eq!(std::fs::read_to_string(root.path().join("a/b")).unwrap(), text);
        }
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "outside");
        // A pipe is neither opened nor written to.
        let pipe = root.path().join("conf");
        std::fs::remove_file(&pipe).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        write_file(root.path(), Path::new("conf"), b"").unwrap();
        assert!(pipe.is_file());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    }
}
