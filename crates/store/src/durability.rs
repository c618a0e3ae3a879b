//! What survives a crash of the machine. Nothing is synced while a build runs: a row carries the boot in which it was made, until
//! [`Store::sync`] has brought its files to the disk. The first process that opens the store in another boot drops the rows that still
//! carry one, with all that needs them, and those whose files are not there: what may be half-written is never trusted.
//!
//! A cache mount counts as not synced again from each use on.

use crate::blobs;
use crate::db::{Db, Failure, now, unsigned};
use crate::error::{Error, Result};
use crate::ids::{LayerId, MountId};
use crate::memos;
use crate::mounts::Sharing;
use crate::open::{Store, store_lock};
use crate::process::Process;
use kiln_digest::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files get the time of the kernel's last tick, which may be so much in the past.
const TICK: Duration = Duration::from_millis(20);

/// How long the database's log may be, in bytes, when a process ends without having called [`Store::sync`].
pub(crate) const LONGEST_LOG: u64 = 512 * 1024;

/// The kernel's name for the time since the machine was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot(String);

impl Boot {
    /// The boot that this process runs in.
    pub(crate) fn current() -> Result<Self> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let id = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        Ok(Self(id.trim_end().to_owned()))
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Whether anything was committed that is not known to be on the disk.
    ///
    /// # Errors
    /// The database's.
    pub fn needs_sync(&self) -> Result<bool> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM layers WHERE boot IS NOT NULL)
                     OR EXISTS (SELECT 1 FROM blobs WHERE boot IS NOT NULL)
                     OR EXISTS (SELECT 1 FROM mounts WHERE boot IS NOT NULL)",
            )?;
            select.query_row([], |row| row.get(0))
        })
    }

    /// Brings everything that was committed before the call to the disk, and notes that. Cache mounts in use are left for later. Also
    /// copies the database's log back, and bounds the number of memos. To be called after the build, in the background: it
    /// takes as long as the disk does.
    ///
    /// # Errors
    /// The disk's and the database's; then the rows stay as they were.
    pub fn sync(&self) -> Result<()> {
        let started = now();
        let undurable = self.undurable()?;
        let root = File::open(self.root()).map_err(|error| Error::io("open", self.root(), error))?;
        rustix::fs::syncfs(&root).map_err(|error| Error::io("sync", self.root(), error))?;
        let mut db = self.0.db();
        db.write(|sql| {
            undurable.mark(sql)?;
            Ok(memos::trim(sql, memos::MOST_MEMOS)?)
        })?;
        db.checkpoint()?;
        // Written after the log was emptied: whoever writes first to an empty log waits for the disk, and here nobody does.
        db.write(|sql| Ok(set_meta(sql, "synced", &started.to_string())?))
    }

    fn undurable(&self) -> Result<Undurable> {
        let mut undurable = self.0.db().read(|sql| {
            let mut layers = sql.prepare_cached("SELECT id FROM layers WHERE boot IS NOT NULL")?;
            let mut blobs = sql.prepare_cached("SELECT digest, writing FROM blobs WHERE boot IS NOT NULL")?;
            let mut mounts = sql.prepare_cached("SELECT id, uses FROM mounts WHERE boot IS NOT NULL")?;
            Ok(Undurable {
                layers: layers.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?,
                blobs: blobs.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?,
                mounts: mounts.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?,
            })
        })?;
        // One that is being written to now cannot be called durable by a sync that is over before the writing is.
        let mut free = Vec::new();
        for (id, uses) in undurable.mounts {
            if self.lock_mount(id, Sharing::Private)?.is_some() {
                free.push((id, uses));
            }
        }
        undurable.mounts = free;
        Ok(undurable)
    }
}

/// What was not known to be on the disk before a sync. What was written anew meanwhile is not among it, whatever it is called: a blob
/// has its digest again, but is of another writing.
struct Undurable {
    layers: Vec<LayerId>,
    blobs: Vec<([u8; 32], i64)>,
    mounts: Vec<(MountId, i64)>,
}

impl Undurable {
    fn mark(&self, sql: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut update = sql.prepare_cached("UPDATE layers SET boot = NULL WHERE id = ?")?;
        for layer in &self.layers {
            update.execute([layer])?;
        }
        let mut update = sql.prepare_cached("UPDATE blobs SET boot = NULL WHERE digest = ? AND writing = ?")?;
        for blob in &self.blobs {
            update.execute(*blob)?;
        }
        let mut update = sql.prepare_cached("UPDATE mounts SET boot = NULL WHERE id = ? AND uses = ?")?;
        for mount in &self.mounts {
            update.execute(*mount)?;
        }
        Ok(())
    }
}

/// Drops what the last boot may have left half-written, and gives what is to be deleted. Whoever comes second finds nothing to do.
pub(crate) fn recover(root: &Path, boot: &Boot, process: &Process, db: &mut Db) -> Result<Vec<PathBuf>> {
    let _blobs = store_lock(root, "blobs")?.exclusive()?;
    db.write_through(|sql| {
        let last: Option<String> = sql
            .prepare_cached("SELECT value FROM meta WHERE name = 'boot'")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if last.as_deref() == Some(boot.as_str()) {
            return Ok(Vec::new());
        }
        drop_lost(sql, root, boot)?;
        let garbage = sweep(sql, root, process, &[])?;
        drop_unsynced_contexts(sql, root)?;
        // No process of another boot is alive, and those of this one have not been able to lease anything yet.
        sql.execute("DELETE FROM leases", [])?;
        set_meta(sql, "boot", boot.as_str())?;
        Ok(garbage)
    })
}

/// A fact about the whole store.
pub(crate) fn meta(sql: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    sql.prepare_cached("SELECT value FROM meta WHERE name = ?")?.query_row([name], |row| row.get(0)).optional()
}

pub(crate) fn set_meta(sql: &Transaction<'_>, name: &str, value: &str) -> rusqlite::Result<()> {
    sql.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")?.execute((name, value)).map(drop)
}

/// Drops the rows whose files are not there, or may be half-written since another boot, and the images that need them.
pub(crate) fn drop_lost(sql: &Transaction<'_>, root: &Path, boot: &Boot) -> Result<(), Failure> {
    drop_lost_layers(sql, root, boot)?;
    drop_lost_blobs(sql, root, boot)?;
    drop_lost_mounts(sql, root, boot)
}

fn drop_lost_layers(sql: &Transaction<'_>, root: &Path, boot: &Boot) -> Result<(), Failure> {
    let there = names(&root.join("layers"))?;
    let mut select = sql.prepare("SELECT id, boot IS NOT NULL AND boot <> ? FROM layers")?;
    let rows = select.query_map([boot.as_str()], |row| Ok((row.get::<_, LayerId>(0)?, row.get::<_, bool>(1)?)))?;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (id, unsynced) = row;
        if unsynced || !there.contains(&id.to_string()) {
            sql.prepare_cached("DELETE FROM images WHERE id IN (SELECT image FROM image_layers WHERE layer = ?)")?
                .execute([id])?;
            sql.prepare_cached("DELETE FROM layers WHERE id = ?")?.execute([id])?;
        }
    }
    Ok(())
}

fn drop_lost_blobs(sql: &Transaction<'_>, root: &Path, boot: &Boot) -> Result<(), Failure> {
    let directory = root.join("blobs/sha256");
    let mut select = sql.prepare("SELECT digest, size, boot IS NOT NULL AND boot <> ? FROM blobs")?;
    let rows = select.query_map([boot.as_str()], |row| {
        Ok((Digest::from_bytes(row.get(0)?), unsigned(row.get(1)?), row.get::<_, bool>(2)?))
    })?;
    for (digest, size, unsynced) in rows.collect::<Result<Vec<_>, _>>()? {
        let whole = || fs::metadata(directory.join(digest.hex())).is_ok_and(|file| file.len() == size);
        if unsynced || !whole() {
            sql.prepare_cached("DELETE FROM images WHERE config = ?1 OR manifest = ?1")?
                .execute([digest.as_bytes()])?;
            sql.prepare_cached("DELETE FROM blobs WHERE digest = ?")?.execute([digest.as_bytes()])?;
        }
    }
    Ok(())
}

fn drop_lost_mounts(sql: &Transaction<'_>, root: &Path, boot: &Boot) -> Result<(), Failure> {
    let there = names(&root.join("mounts"))?;
    let mut select = sql.prepare("SELECT id, boot IS NOT NULL AND boot <> ? FROM mounts")?;
    let rows = select.query_map([boot.as_str()], |row| Ok((row.get::<_, MountId>(0)?, row.get::<_, bool>(1)?)))?;
    for (id, unsynced) in rows.collect::<Result<Vec<_>, _>>()? {
        if unsynced || !there.contains(&id.to_string()) {
            crate::mounts::delete(sql, id)?;
        }
    }
    Ok(())
}

/// A stat cache that was written after the last sync may be half-written.
fn drop_unsynced_contexts(sql: &Transaction<'_>, root: &Path) -> Result<(), Failure> {
    let synced = meta(sql, "synced")?;
    let synced = crate::db::time(synced.and_then(|millis| millis.parse().ok()).unwrap_or(0));
    let directory = root.join("contexts");
    for name in names(&directory)? {
        let path = directory.join(name);
        let modified = fs::metadata(&path).and_then(|file| file.modified());
        if modified.is_ok_and(|modified| modified + TICK < synced) {
            continue;
        }
        crate::remove::remove_tree(&path)?;
    }
    Ok(())
}

/// Moves files without a row into this process's directory, but for those that the caller removes by itself, and gives what is to be
/// deleted. A write transaction keeps everybody else from committing, the caller's exclusive `locks/blobs` from relying on a blob.
pub(crate) fn sweep(
    sql: &Transaction<'_>,
    root: &Path,
    process: &Process,
    except: &[PathBuf],
) -> Result<Vec<PathBuf>, Failure> {
    let except: HashSet<&Path> = except.iter().map(PathBuf::as_path).collect();
    let mut garbage = Vec::new();
    let mut sweep = |directory: &str, known: &dyn Fn(&str) -> rusqlite::Result<bool>| -> Result<(), Failure> {
        let directory = root.join(directory);
        for name in names(&directory)? {
            let path = directory.join(&name);
            if !except.contains(&*path) && !known(&name)? {
                garbage.push(process.discard(&path)?);
            }
        }
        Ok(())
    };
    sweep("layers", &|name| {
        let Ok(id) = name.parse::<LayerId>() else { return Ok(false) };
        crate::leases::exists(sql, id)
    })?;
    sweep("mounts", &|name| {
        let Ok(id) = name.parse::<MountId>() else { return Ok(false) };
        let mut select = sql.prepare_cached("SELECT 1 FROM mounts WHERE id = ?")?;
        Ok(select.query_row([id], |_| Ok(())).optional()?.is_some())
    })?;
    sweep("blobs/sha256", &|name| {
        let Ok(digest) = format!("sha256:{name}").parse() else { return Ok(false) };
        blobs::exists(sql, &digest)
    })?;
    Ok(garbage)
}

/// The names in a directory.
fn names(directory: &Path) -> Result<HashSet<String>> {
    let failed = |error| Error::io("list", directory, error);
    let mut names = HashSet::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        // Nothing in the store has a name that is not text; what has was not put there by kiln.
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.insert(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
