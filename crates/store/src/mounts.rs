//! `mounts/ID/{fs,lock,memo}`: cache mounts, directories that outlive builds. A key may have several directories: those of `private` users
//! that worked at the same time. The oldest is the one that `shared` and `locked` users meet in.
//!
//! Whoever uses a directory holds its `lock`: shared or exclusive, as the sharing mode says. Who takes the lock looks again whether the
//! directory is still in place; who removes one holds its lock exclusively. A directory is made whole below `tmp/`, locked there,
//! and appears by one rename.

mod usage;

pub use usage::{CacheMountInfo, RemovedMounts};

use crate::db::{now, time};
use crate::error::{Error, Result};
use crate::ids::MountId;
use crate::locks::Pause;
use crate::open::Store;
use crate::process::{claim, is_at, make_dir};
use crate::temp::TempDir;
use rusqlite::{OptionalExtension, Transaction};
use std::fmt;
use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// What makes two cache mounts the same: namespace, id, and whatever else the caller wants kept apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheMountKey(String);

impl CacheMountKey {
    /// A key of any text.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheMountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who else may use the directory at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Any other `Shared` user.
    Shared,
    /// Nobody: a second user gets another directory, the first that is free or a new one.
    Private,
    /// Nobody: a second user waits.
    Locked,
}

/// Why a cache mount cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The caller did not want to wait any longer.
    #[error("cancelled while another step was using cache mount `{0}`")]
    Cancelled(CacheMountKey),
    /// The new directory could not be prepared.
    #[error("cannot prepare cache mount `{key}`")]
    Init {
        /// Which cache mount.
        key: CacheMountKey,
        /// What the caller's preparation says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk or the database.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A directory of a cache mount, in use until this is dropped.
pub struct CacheMount {
    store: Store,
    id: MountId,
    path: PathBuf,
    made: bool,
    since: Instant,
    _lock: File,
}

impl CacheMount {
    /// Which directory.
    pub fn id(&self) -> MountId {
        self.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata of the directory: its mode and owner.
    ///
    /// # Errors
    /// The disk's.
    pub fn metadata(&self) -> Result<Metadata> {
        fs::metadata(&self.path).map_err(|error| Error::io("read", &self.path, error))
    }

    /// What [`CacheMount::keep_memo`] kept beside the files; nothing if that is not there.
    pub fn memo(&self) -> Vec<u8> {
        fs::read(self.memo_path()).unwrap_or_default()
    }

    /// Keeps what somebody wants to know of the files the next time. It goes with the directory.
    ///
    /// # Errors
    /// The disk's; then the old memo stays.
    pub fn keep_memo(&self, bytes: &[u8]) -> Result<()> {
        let directory = self.store.temp_dir()?;
        let new = directory.path().join("memo");
        fs::write(&new, bytes).map_err(|error| Error::io("write", &new, error))?;
        let path = self.memo_path();
        fs::rename(&new, &path).map_err(|error| Error::io("write", &path, error))
    }

    fn memo_path(&self) -> PathBuf {
        self.path.with_file_name("memo")
    }

    /// Whether an earlier user has left something there.
    pub fn is_warm(&self) -> bool {
        !self.made && fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_some())
    }
}

impl Drop for CacheMount {
    fn drop(&mut self) {
        // The row says when the use began. That is near enough to its end, unless it was long.
        if self.since.elapsed() > Duration::from_secs(60) {
            let id = self.id;
            let _ = self.store.0.db().write(|sql| {
                sql.prepare_cached("UPDATE mounts SET used = ? WHERE id = ?")?.execute((now(), id))?;
                Ok(())
            });
        }
    }
}

impl Store {
    /// Gets a directory of a cache mount. When there is none that `sharing` allows, `init` prepares a new one: it gets an empty
    /// directory (mode 0755) and sets contents, owner and mode. While another user is in the way, `wait` is called every few
    /// milliseconds; false ends the wait.
    ///
    /// # Errors
    /// [`MountError::Cancelled`] when `wait` says false, [`MountError::Init`] when `init` fails; then nothing is left behind.
    pub fn acquire_cache_mount(
        &self,
        key: &CacheMountKey,
        sharing: Sharing,
        init: impl FnOnce(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
        mut wait: impl FnMut() -> bool,
    ) -> Result<CacheMount, MountError> {
        let mut pause = Pause::default();
        let mut init = Some(init);
        let mut made: Option<Made> = None;
        let mut looked_twice = false;
        loop {
            let existing = self.mounts_of(key)?;
            for &id in &existing {
                if let Some(lock) = self.lock_mount(id, sharing)?
                    && let Some(mount) = self.begin_use(id, lock)?
                {
                    return Ok(mount);
                }
                if sharing == Sharing::Locked {
                    break;
                }
            }
            if sharing == Sharing::Private && !existing.is_empty() && !looked_twice {
                // `du` and `sync` take a lock for an instant. A private user should not get an empty directory because of that.
                looked_twice = true;
                pause.take();
                continue;
            }
            if existing.is_empty() || sharing == Sharing::Private {
                if let Some(init) = init.take() {
                    made = Some(self.make_mount(key, init)?);
                }
                if let Some(whole) = made.take() {
                    match self.commit_mount(key, sharing, whole)? {
                        Ok(mount) => return Ok(mount),
                        Err(late) => made = Some(late),
                    }
                }
                continue;
            }
            if !wait() {
                return Err(MountError::Cancelled(key.clone()));
            }
            pause.take();
        }
    }

    /// The directory of a cache mount that steps meet in, for somebody who reads it and keeps all steps out meanwhile; nothing if
    /// there is none. That is no use of it. `wait` is as in [`Store::acquire_cache_mount`].
    ///
    /// # Errors
    /// [`MountError::Cancelled`] when `wait` says false.
    pub fn hold_cache_mount(
        &self,
        key: &CacheMountKey,
        mut wait: impl FnMut() -> bool,
    ) -> Result<Option<CacheMount>, MountError> {
        let mut pause = Pause::default();
        while let Some(&id) = self.mounts_of(key)?.first() {
            if let Some(lock) = self.lock_mount(id, Sharing::Locked)? {
                return Ok(Some(self.guard(id, lock, false)));
            }
            if !wait() {
                return Err(MountError::Cancelled(key.clone()));
            }
            pause.take();
        }
        Ok(None)
    }

    /// All cache mounts, with when each was last used, in the order of their keys.
    ///
    /// # Errors
    /// The database's.
    pub fn cache_mount_keys(&self) -> Result<Vec<(CacheMountKey, SystemTime)>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT key, max(used) FROM mounts GROUP BY key ORDER BY key")?;
            select.query_map([], |row| Ok((CacheMountKey(row.get(0)?), time(row.get(1)?))))?.collect()
        })
    }

    /// Whether a cache mount has a directory.
    ///
    /// # Errors
    /// The database's.
    pub fn has_cache_mount(&self, key: &CacheMountKey) -> Result<bool> {
        Ok(!self.mounts_of(key)?.is_empty())
    }

    pub(crate) fn mount_dir(&self, id: MountId) -> PathBuf {
        self.root().join("mounts").join(id.to_string())
    }

    fn mounts_of(&self, key: &CacheMountKey) -> Result<Vec<MountId>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT id FROM mounts WHERE key = ? ORDER BY created, id")?;
            select.query_map([&key.0], |row| row.get(0))?.collect()
        })
    }

    /// The lock of a directory, unless it is held otherwise or the directory is gone.
    pub(crate) fn lock_mount(&self, id: MountId, sharing: Sharing) -> Result<Option<File>> {
        let path = self.mount_dir(id).join("lock");
        let failed = |error| Error::io("lock", &path, error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let locked = match sharing {
            Sharing::Shared => file.try_lock_shared(),
            Sharing::Private | Sharing::Locked => file.try_lock(),
        };
        match locked {
            Ok(()) => Ok(is_at(&file, &path).map_err(failed)?.then_some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Notes a use of a directory whose lock is held. What it holds is no longer known to be on the disk, nor its size.
    fn begin_use(&self, id: MountId, lock: File) -> Result<Option<CacheMount>> {
        let known = self.0.db().write(|sql| {
            let mut update =
                sql.prepare_cached("UPDATE mounts SET uses = uses + 1, size = NULL, used = ?, boot = ? WHERE id = ?")?;
            Ok(update.execute((now(), self.0.boot.as_str(), id))? == 1)
        })?;
        Ok(known.then(|| self.guard(id, lock, false)))
    }

    fn guard(&self, id: MountId, lock: File, made: bool) -> CacheMount {
        let path = self.mount_dir(id).join("fs");
        CacheMount { store: self.clone(), id, path, made, since: Instant::now(), _lock: lock }
    }

    fn make_mount(
        &self,
        key: &CacheMountKey,
        init: impl FnOnce(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Made, MountError> {
        let directory = self.temp_dir()?;
        let whole = directory.path().join("mount");
        make_dir(&whole)?;
        let fs = whole.join("fs");
        fs::create_dir(&fs)
            .and_then(|()| fs::set_permissions(&fs, fs::Permissions::from_mode(0o755)))
            .map_err(|error| Error::io("create", &fs, error))?;
        init(&fs).map_err(|source| MountError::Init { key: key.clone(), source })?;
        let lock = whole.join("lock");
        let file = claim(&lock, true).map_err(|error| Error::io("lock", &lock, error))?;
        // Nobody else knows the directory.
        let file = file.ok_or_else(|| Error::io("lock", &lock, io::Error::from(io::ErrorKind::WouldBlock)))?;
        Ok(Made { directory, lock: file })
    }

    /// Moves a new directory into place, unless another process has made the one to share meanwhile.
    fn commit_mount(&self, key: &CacheMountKey, sharing: Sharing, made: Made) -> Result<Result<CacheMount, Made>> {
        let id = MountId::random();
        let to = self.mount_dir(id);
        if sharing == Sharing::Shared {
            made.lock.lock_shared().map_err(|error| Error::io("lock", &to, error))?;
        }
        let committed = self.0.db().write(|sql| {
            let mut select = sql.prepare_cached("SELECT 1 FROM mounts WHERE key = ?")?;
            if sharing != Sharing::Private && select.query_row([&key.0], |_| Ok(())).optional()?.is_some() {
                return Ok(false);
            }
            let from = made.directory.path().join("mount");
            fs::rename(from, &to).map_err(|error| Error::io("create", &to, error))?;
            let mut insert = sql.prepare_cached(
                "INSERT INTO mounts (id, key, uses, created, used, boot) VALUES (?1, ?2, 1, ?3, ?3, ?4)",
            )?;
            insert.execute((id, &key.0, now(), self.0.boot.as_str()))?;
            Ok(true)
        })?;
        Ok(if committed { Ok(self.guard(id, made.lock, true)) } else { Err(made) })
    }
}

/// A directory that is ready to become one of a cache mount.
struct Made {
    directory: TempDir,
    lock: File,
}

/// Forgets a directory whose lock is held exclusively; its files follow.
pub(crate) fn delete(sql: &Transaction<'_>, id: MountId) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM mounts WHERE id = ?")?.execute([id]).map(drop)
}

#[cfg(test)]
mod tests;
