//! Mount points that an image lacks: created by the child so that it can mount, removed after the process has ended.
//!
//! `RUN --mount=type=cache,target=/root/.cache/go-build true` must leave nothing in its layer. So, deepest first, every
//! stub that is still empty is removed, its parent gets back the times that it had, and a parent that overlayfs copied up
//! only for the stub's sake, and that says no more than the directory below it, goes as well.
//!
//! `/proc`, `/sys` and `/dev` stay where they were created: images built by BuildKit from `scratch` have them.

mod clean;
mod log;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Stat, Timespec};

pub use clean::CleanUpError;
pub(crate) use log::StubLog;

use crate::spec::Root;

/// The mount points that one sandbox created in its root filesystem.
#[derive(Debug, Clone)]
pub struct Stubs {
    /// Where they are on the host: the upper directory of an overlay, or the root directory.
    upper: PathBuf,
    /// Read-only directories below it, the bottom one first.
    lower: Vec<PathBuf>,
    stubs: Vec<Stub>,
}

/// One created mount point, or a parent created for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stub {
    /// Absolute path in the container, without symbolic links.
    pub path: PathBuf,
    /// Whether it is a directory, and not a file.
    pub directory: bool,
    /// Whether it is `/proc`, `/sys` or `/dev`, which stay.
    pub system: bool,
    /// Times of its parent before and after it was created.
    before: Times,
    after: Times,
}

/// What the child creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// For what it creates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    System,
    Mount,
}

/// Access and modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    access: (i64, i64),
    modification: (i64, i64),
}

impl Times {
    fn of(stat: &Stat) -> Self {
        Self {
            access: (stat.st_atime, stat.st_atime_nsec as i64),
            modification: (stat.st_mtime, stat.st_mtime_nsec as i64),
        }
    }

    fn timespec((seconds, nanoseconds): (i64, i64)) -> Timespec {
        Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
    }
}

impl Stubs {
    pub(crate) fn new(root: &Root, log: &StubLog) -> Self {
        let (upper, lower) = match root {
            Root::Overlay { lower, upper, .. } => (upper.clone(), lower.clone()),
            Root::Directory(directory) => (directory.clone(), Vec::new()),
        };
        let stubs = log
            .entries()
            .map(|(path, kind, origin, before, after)| Stub {
                path: PathBuf::from(OsStr::from_bytes(path)),
                directory: kind == Kind::Directory,
                system: origin == Origin::System,
                before,
                after,
            })
            .collect();
        Self { upper, lower, stubs }
    }

    /// What was created, in the order of creation: parents before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = &Stub> {
        self.stubs.iter()
    }

    /// Whether nothing was created.
    pub fn is_empty(&self) -> bool {
        self.stubs.is_empty()
    }

    /// Removes what is still empty, and what was copied up for its sake alone. To be called once, after the process ended.
    ///
    /// A stub that is no longer empty, or no longer what it was, stays.
    pub fn clean_up(&self) -> Result<(), CleanUpError> {
        clean::clean_up(self)
    }
}

/// The parent of an absolute path, as a path relative to the root.
fn relative_parent(path: &Path) -> &Path {
    path.parent().and_then(|parent| parent.strip_prefix("/").ok()).unwrap_or(Path::new(""))
}
