//! Opening a store: the fast path reads the format and the boot, and lists `tmp/`; everything else happens once a store, once a boot,
//! or after a process was killed.

use crate::db::Db;
use crate::durability::{self, Boot};
use crate::error::{Error, Result};
use crate::leases;
use crate::process::{Process, Survey};
use crate::schema;

use kiln_digest::Digest;
use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An open store. Clones share it. What was leased, committed or read through it stays in the store until the last of them is dropped, so a
/// process that lives long opens one for each build.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later kiln made it.
    #[error(
        "the store `{}` has format {found}, and this kiln knows formats up to {known}\n\
         hint: use the newer kiln, or another directory with `--root`",
        root.display()
    )]
    NewerFormat {
        /// The store's root directory.
        root: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known.
        known: i64,
    },
    /// `meta.db` belongs to some other program.
    #[error("`{}` is no kiln store: its `meta.db` belongs to another program\nhint: choose another directory with `--root`", root.display())]
    Foreign {
        /// The directory.
        root: PathBuf,
    },
    /// The disk or the database.
    #[error(transparent)]
    Store(#[from] Error),
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) boot: Boot,
    pub(crate) process: Arc<Process>,
    db: Mutex<Db>,
    /// Blobs that `tmp/PID-NONCE.lock` lists.
    pub(crate) claims: Mutex<HashSet<Digest>>,
}

/// The directories of a store, in the order in which they are made.
const DIRECTORIES: [&str; 7] = ["blobs", "blobs/sha256", "layers", "mounts", "tmp", "locks", "contexts"];

/// Enough for SQLite to write what `prune` deletes.
const RESERVE: u64 = 1 << 20;

impl Store {
    /// Opens the store at `root`, which is made when there is none.
    ///
    /// Clears what killed processes left behind, and, on the first use after a boot, what had not reached the disk before.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::open_in_boot(root, Boot::current()?)
    }

    /// As [`Store::open`], in a boot that tests choose.
    pub(crate) fn open_in_boot(root: &Path, boot: Boot) -> Result<Self, OpenError> {
        // A root that is relative would move with the working directory.
        let root = std::path::absolute(root).map_err(|error| Error::io("resolve", root, error))?;
        match Self::open_at(&root, &boot) {
            // On a full disk the reserve gives way, so that `kiln prune` can do its work.
            Err(OpenError::Store(error)) if error.is_full() && give_up_reserve(&root) => Self::open_at(&root, &boot),
            // Somebody has removed a directory that was empty, or full.
            Err(OpenError::Store(Error::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                make_directories(&root)?;
                Self::open_at(&root, &boot)
            }
            Ok(store) => {
                restore_reserve(&root);
                Ok(store)
            }
            failed => failed,
        }
    }

    fn open_at(root: &Path, boot: &Boot) -> Result<Self, OpenError> {
        let (mut db, last_boot) = match connect(root)? {
            Some(opened) => opened,
            None => {
                create(root)?;
                connect(root)?.ok_or(OpenError::Foreign { root: root.to_owned() })?
            }
        };
        let process = Arc::new(Process::start(&root.join("tmp"))?);
        let mut garbage = clear_dead(root, &process, &mut db)?;
        if last_boot.as_deref() != Some(boot.as_str()) {
            garbage.extend(durability::recover(root, boot, &process, &mut db)?);
        }
        process.remove_later(garbage);
        let inner =
            Inner { root: root.to_owned(), boot: boot.clone(), process, db: Mutex::new(db), claims: Mutex::default() };
        Ok(Self(Arc::new(inner)))
    }

    /// The store's root directory, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Where stat caches of contexts and fetched repositories are kept: their names and contents are their owner's. Each must be written
    /// below [`Store::temp_dir`] and renamed into place, as [`Store::write_context`] does it for a file, and be able to tell that it is
    /// whole. [`Store::prune`] may remove any of them.
    pub fn contexts_dir(&self) -> PathBuf {
        self.0.root.join("contexts")
    }

    /// Puts a file below [`Store::contexts_dir`], or replaces the one that is there, in one step.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_context(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.0.process.fresh_path()?;
        std::fs::write(&temporary, bytes).map_err(|error| Error::io("write", &temporary, error))?;
        std::fs::rename(&temporary, path).map_err(|error| Error::io("create", path, error))
    }
}

impl Inner {
    /// The connection. A panic while it was held has rolled its transaction back, so it is good to use.
    pub(crate) fn db(&self) -> MutexGuard<'_, Db> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let db = self.db.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A lease that cannot be given back is one of a dead process from now on, and counts for nothing.
        let _ = leases::release_all(db, self.process.name());
        let _ = db.write_stale();
        let log = self.root.join("meta.db-wal");
        if db.wrote() && std::fs::metadata(log).is_ok_and(|log| log.len() > durability::LONGEST_LOG) {
            let _ = db.checkpoint();
        }
    }
}

/// Opens the database, and reads the boot in which it was last used. `None` when there is none, or a half-made one.
fn connect(root: &Path) -> Result<Option<(Db, Option<String>)>, OpenError> {
    let path = root.join("meta.db");
    let failed = |error| Error::database(&path, error);
    let db = match Db::open(&path, false) {
        Ok(db) => db,
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => return Ok(None),
        Err(error) => return Err(failed(error).into()),
    };
    let format: i64 = db.connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if format > schema::FORMAT {
        return Err(OpenError::NewerFormat { root: root.to_owned(), found: format, known: schema::FORMAT });
    }
    if format < schema::FORMAT {
        return Ok(None);
    }
    db.synchronous("NORMAL")?;
    let mut boot = db
        .connection
        .prepare_cached("SELECT value FROM meta WHERE name = 'boot'")
        .map_err(|_| OpenError::Foreign { root: root.to_owned() })?;
    let last = boot.query_row([], |row| row.get(0));
    drop(boot);
    match last {
        Ok(boot) => Ok(Some((db, Some(boot)))),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Some((db, None))),
        Err(error) => Err(failed(error).into()),
    }
}

/// Makes a store, or brings an old one to the current format. Only one process does so at a time.
fn create(root: &Path) -> Result<(), OpenError> {
    make_directories(root)?;
    let _alone = store_lock(root, "format")?.exclusive()?;
    let path = root.join("meta.db");
    let failed = |error| Error::database(&path, error);
    let mut db = Db::open(&path, true).map_err(failed)?;
    let application: i64 =
        db.connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let tables: i64 =
        db.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application != schema::APPLICATION && tables > 0 {
        return Err(OpenError::Foreign { root: root.to_owned() });
    }
    schema::migrate(&mut db.connection).map_err(failed)?;
    keep_reserve(root);
    Ok(())
}

fn make_directories(root: &Path) -> Result<()> {
    for path in std::iter::once(root.to_owned()).chain(DIRECTORIES.map(|name| root.join(name))) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| Error::io("create", &path, error))?;
    }
    spread(&root.join("tmp"));
    Ok(())
}

/// Asks ext4 to put each directory that is made here into a part of the disk of its own. Otherwise all layers begin in one, where files
/// that were just deleted are in the way: ext4 looks at each of their inodes for every new file, which doubles the time of making
/// 30,000. Where it means nothing, nothing happens.
fn spread(directory: &Path) {
    let Ok(directory) = File::open(directory) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&directory) {
        let _ = rustix::fs::ioctl_setflags(&directory, flags | rustix::fs::IFlags::TOPDIR);
    }
}

/// Sets aside some space. When there is none, there is none.
pub(crate) fn keep_reserve(root: &Path) {
    let path = root.join("reserve");
    let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) else { return };
    if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE).is_err() {
        let _ = std::fs::remove_file(&path);
    }
}

/// Sets the reserve aside again once there is space enough, if it had to give way.
fn restore_reserve(root: &Path) {
    let plenty = || rustix::fs::statvfs(root).is_ok_and(|disk| disk.f_bavail * disk.f_frsize > 8 * RESERVE);
    if !root.join("reserve").exists() && plenty() {
        keep_reserve(root);
    }
}

/// Gives the reserve's space back to the disk. False when it was given already.
pub(crate) fn give_up_reserve(root: &Path) -> bool {
    std::fs::remove_file(root.join("reserve")).is_ok()
}

/// Forgets the leases of dead processes and moves what they were making into this one's directory. Gives what is to be deleted.
pub(crate) fn clear_dead(root: &Path, process: &Process, db: &mut Db) -> Result<Vec<PathBuf>> {
    let tmp = root.join("tmp");
    let survey = Survey::take(&tmp, process.name())?;
    if survey.dead.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = survey.dead.iter().map(|(name, _)| name.as_str()).collect();
    // A full disk must not keep anybody from working, or from pruning: dead leases count for nothing anyway.
    let _ = leases::forget(db, &names);
    Ok(survey.clear(&tmp, process))
}

/// A lock file of the store's own: `locks/NAME`, which is never removed.
pub(crate) struct StoreLock {
    file: File,
    path: PathBuf,
}

/// Opens a lock of the store's own. Each call is a separate holder, also within one process.
pub(crate) fn store_lock(root: &Path, name: &str) -> Result<StoreLock> {
    let path = root.join("locks").join(name);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|error| Error::io("open", &path, error))?;
    Ok(StoreLock { file, path })
}

impl StoreLock {
    /// Waits until nobody else holds it. Let go when the result is dropped.
    pub(crate) fn exclusive(self) -> Result<File> {
        self.file.lock().map_err(|error| Error::io("lock", &self.path, error))?;
        Ok(self.file)
    }

    /// Waits until nobody holds it exclusively.
    pub(crate) fn shared(self) -> Result<File> {
        self.file.lock_shared().map_err(|error| Error::io("lock", &self.path, error))?;
        Ok(self.file)
    }
}
