//! Directories and files that kiln makes in a cache, where steps have written: no link of theirs leads outside.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
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
    if let Ok(file) = rustix::fs::openat(&directory, name, OFlags::RDONLY | OFlags::NONBLOCK | flags, Mode::empty()) {
        let mut there = Vec::new();
        let limit = bytes.len() as u64 + 1;
        if File::from(file).take(limit).read_to_end(&mut there).is_ok() && there == bytes {
            return Ok(());
        }
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
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    }
}
