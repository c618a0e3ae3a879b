//! The connection to `meta.db`: one a process, behind a mutex, with its statements cached.
//!
//! A read is one statement, or a few that may see different states. A write is one `BEGIN IMMEDIATE` transaction, short, in which no
//! caller's code runs and nothing is waited for but the disk.

use crate::error::{Error, Result};
use crate::leases::LeaseTable;
use crate::memos::Stale;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The connection, and what of this process's must change together with the database.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    pub(crate) leases: LeaseTable,
    pub(crate) stale: Stale,
    path: PathBuf,
    wrote: bool,
}

/// What goes wrong inside a transaction, before the path of the database is known.
pub(crate) enum Failure {
    Sql(rusqlite::Error),
    Store(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Db {
    /// Opens an existing database. Nothing of it is read yet.
    pub(crate) fn open(path: &Path, create: bool) -> rusqlite::Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        if create {
            // Build arguments are in there: for nobody else to read, whatever the mode of the root. Made without being opened, since
            // closing it again would drop SQLite's locks. Where it cannot be made, SQLite says why.
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            let _ = rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::RegularFile, mode, 0);
        }
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(96);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        // The last process to close would otherwise copy the log into the database and sync both. `sync` does that off the hot path.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_handler(Some(wait_for_other_writer))?;
        Ok(Self {
            connection,
            leases: LeaseTable::default(),
            stale: Stale::default(),
            path: path.to_owned(),
            wrote: false,
        })
    }

    /// Runs statements that only read.
    pub(crate) fn read<T>(&self, statements: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        statements(&self.connection).map_err(|source| Error::database(&self.path, source))
    }

    /// Runs one write transaction, which is rolled back when `statements` fails.
    pub(crate) fn write<T>(&mut self, statements: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>) -> Result<T> {
        self.wrote = true;
        let attempt = || -> Result<T, Failure> {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let value = statements(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        attempt().map_err(|failure| match failure {
            Failure::Sql(source) => Error::database(&self.path, source),
            Failure::Store(error) => error,
        })
    }

    /// As [`Db::write`], but what was written is on the disk when it returns.
    pub(crate) fn write_through<T>(
        &mut self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        self.synchronous("FULL")?;
        let value = self.write(statements);
        self.synchronous("NORMAL")?;
        value
    }

    /// How eagerly SQLite syncs: `NORMAL` (only when the log is copied back) or `FULL` (at each commit).
    pub(crate) fn synchronous(&self, mode: &str) -> Result<()> {
        self.read(|sql| sql.pragma_update(None, "synchronous", mode))
    }

    /// Copies the log into the database and empties it, unless other processes are in the way.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.read(|sql| sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    /// Whether this process has written anything.
    pub(crate) fn wrote(&self) -> bool {
        self.wrote
    }
}

/// Called by SQLite while another process writes. Write transactions take a fraction of a millisecond, hence the short naps; one that
/// lasts a minute is a stopped process.
fn wait_for_other_writer(attempt: i32) -> bool {
    let attempt = u32::try_from(attempt).unwrap_or(0);
    let longest = Duration::from_micros(100 << attempt.min(6));
    // The clock's nanoseconds spread processes that wait for the same writer.
    let spread = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos() % 1024);
    std::thread::sleep(longest / 2 + longest / 2 * spread / 1024);
    attempt < 15_000
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    millis(SystemTime::now())
}

/// A time as the database keeps it.
pub(crate) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |n| -n),
    }
}

/// A time from the database.
pub(crate) fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time = if millis < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

/// A size or count as the database keeps it. No file reaches 2^63 bytes.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A size or count from the database.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
