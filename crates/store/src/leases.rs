//! Leases: what keeps layers from being pruned while a process relies on them.
//!
//! A row of `leases` says that the process of that name (its directory below `tmp/`) relies on that layer. Within a process leases
//! are counted in memory: the row is there from the first to, at least, the last of them. A layer that a process commits stays leased
//! until the process ends, so that the record that names it can follow in its own time.

use crate::db::{Db, Failure};
use crate::error::{Error, Result};
use crate::ids::LayerId;
use crate::open::Store;
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::collections::{HashMap, HashSet};

/// Why a lease is not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A layer is gone: it was pruned. The step that made it has to run again.
    #[error("layer `{0}` is no longer in the store")]
    Missing(LayerId),
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Keeps layers in the store until it is dropped.
pub struct Lease {
    store: Store,
    layers: Vec<LayerId>,
}

impl Lease {
    /// The layers, as they were asked for.
    pub fn layers(&self) -> &[LayerId] {
        &self.layers
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut db = self.store.0.db();
        for &layer in &self.layers {
            db.leases.release(layer);
        }
    }
}

/// This process's leases.
#[derive(Default)]
pub(crate) struct LeaseTable {
    /// How many leases hold each layer. Each has a row.
    held: HashMap<LayerId, u32>,
    /// Layers that nothing holds any more but whose rows are still there. The next write takes them along.
    released: HashSet<LayerId>,
}

impl LeaseTable {
    /// Counts one more holder of a layer whose row is there.
    pub(crate) fn hold(&mut self, layer: LayerId) {
        *self.held.entry(layer).or_default() += 1;
        self.released.remove(&layer);
    }

    fn release(&mut self, layer: LayerId) {
        if let Some(count) = self.held.get_mut(&layer) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&layer);
                self.released.insert(layer);
            }
        }
    }
}

impl Store {
    /// Keeps `layers` in the store until the result is dropped.
    ///
    /// # Errors
    /// [`LeaseError::Missing`] with the first layer that is not in the store; then none is leased.
    pub fn lease(&self, layers: &[LayerId]) -> Result<Lease, LeaseError> {
        let mut db = self.0.db();
        let wanted: Vec<LayerId> = layers.iter().copied().filter(|layer| !db.leases.held.contains_key(layer)).collect();
        if !wanted.is_empty() {
            let process = self.0.process.name();
            let released = std::mem::take(&mut db.leases.released);
            let missing = db.write(|sql| {
                drop_rows(sql, process, &released)?;
                for &layer in &wanted {
                    if !exists(sql, layer)? {
                        return Ok(Some(layer));
                    }
                }
                for &layer in &wanted {
                    insert(sql, process, layer)?;
                }
                Ok(None)
            });
            if missing.is_err() {
                db.leases.released = released;
            }
            if let Some(layer) = missing? {
                return Err(LeaseError::Missing(layer));
            }
        }
        for &layer in layers {
            db.leases.hold(layer);
        }
        drop(db);
        Ok(Lease { store: self.clone(), layers: layers.to_vec() })
    }
}

/// Whether a layer is in the store.
pub(crate) fn exists(sql: &Connection, layer: LayerId) -> rusqlite::Result<bool> {
    let mut select = sql.prepare_cached("SELECT 1 FROM layers WHERE id = ?")?;
    Ok(select.query_row([layer], |_| Ok(())).optional()?.is_some())
}

/// Inserts the row of a lease. [`LeaseTable::hold`] follows when the transaction is through.
pub(crate) fn insert(sql: &Transaction<'_>, process: &str, layer: LayerId) -> rusqlite::Result<()> {
    let mut insert = sql.prepare_cached("INSERT OR IGNORE INTO leases (process, layer) VALUES (?, ?)")?;
    insert.execute((process, layer)).map(drop)
}

fn drop_rows(sql: &Transaction<'_>, process: &str, layers: &HashSet<LayerId>) -> rusqlite::Result<()> {
    let mut delete = sql.prepare_cached("DELETE FROM leases WHERE process = ? AND layer = ?")?;
    for &layer in layers {
        delete.execute((process, layer))?;
    }
    Ok(())
}

/// Drops the rows of leases that this process no longer holds.
pub(crate) fn drop_released(db: &mut Db, process: &str) -> Result<()> {
    if db.leases.released.is_empty() {
        return Ok(());
    }
    let released = std::mem::take(&mut db.leases.released);
    db.write(|sql| Ok(drop_rows(sql, process, &released)?))
}

/// Drops all leases of this process, which ends.
pub(crate) fn release_all(db: &mut Db, process: &str) -> Result<()> {
    if db.leases.held.is_empty() && db.leases.released.is_empty() {
        return Ok(());
    }
    db.leases = LeaseTable::default();
    forget(db, &[process])
}

/// Drops the leases of processes that are no more.
pub(crate) fn forget(db: &mut Db, processes: &[&str]) -> Result<()> {
    let leased: bool = db.read(|sql| sql.query_row("SELECT EXISTS (SELECT 1 FROM leases)", [], |row| row.get(0)))?;
    if !leased {
        return Ok(());
    }
    db.write(|sql| -> Result<(), Failure> {
        let mut delete = sql.prepare_cached("DELETE FROM leases WHERE process = ?")?;
        for process in processes {
            delete.execute([process])?;
        }
        Ok(())
    })
}
