//! Removal of whole trees, fast and robust: relative to open directories, never through a symbolic link, whatever the modes
//! (overlayfs leaves work directories of mode 0) and however deep (a step may nest directories until no path reaches the bottom).
//!
//! Several processes or threads may remove the same tree at the same time. At most [`MOST_OPEN`] directories are open at
//! a time: a deeper one is first moved up to the top of the tree.

use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How many nested directories are held open.
const MOST_OPEN: u32 = 64;

/// Removes a file, or a directory and all that is in it. It is no error when there is none.
///
/// # Errors
/// [`Error::Io`] with `path` when something below cannot be removed, for instance a mount point.
pub fn remove_tree(path: &Path) -> Result<()> {
    let failed = |errno: Errno| Error::io("remove", path, errno);
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let mut moved = 0;
    loop {
        let removed = {
            let directory = match open(CWD, path) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(failed(errno)),
            };
            let mut tree = Tree { top: directory.as_fd(), moved: &mut moved };
            tree.empty(directory.as_fd(), 1).map_err(failed)?
        };
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Directories were moved up here, or the filesystem skips entries of a directory that shrinks while it is listed.
            Err(Errno::NOTEMPTY) if removed > 0 => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// A removal in progress.
struct Tree<'a> {
    top: BorrowedFd<'a>,
    /// How many directories were moved up.
    moved: &'a mut u64,
}

impl Tree<'_> {
    /// Removes what one listing of a directory shows, and says how many entries that were.
    fn empty(&mut self, directory: BorrowedFd<'_>, depth: u32) -> Result<u64, Errno> {
        let mut buffer = vec![MaybeUninit::uninit(); 16 * 1024];
        rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
        let mut listing = RawDir::new(directory, &mut buffer);
        let mut removed = 0;
        while let Some(entry) = listing.next() {
            let entry = match entry {
                // Somebody else has removed the directory.
                Err(Errno::NOENT) => break,
                entry => entry?,
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let unlinked = match entry.file_type() {
                FileType::Directory => Err(Errno::ISDIR),
                _ => writable(directory, || rustix::fs::unlinkat(directory, name, AtFlags::empty())),
            };
            match unlinked {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => self.remove_directory(directory, name, depth)?,
                Err(errno) => return Err(errno),
            }
            removed += 1;
        }
        Ok(removed)
    }

    fn remove_directory(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<(), Errno> {
        let rmdir = || writable(parent, || rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR));
        match rmdir() {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        if depth >= MOST_OPEN {
            return self.move_up(parent, name);
        }
        loop {
            let removed = {
                let directory = match open(parent, name) {
                    Err(Errno::NOENT) => return Ok(()),
                    directory => directory?,
                };
                self.empty(directory.as_fd(), depth + 1)?
            };
            match rmdir() {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) if removed > 0 => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Moves a directory to the top of the tree, where a further listing finds it.
    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            *self.moved += 1;
            let to = format!(".deep-{}", self.moved);
            let attempt = || rustix::fs::renameat(parent, name, self.top, &*to);
            let outcome = writable(parent, || match attempt() {
                Err(Errno::ACCESS | Errno::PERM) => {
                    // Its own `..` changes, so the directory itself must be writable too.
                    rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
                    attempt()
                }
                outcome => outcome,
            });
            match outcome {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                outcome => return outcome,
            }
        }
    }
}

/// Opens a directory to list it, after making it readable if need be.
fn open(parent: impl AsFd, path: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&parent, path, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(&parent, path, flags, Mode::empty())
        }
        outcome => outcome,
    }
}

/// Does something to an entry of a directory, after making that writable if need be.
fn writable(directory: BorrowedFd<'_>, action: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match action() {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(directory, Mode::RWXU)?;
            action()
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_what_others_stumble_over() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), b"p").unwrap();
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("work/work/deep")).unwrap();
        symlink(outside.path(), tree.join("work/link")).unwrap();
        symlink(outside.path(), tree.join("link")).unwrap();
        fs::write(tree.join("work/work/deep/file"), b"f").unwrap();
        for name in 0..3000 {
            fs::write(tree.join(format!("file-{name}")), b"").unwrap();
        }
        for closed in ["work/work/deep", "work/work", "work", ""] {
            fs::set_permissions(tree.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.path().join("precious").exists());
        symlink(outside.path(), &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(outside.path().join("precious").exists());
        assert!(fs::symlink_metadata(&tree).is_err());
        remove_tree(&tree).unwrap();
        remove_tree(&outside.path().join("precious/below")).unwrap();
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn depth_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut directory = open(CWD, &*tree).unwrap();
        for level in 0..3000 {
            let name = "a-name-of-some-length";
            rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(if level % 7 == 0 { 0o300 } else { 0o700 }))
                .unwrap();
            rustix::fs::mkdirat(&directory, ".deep-1", Mode::RWXU).unwrap();
            directory = open(&directory, name).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
