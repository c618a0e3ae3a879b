//! Records: what the store keeps for a cache key. The value is the engine's business; the layer, if there is one, is in the store for
//! as long as the record is.

use crate::db::{Failure, now, time};
use crate::error::{Error, Result};
use crate::ids::LayerId;
use crate::leases;
use crate::open::Store;
use kiln_digest::CacheKey;
use rusqlite::{Connection, OptionalExtension, Row};
use std::time::SystemTime;

/// How long ago something must have been used before a use is written down, in milliseconds. A fully cached build that follows
/// another one writes nothing.
pub(crate) const FRESH: i64 = 60 * 60 * 1000;

/// The result of an operation, by its cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the engine put there.
    pub value: Vec<u8>,
    /// The layer that the operation made, if it made one.
    pub layer: Option<LayerId>,
    /// When the record was put.
    pub created: SystemTime,
    /// When it was last used, to the hour.
    pub used: SystemTime,
}

/// Why a record cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Its layer was pruned.
    #[error("layer `{0}` is no longer in the store")]
    Missing(LayerId),
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Store {
    /// The record of a key, if there is one. Whoever relies on its layer asks for a [lease](Store::lease) next.
    ///
    /// # Errors
    /// The database's.
    pub fn record(&self, key: &CacheKey) -> Result<Option<Record>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT value, layer, created, used FROM records WHERE key = ?")?;
            let record = select.query_row([key.as_bytes()], |row| {
                Ok(Record {
                    value: row.get(0)?,
                    layer: row.get(1)?,
                    created: time(row.get(2)?),
                    used: time(row.get(3)?),
                })
            });
            record.optional()
        })
    }

    /// All records that have a layer, by their keys.
    ///
    /// # Errors
    /// The database's.
    pub fn records_with_layers(&self) -> Result<Vec<(CacheKey, Record)>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT key, value, layer, created, used FROM records WHERE layer IS NOT NULL ORDER BY key",
            )?;
            let record = |row: &Row<'_>| {
                let key = CacheKey::from_bytes(row.get(0)?);
                let (created, used) = (time(row.get(3)?), time(row.get(4)?));
                Ok((key, Record { value: row.get(1)?, layer: row.get(2)?, created, used }))
            };
            select.query_map([], record)?.collect()
        })
    }

    /// Puts a record; one with the same key is replaced.
    ///
    /// # Errors
    /// [`RecordError::Missing`] when the layer is not in the store.
    pub fn put_record(&self, key: &CacheKey, value: &[u8], layer: Option<LayerId>) -> Result<(), RecordError> {
        let missing = self.0.db().write(|sql| {
            if let Some(layer) = layer
                && !leases::exists(sql, layer)?
            {
                return Ok(Some(layer));
            }
            let mut insert = sql.prepare_cached(
                "INSERT INTO records (key, value, layer, created, used) VALUES (?1, ?2, ?3, ?4, ?4)
                 ON CONFLICT (key) DO UPDATE SET value = ?2, layer = ?3, created = ?4, used = ?4",
            )?;
            insert.execute((key.as_bytes(), value, layer, now()))?;
            Ok(None)
        })?;
        missing.map_or(Ok(()), |layer| Err(RecordError::Missing(layer)))
    }

    /// Notes that records and layers were used. Only what was not used for an hour is written, and nothing at all when that is nothing.
    ///
    /// # Errors
    /// The database's.
    pub fn touch(&self, records: &[CacheKey], layers: &[LayerId]) -> Result<()> {
        let mut db = self.0.db();
        let (records, layers) = db.read(|sql| {
            let before = now() - FRESH;
            let mut stale_records = Vec::new();
            for key in records {
                let used = "SELECT used FROM records WHERE key = ?";
                if is_stale(sql, used, key.as_bytes(), before)? {
                    stale_records.push(key);
                }
            }
            let mut stale_layers = Vec::new();
            for layer in layers {
                if is_stale(sql, "SELECT used FROM layers WHERE id = ?", layer, before)? {
                    stale_layers.push(layer);
                }
            }
            Ok((stale_records, stale_layers))
        })?;
        if !records.is_empty() || !layers.is_empty() {
            db.write(|sql| -> Result<(), Failure> {
                let now = now();
                let mut update = sql.prepare_cached("UPDATE records SET used = ? WHERE key = ?")?;
                for key in records {
                    update.execute((now, key.as_bytes()))?;
                }
                let mut update = sql.prepare_cached("UPDATE layers SET used = ? WHERE id = ?")?;
                for layer in layers {
                    update.execute((now, layer))?;
                }
                Ok(())
            })?;
        }
        db.write_stale()
    }
}

fn is_stale(sql: &Connection, select: &str, key: impl rusqlite::ToSql, before: i64) -> rusqlite::Result<bool> {
    let used: Option<i64> = sql.prepare_cached(select)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(used.is_some_and(|used| used < before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{commit, key, new_store};

    #[test]
    fn records_follow_their_layers() {
        let (_root, store) = new_store();
        let layer = commit(&store, "layer");
        store.put_record(&key("k"), b"one", Some(layer.id)).unwrap();
        store.put_record(&key("k"), b"two", Some(layer.id)).unwrap();
        let record = store.record(&key("k")).unwrap().unwrap();
        assert_eq!((&*record.value, record.layer), (&b"two"[..], Some(layer.id)));
        let gone = LayerId::random();
        assert!(
            matches!(store.put_record(&key("k"), b"three", Some(gone)), Err(RecordError::Missing(id)) if id == gone)
        );
        assert_eq!(store.record(&key("k")).unwrap(), Some(record));
        store.0.db().write(|sql| Ok(sql.execute("DELETE FROM layers", [])?)).unwrap();
        assert_eq!(store.record(&key("k")).unwrap(), None);
    }

    #[test]
    fn recent_uses_are_not_written() {
        let (_root, store) = new_store();
        let layer = commit(&store, "layer");
        store.put_record(&key("k"), b"", Some(layer.id)).unwrap();
        store.put_memo("kind", b"key", b"value").unwrap();
        let blob = store.put_blob(b"blob").unwrap();
        let changes = || store.0.db().connection.total_changes();
        let use_everything = || {
            store.has_blob(&blob).unwrap();
            store.memo("kind", b"key").unwrap();
            store.touch(&[key("k"), key("unknown")], &[layer.id]).unwrap();
        };
        let before = changes();
        use_everything();
        assert_eq!(changes(), before);
        for table in ["records", "layers", "memos", "blobs"] {
            let age = format!("UPDATE {table} SET used = used - {}", FRESH + 1000);
            store.0.db().write(|sql| Ok(sql.execute(&age, [])?)).unwrap();
        }
        let before = changes();
        use_everything();
        assert_eq!(changes(), before + 4);
        use_everything();
        assert_eq!(changes(), before + 4);
    }
}
