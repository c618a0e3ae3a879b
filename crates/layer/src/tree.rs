//! A read-only view of files: what a COPY reads from, what a mount would show.
//!
//! Every path is relative to the tree's root, without a leading slash and without `.` or `..`; the empty path is the root.
//! No method follows a symbolic link in any component; who wants links followed calls [`resolve`] first, which never leaves
//! the root. A tree must not change while it is read: [`crate::Stack`] remembers what it found.

use crate::reading::{self, FileContent};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A read-only view of files below one root.
pub trait Tree: Send + Sync {
    /// What is at `path`, or `None` where nothing is (also below something that is no directory).
    ///
    /// # Errors
    /// [`TreeError::Path`] for a path that is not plain, [`TreeError::Io`] for what the system refuses.
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError>;

    /// What the directory at `path` holds, sorted by the bytes of the names.
    ///
    /// # Errors
    /// As [`Tree::entry`], and [`TreeError::NotFound`] or [`TreeError::NotADirectory`].
    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError>;

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    /// As [`Tree::entry`], and [`TreeError::NotFound`] or [`TreeError::NotAFile`].
    fn open(&self, path: &Path) -> Result<File, TreeError>;

    /// The extended attributes of what is at `path`, sorted by name, without those that belong to overlayfs or to the host's
    /// kernel (`trusted.overlay.*`, `user.overlay.*`, `security.*` but for `security.capability`).
    ///
    /// # Errors
    /// As [`Tree::entry`], and [`TreeError::NotFound`].
    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError>;

    /// What the regular file at `path` holds. `entry` is what [`Tree::entry`] gave for the path, so that a tree with a stat cache
    /// can answer without reading. Once `stop` is true, reading fails.
    ///
    /// # Errors
    /// As [`Tree::open`], and what reading gives.
    fn content(&self, path: &Path, entry: &Entry, stop: &AtomicBool) -> Result<FileContent, TreeError> {
        reading::file_content(self.open(path)?, path, entry.size, stop)
    }
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The kind of file, with what only that kind has.
    pub kind: Kind,
    /// Permission, set-id and sticky bits (`0o7777`).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The size of a regular file in bytes; of no meaning for other kinds.
    pub size: u64,
    /// When the contents last changed.
    pub mtime: Time,
    /// When contents or metadata last changed; this host's, never part of an image.
    pub ctime: Time,
    /// The device that holds the file: with [`Entry::ino`], its identity on this host.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// The number of names of the inode, which may lie outside the tree.
    pub nlink: u64,
}

impl Entry {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// Whether an overlay layer says with this that a lower path is gone. Seen only in a layer itself ([`crate::Directory`]),
    /// never in a [`crate::Stack`].
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::Character { major: 0, minor: 0 }
    }
}

/// The kinds of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and its target, as written.
    Symlink(OsString),
    /// A character device.
    Character {
        /// The driver.
        major: u32,
        /// The driver's unit.
        minor: u32,
    },
    /// A block device.
    Block {
        /// The driver.
        major: u32,
        /// The driver's unit.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

/// A point in time, from 1970 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds since 1970-01-01 UTC; before it when negative.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1,000,000,000.
    pub nanos: u32,
}

impl Time {
    /// The present.
    pub fn now() -> Self {
        std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map(|since| Self { secs: since.as_secs() as i64, nanos: since.subsec_nanos() })
            .unwrap_or_default()
    }

    /// Whole seconds.
    pub const fn seconds(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// Why a tree could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// An absolute path, or one with `.` or `..`.
    #[error("`{path}` is not a plain path relative to the root")]
    Path {
        /// The path as given.
        path: PathBuf,
    },
    /// Nothing is there.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The path within the tree.
        path: PathBuf,
    },
    /// Something else is where a directory was asked for.
    #[error("`{path}` is not a directory")]
    NotADirectory {
        /// The path within the tree.
        path: PathBuf,
    },
    /// Something else is where a regular file was asked for.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The path within the tree.
        path: PathBuf,
    },
    /// Symbolic links that go round in a circle, most likely.
    #[error("`{path}` leads through more than {MAX_LINKS} symbolic links")]
    TooManyLinks {
        /// The path that was to be resolved.
        path: PathBuf,
    },
    /// The system refused.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path within the tree, or the tree's own.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl TreeError {
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// As many links as [`resolve`] follows; Linux itself stops at 40.
const MAX_LINKS: usize = 255;

/// Follows the symbolic links in `path` without ever leaving the root: absolute targets start at the root, `..` stops there.
/// The last component's own link is followed only if `follow_last`. Components that don't exist are kept as they are, so the
/// answer also serves for a path that is to be made. `path` may be absolute and contain `.` and `..`.
///
/// # Errors
/// [`TreeError::TooManyLinks`] after 255 links, and what [`Tree::entry`] gives.
pub fn resolve(tree: &dyn Tree, path: &Path, follow_last: bool) -> Result<PathBuf, TreeError> {
    let mut left = VecDeque::new();
    push_front(&mut left, path);
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        resolved.push(&name);
        if left.is_empty() && !follow_last {
            break;
        }
        let Some(Entry { kind: Kind::Symlink(target), .. }) = tree.entry(&resolved)? else { continue };
        links += 1;
        if links > MAX_LINKS {
            return Err(TreeError::TooManyLinks { path: path.to_owned() });
        }
        resolved.pop();
        if Path::new(&target).is_absolute() {
            resolved = PathBuf::new();
        }
        push_front(&mut left, Path::new(&target));
    }
    Ok(resolved)
}

fn push_front(left: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => left.push_front(name.to_owned()),
            Component::ParentDir => left.push_front(OsString::from("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

/// Refuses a path that could mean something other than its components, taken one by one.
pub(crate) fn require_plain(path: &Path) -> Result<(), TreeError> {
    if is_plain(path) { Ok(()) } else { Err(TreeError::Path { path: path.to_owned() }) }
}

/// Whether the path is relative and has only ordinary names, none with a NUL byte. `a/./b` and `a//b` pass: they name what
/// `a/b` names.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

/// The parent and the last name of a plain path that is not the root.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

#[cfg(test)]
mod tests;
