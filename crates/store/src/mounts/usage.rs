//! What cache mounts there are, what each is worth, and getting rid of them: `kiln du` and `kiln cache`.
//!
//! A directory's row counts its uses and those in which it had something to offer; `mount_users` names the steps. Both are written
//! only when a step runs.

use super::{CacheMount, CacheMountKey, Sharing, delete};
use crate::db::{now, number, time, unsigned};
use crate::error::Result;
use crate::ids::MountId;
use crate::open::Store;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// A directory of a cache mount, as `du` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMountInfo {
    /// Which directory.
    pub id: MountId,
    /// Of which cache mount.
    pub key: CacheMountKey,
    /// Bytes on disk.
    pub size: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used.
    pub used: SystemTime,
    /// Whether a step is using it now.
    pub in_use: bool,
    /// How often it was used.
    pub uses: u64,
    /// How often it had something to offer then, as [`CacheMount::is_warm`] says.
    pub hits: u64,
    /// The steps that used it, as [`Store::note_mount_users`] was told, the latest first.
    pub steps: Vec<String>,
}

/// So many steps are remembered for each cache mount.
const MOST_STEPS: usize = 16;

/// What became of cache mounts that were to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedMounts {
    /// How many are gone.
    pub removed: u64,
    /// The bytes that they had.
    pub bytes: u64,
    /// Those that a step is using.
    pub in_use: Vec<MountId>,
}

impl Store {
    /// All directories of cache mounts, by key. Sizes are measured anew for those used since the last time.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountInfo>> {
        let in_use = self.measure_mounts()?;
        let mut mounts: Vec<CacheMountInfo> = self.0.db().read(|sql| {
            let mut select = sql
                .prepare_cached("SELECT id, key, size, created, used, uses, hits FROM mounts ORDER BY key, created")?;
            let mounts = select.query_map([], |row| {
                Ok(CacheMountInfo {
                    id: row.get(0)?,
                    key: CacheMountKey(row.get(1)?),
                    size: row.get::<_, Option<i64>>(2)?.map_or(0, unsigned),
                    created: time(row.get(3)?),
                    used: time(row.get(4)?),
                    in_use: false,
                    uses: unsigned(row.get(5)?),
                    hits: unsigned(row.get(6)?),
                    steps: Vec::new(),
                })
            })?;
            mounts.collect()
        })?;
        let mut steps = self.steps_of_mounts()?;
        for mount in &mut mounts {
            if let Some(&size) = in_use.get(&mount.id) {
                (mount.size, mount.in_use) = (size, true);
            }
            mount.steps = steps.remove(&mount.id).unwrap_or_default();
        }
        Ok(mounts)
    }

    /// Notes which step uses directories that it holds, in one transaction, and which of them were warm.
    ///
    /// # Errors
    /// The database's.
    pub fn note_mount_users(&self, step: &str, mounts: &[&CacheMount]) -> Result<()> {
        let mounts: Vec<(MountId, bool)> = mounts.iter().map(|mount| (mount.id, mount.is_warm())).collect();
        self.0.db().write(|sql| {
            let mut hit = sql.prepare_cached("UPDATE mounts SET hits = hits + 1 WHERE id = ?")?;
            let mut user = sql.prepare_cached(
                "INSERT INTO mount_users (mount, step, used) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM mounts WHERE id = ?1)
                 ON CONFLICT (mount, step) DO UPDATE SET used = ?3",
            )?;
            let mut forget = sql.prepare_cached(
                "DELETE FROM mount_users WHERE mount = ?1 AND step NOT IN
                 (SELECT step FROM mount_users WHERE mount = ?1 ORDER BY used DESC LIMIT ?2)",
            )?;
            for (id, warm) in mounts {
                if warm {
                    hit.execute([id])?;
                }
                user.execute((id, step, now()))?;
                forget.execute((id, MOST_STEPS as i64))?;
            }
            Ok(())
        })
    }

    /// Removes the directories of the keys given, except those in use, and says how many that were.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn clear_cache_mounts(&self, keys: &[CacheMountKey]) -> Result<u64> {
        let mut ids = Vec::new();
        for key in keys {
            ids.extend(self.mounts_of(key)?);
        }
        Ok(self.remove_cache_mounts(&ids)?.removed)
    }

    /// Removes directories of cache mounts, except those in use.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn remove_cache_mounts(&self, ids: &[MountId]) -> Result<RemovedMounts> {
        let mut outcome = RemovedMounts::default();
        let mut garbage = Vec::new();
        for &id in ids {
            let Some(_lock) = self.lock_mount(id, Sharing::Private)? else {
                // Unless somebody else has removed it meanwhile.
                if self.mount_dir(id).exists() {
                    outcome.in_use.push(id);
                }
                continue;
            };
            outcome.bytes += disk_usage(&self.mount_dir(id).join("fs"));
            outcome.removed += 1;
            self.0.db().write_through(|sql| Ok(delete(sql, id)?))?;
            garbage.push(self.0.process.discard(&self.mount_dir(id))?);
        }
        self.0.process.remove_later(garbage);
        Ok(outcome)
    }

    fn steps_of_mounts(&self) -> Result<HashMap<MountId, Vec<String>>> {
        self.0.db().read(|sql| {
            let mut steps: HashMap<MountId, Vec<String>> = HashMap::new();
            let mut select = sql.prepare_cached("SELECT mount, step FROM mount_users ORDER BY used DESC, step")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                steps.entry(row.get(0)?).or_default().push(row.get(1)?);
            }
            Ok(steps)
        })
    }

    /// Measures the directories that were used since they were last measured, and gives the sizes of those in use, which are not
    /// noted because they change.
    pub(crate) fn measure_mounts(&self) -> Result<HashMap<MountId, u64>> {
        let unmeasured: Vec<(MountId, i64)> = self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT id, uses FROM mounts WHERE size IS NULL")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        let mut in_use = HashMap::new();
        for (id, uses) in unmeasured {
            // Not held while measuring: nobody should find the directory taken because of this.
            let free = self.lock_mount(id, Sharing::Private)?.is_some();
            let size = disk_usage(&self.mount_dir(id).join("fs"));
            if !free {
                in_use.insert(id, size);
                continue;
            }
            // Whoever began to use it meanwhile has changed `uses`.
            self.0.db().write(|sql| {
                let mut update = sql.prepare_cached("UPDATE mounts SET size = ? WHERE id = ? AND uses = ?")?;
                Ok(update.execute((number(size), id, uses))?)
            })?;
        }
        Ok(in_use)
    }
}

/// Bytes on disk of a tree. What vanishes or cannot be read meanwhile counts for nothing.
fn disk_usage(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}
