//! Memos: small facts that are cheap to lose, by kind and key: digests of selected paths, positions of steps.
//! Each kind keeps at most [`MOST_MEMOS`]; the least recently used go first.

use crate::db::{Db, Failure, now};
use crate::error::Result;
use crate::open::Store;
use crate::records::FRESH;
use kiln_digest::Digest;
use rusqlite::{OptionalExtension, Transaction};

/// How many memos of one kind are kept.
pub(crate) const MOST_MEMOS: i64 = 20_000;

/// What was read and not written down as used for over an hour. The next write of a use takes it along.
#[derive(Default)]
pub(crate) struct Stale {
    pub(crate) memos: Vec<(String, Vec<u8>)>,
    pub(crate) images: Vec<i64>,
    pub(crate) blobs: Vec<Digest>,
}

impl Store {
    /// The memo of that kind and key, if there is one.
    ///
    /// # Errors
    /// The database's.
    pub fn memo(&self, kind: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut db = self.0.db();
        let memo: Option<(Vec<u8>, i64)> = db.read(|sql| {
            let mut select = sql.prepare_cached("SELECT value, used FROM memos WHERE kind = ? AND key = ?")?;
            select.query_row((kind, key), |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        Ok(memo.map(|(value, used)| {
            if used < now() - FRESH {
                db.stale.memos.push((kind.to_owned(), key.to_owned()));
            }
            value
        }))
    }

    /// All memos of a kind, by their keys. That is no use of them.
    ///
    /// # Errors
    /// The database's.
    pub fn memos(&self, kind: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT key, value FROM memos WHERE kind = ? ORDER BY key")?;
            select.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Puts one memo; one of the same kind and key is replaced.
    ///
    /// # Errors
    /// The database's.
    pub fn put_memo(&self, kind: &str, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_memos(kind, [(key, value)])
    }

    /// Puts several memos of one kind in one transaction.
    ///
    /// # Errors
    /// The database's; then none is put.
    pub fn put_memos<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        kind: &str,
        memos: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        // The caller's iterator runs before the transaction, which must be short.
        let memos: Vec<(K, V)> = memos.into_iter().collect();
        if memos.is_empty() {
            return Ok(());
        }
        self.0.db().write(|sql| -> Result<(), Failure> {
            let mut insert = sql.prepare_cached(
                "INSERT INTO memos (kind, key, value, used) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (kind, key) DO UPDATE SET value = ?3, used = ?4",
            )?;
            let now = now();
            for (key, value) in &memos {
                insert.execute((kind, key.as_ref(), value.as_ref(), now))?;
            }
            Ok(())
        })
    }
}

impl Db {
    /// Notes the uses that were put off.
    pub(crate) fn write_stale(&mut self) -> Result<()> {
        let Stale { memos, images, blobs } = std::mem::take(&mut self.stale);
        if memos.is_empty() && images.is_empty() && blobs.is_empty() {
            return Ok(());
        }
        self.write(|sql| -> Result<(), Failure> {
            let now = now();
            let mut update = sql.prepare_cached("UPDATE memos SET used = ? WHERE kind = ? AND key = ?")?;
            for (kind, key) in &memos {
                update.execute((now, kind, key))?;
            }
            let mut update = sql.prepare_cached("UPDATE images SET used = ? WHERE id = ?")?;
            for image in images {
                update.execute((now, image))?;
            }
            let mut update = sql.prepare_cached("UPDATE blobs SET used = ? WHERE digest = ?")?;
            for blob in blobs {
                update.execute((now, blob.as_bytes()))?;
            }
            Ok(())
        })
    }
}

/// Drops what is above the bound of each kind, and says how many that were.
pub(crate) fn trim(sql: &Transaction<'_>, most: i64) -> rusqlite::Result<u64> {
    let mut kinds = sql.prepare_cached("SELECT kind, count(*) FROM memos GROUP BY kind HAVING count(*) > ?")?;
    let over: Vec<(String, i64)> =
        kinds.query_map([most], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut delete = sql.prepare_cached(
        "DELETE FROM memos WHERE rowid IN (SELECT rowid FROM memos WHERE kind = ? ORDER BY used LIMIT ?)",
    )?;
    let mut dropped = 0;
    for (kind, count) in over {
        dropped += delete.execute((kind, count - most))? as u64;
    }
    Ok(dropped)
}
