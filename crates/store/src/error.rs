//! What any operation on the store can meet: the disk and the database. What one operation alone can meet is beside it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of an operation on the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the disk or of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file or directory.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The disk, or the user's share of it, is full.
    #[error("no space is left for `{}`\nhint: `kiln prune` frees what no image needs", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// The failure as it was reported.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database cannot be understood.
    #[error(
        "the store's database `{}` is damaged\nhint: move `{}` away; kiln will build again what was in it",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Any other failure of the database.
    #[error("the store's database `{}` failed", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl Error {
    /// A failure of `action` (a verb) on `path`.
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source: source.into() },
            _ => Self::Io { action, path, source },
        }
    }

    /// A failure of the database at `path`.
    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        let extended = source.sqlite_error().map(|error| error.extended_code);
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, source: source.into() },
            // The shared index of the log could not grow.
            Some(_) if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
                Self::Full { path, source: source.into() }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, source },
            _ => Self::Database { path, source },
        }
    }

    /// Whether this is a full disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}
