//! Garbage collection.
//!
//! | | plain | `all` |
//! |---|---|---|
//! | what a live process leases, claims or holds, and what it has made | stays | stays |
//! | built images, their layers and blobs | stay | stay |
//! | pulled images, their layers and blobs | stay | go |
//! | layers that no image needs, with their records | go | go |
//! | records of layers that an image needs | stay | go |
//! | records without a layer, stat caches of contexts, fetched repositories | go when unused for 30 days | go |
//! | compressed forms of layers that stay, unless an image lists them | stay | go |
//! | other blobs that no image needs | go | go |
//! | cache mounts | stay | go, unless `keep_mounts` |
//! | memos | down to a bound per kind | go |
//! | what is remembered of builds | stays | goes |
//! | garbage of killed processes, files without a row | go | go |
//!
//! `older_than` spares what was used since. `max_size` spares all but the least recently used, as much as makes the store small enough; records
//! and memos then go only with their layers. A layer or blob that goes takes the pulled images that need it along.
//!
//! Rows whose files somebody removed by hand go as well.
//!
//! Rows go first, in a transaction that is on the disk before any file moves. Blobs are locked against being claimed from before
//! that transaction until their files are out of the way.

use crate::db::{Failure, now, time};
use crate::durability;
use crate::error::{Error, Result};
use crate::history::HistoryId;
use crate::ids::{LayerId, MountId};
use crate::inventory::Inventory;
use crate::leases;
use crate::locks;
use crate::memos;
use crate::mounts::{self, Sharing};
use crate::open::{Store, clear_dead, give_up_reserve, keep_reserve, store_lock};
use crate::process::{Survey, claims};
use crate::remove::remove_tree;
use kiln_digest::Digest;
use rusqlite::Transaction;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What to prune; see the table in the module's source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Everything that no built image and no live process needs, instead of what no image needs.
    pub all: bool,
    /// With `all`: not the cache mounts.
    pub keep_mounts: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Only so much, least recently used first, that the store has at most so many bytes.
    pub max_size: Option<u64>,
}

/// The fact that tells when something was last pruned.
const PRUNED: &str = "pruned";

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records, with and without a layer.
    pub records: u64,
    /// Layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Directories of cache mounts.
    pub mounts: u64,
    /// Pulled images.
    pub images: u64,
    /// Builds that are no longer remembered.
    pub builds: u64,
    /// Bytes of the layers, blobs, cache mounts and builds.
    pub bytes: u64,
}

/// How long records without a layer, and stat caches, stay unused in a plain prune.
const LONG_UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Store {
    /// Frees space.
    ///
    /// # Errors
    /// The disk's and the database's. What could not be deleted any more is garbage that the next process clears.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned> {
        match self.prune_once(options) {
            // The rows cannot be deleted because there is no space for SQLite's log.
            Err(error) if error.is_full() && give_up_reserve(self.root()) => {
                let pruned = self.prune_once(options);
                keep_reserve(self.root());
                pruned
            }
            pruned => {
                keep_reserve(self.root());
                pruned
            }
        }
    }

    fn prune_once(&self, options: &PruneOptions) -> Result<Pruned> {
        let inner = &*self.0;
        let mut garbage = clear_dead(&inner.root, &inner.process, &mut inner.db())?;
        // At once: on a full disk these may be what makes room for the transaction below.
        remove_all(&mut garbage)?;
        leases::drop_released(&mut inner.db(), inner.process.name())?;
        inner.db().write_stale()?;
        self.measure_mounts()?;
        let builds = self.history_sizes()?;
        let plan = {
            let _unclaimed = store_lock(&inner.root, "blobs")?.exclusive()?;
            let mut plan = inner.db().write_through(|sql| self.delete_rows(sql, &builds, options))?;
            for path in &plan.files {
                garbage.push(inner.process.discard(path)?);
            }
            garbage.append(&mut plan.garbage);
            plan
        };
        self.prune_contexts(options)?;
        for build in &plan.builds {
            self.forget_history(*build)?;
        }
        locks::sweep(&inner.root)?;
        remove_all(&mut garbage)?;
        Ok(plan.pruned)
    }

    /// Decides what goes and deletes its rows.
    fn delete_rows(
        &self,
        sql: &Transaction<'_>,
        builds: &[(HistoryId, u64)],
        options: &PruneOptions,
    ) -> Result<Plan, Failure> {
        let inner = &*self.0;
        let tmp = inner.root.join("tmp");
        // Within the transaction: a process that this misses cannot lease anything before the transaction is over.
        let live = Survey::take(&tmp, inner.process.name())?.live;
        forget_dead_leases(sql, &live)?;
        let claimed = claims(&tmp, &live)?;
        // Files that somebody removed by hand should not make builds fail for ever.
        durability::drop_lost(sql, &inner.root, &inner.boot)?;
        let inventory = Inventory::load(sql, &claimed)?;
        let mut plan = Plan::choose(&inventory, builds, options);
        plan.lock_mounts(self)?;
        plan.delete(self, sql, &inventory)?;
        plan.delete_records(sql, options)?;
        durability::set_meta(sql, PRUNED, &now().to_string())?;
        memos::trim(sql, if options.is_sweeping() { 0 } else { memos::MOST_MEMOS })?;
        plan.garbage = durability::sweep(sql, &inner.root, &inner.process, &plan.files)?;
        Ok(plan)
    }

    /// When something was last pruned; `None` if nothing ever was.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_prune(&self) -> Result<Option<SystemTime>> {
        let value: Option<String> = self.0.db().read(|sql| durability::meta(sql, PRUNED))?;
        Ok(value.and_then(|millis| millis.parse().ok()).map(time))
    }

    fn prune_contexts(&self, options: &PruneOptions) -> Result<()> {
        let directory = self.contexts_dir();
        let failed = |error| Error::io("list", &directory, error);
        let unused = if options.is_sweeping() { Duration::ZERO } else { LONG_UNUSED };
        let unused = unused.max(options.older_than.unwrap_or_default());
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let modified = entry.metadata().and_then(|file| file.modified());
            if modified.is_ok_and(|modified| modified.elapsed().unwrap_or_default() >= unused) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl PruneOptions {
    /// Whether things without a size go as well.
    fn is_sweeping(&self) -> bool {
        self.all && self.max_size.is_none() && self.older_than.is_none()
    }
}

fn remove_all(garbage: &mut Vec<PathBuf>) -> Result<()> {
    garbage.drain(..).try_for_each(|path| remove_tree(&path))
}

/// Rows of processes that are no more protect nothing.
fn forget_dead_leases(sql: &Transaction<'_>, live: &HashSet<String>) -> rusqlite::Result<()> {
    let mut select = sql.prepare_cached("SELECT DISTINCT process FROM leases")?;
    let processes: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut delete = sql.prepare_cached("DELETE FROM leases WHERE process = ?")?;
    for process in processes.iter().filter(|process| !live.contains(*process)) {
        delete.execute([process])?;
    }
    Ok(())
}

/// What goes.
#[derive(Default)]
struct Plan {
    images: BTreeSet<usize>,
    layers: Vec<(LayerId, u64)>,
    blobs: Vec<(Digest, u64)>,
    mounts: Vec<(MountId, u64)>,
    builds: Vec<HistoryId>,
    /// Locks of the mounts, held until their files are gone.
    locks: Vec<File>,
    /// What to move away once the rows are gone.
    files: Vec<PathBuf>,
    /// What had no row, and was moved away.
    garbage: Vec<PathBuf>,
    pruned: Pruned,
}

/// Something that may go.
struct Candidate {
    what: What,
    used: i64,
    size: u64,
}

/// Which one, as a position in the inventory where it has one.
#[derive(Clone, Copy)]
enum What {
    Layer(usize),
    Blob(usize),
    Mount(usize),
    Build(HistoryId),
}

impl Plan {
    fn choose(inventory: &Inventory, builds: &[(HistoryId, u64)], options: &PruneOptions) -> Self {
        let cutoff = options.cutoff();
        let mut candidates = candidates(inventory, options);
        let remembered: u64 = builds.iter().map(|(_, size)| size).sum();
        if options.all {
            let candidate =
                |&(id, size): &(HistoryId, u64)| Candidate { what: What::Build(id), used: id.millis(), size };
            candidates.extend(builds.iter().map(candidate));
        }
        candidates.retain(|candidate| candidate.used < cutoff);
        if let Some(most) = options.max_size {
            candidates.sort_by_key(|candidate| candidate.used);
            let mut left = inventory.total() + remembered;
            let enough = candidates.iter().position(|candidate| {
                let enough = left <= most;
                left = left.saturating_sub(candidate.size);
                enough
            });
            candidates.truncate(enough.unwrap_or(candidates.len()));
        }
        let mut plan = Self::default();
        for Candidate { what, size, .. } in candidates {
            match what {
                What::Layer(at) => {
                    plan.layers.push((inventory.layers[at].id, size));
                    plan.images.extend(&inventory.layers[at].needs.pulled);
                }
                What::Blob(at) => {
                    plan.blobs.push((inventory.blobs[at].digest, size));
                    plan.images.extend(&inventory.blobs[at].needs.pulled);
                }
                What::Mount(at) => plan.mounts.push((inventory.mounts[at].id, size)),
                What::Build(id) => {
                    plan.builds.push(id);
                    plan.pruned.builds += 1;
                    plan.pruned.bytes += size;
                }
            }
        }
        if options.all && options.max_size.is_none() {
            let images = inventory.images.iter().enumerate();
            let free =
                images.filter(|(_, image)| image.found.image.pulled && !image.in_use && image.found.used < cutoff);
            plan.images.extend(free.map(|(position, _)| position));
        }
        plan
    }

    /// Leaves out the cache mounts that are in use, and keeps the others from being used.
    fn lock_mounts(&mut self, store: &Store) -> Result<()> {
        for (id, size) in std::mem::take(&mut self.mounts) {
            if let Some(lock) = store.lock_mount(id, Sharing::Private)? {
                self.mounts.push((id, size));
                self.locks.push(lock);
            }
        }
        Ok(())
    }

    /// Deletes the rows of images, layers, blobs and mounts; those that hang on them follow by themselves.
    fn delete(&mut self, store: &Store, sql: &Transaction<'_>, inventory: &Inventory) -> rusqlite::Result<()> {
        let records = "SELECT count(*) FROM records";
        let before: i64 = sql.query_row(records, [], |row| row.get(0))?;
        let mut delete = sql.prepare_cached("DELETE FROM images WHERE id = ?")?;
        for &position in &self.images {
            delete.execute([inventory.images[position].found.id])?;
        }
        let mut delete = sql.prepare_cached("DELETE FROM layers WHERE id = ?")?;
        for &(layer, size) in &self.layers {
            delete.execute([layer])?;
            self.files.push(store.0.layer_dir(layer));
            self.pruned.bytes += size;
        }
        let mut delete = sql.prepare_cached("DELETE FROM blobs WHERE digest = ?")?;
        for (blob, size) in &self.blobs {
            delete.execute([blob.as_bytes()])?;
            self.files.push(store.blob_path(blob));
            self.pruned.bytes += size;
        }
        for &(mount, size) in &self.mounts {
            mounts::delete(sql, mount)?;
            self.files.push(store.mount_dir(mount));
            self.pruned.bytes += size;
        }
        let after: i64 = sql.query_row(records, [], |row| row.get(0))?;
        self.pruned.records = crate::db::unsigned(before - after);
        self.pruned.images = self.images.len() as u64;
        self.pruned.layers = self.layers.len() as u64;
        self.pruned.blobs = self.blobs.len() as u64;
        self.pruned.mounts = self.mounts.len() as u64;
        Ok(())
    }

    /// Deletes records whose layers stay, or that have none.
    fn delete_records(&mut self, sql: &Transaction<'_>, options: &PruneOptions) -> rusqlite::Result<()> {
        if options.max_size.is_some() {
            return Ok(());
        }
        let cutoff = options.cutoff();
        let deleted = if options.all {
            sql.execute("DELETE FROM records WHERE used < ?", [cutoff])?
        } else {
            let long_ago = now() - i64::try_from(LONG_UNUSED.as_millis()).unwrap_or(i64::MAX);
            sql.execute("DELETE FROM records WHERE layer IS NULL AND used < ?", [cutoff.min(long_ago)])?
        };
        self.pruned.records += deleted as u64;
        Ok(())
    }
}

impl PruneOptions {
    /// What was used at that time or later stays.
    fn cutoff(&self) -> i64 {
        let Some(age) = self.older_than else { return i64::MAX };
        now().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    }
}

/// All that may go by its kind and by who needs it.
fn candidates(inventory: &Inventory, options: &PruneOptions) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    // Diff ids of layers that stay, whatever their age.
    let mut staying = HashSet::new();
    for (at, layer) in inventory.layers.iter().enumerate() {
        if layer.needs.is_free() && (options.all || !layer.needs.by_image()) {
            candidates.push(Candidate { what: What::Layer(at), used: layer.used, size: layer.size });
        } else {
            staying.extend(layer.diff_id);
        }
    }
    for (at, blob) in inventory.blobs.iter().enumerate() {
        let form_of_staying = blob.forms.iter().any(|diff_id| staying.contains(diff_id));
        if blob.needs.is_free() && (options.all || !blob.needs.by_image() && !form_of_staying) {
            candidates.push(Candidate { what: What::Blob(at), used: blob.used, size: blob.size });
        }
    }
    if options.all && !options.keep_mounts {
        for (at, mount) in inventory.mounts.iter().enumerate() {
            candidates.push(Candidate { what: What::Mount(at), used: mount.used, size: mount.size });
        }
    }
    candidates
}

#[cfg(test)]
mod tests;
