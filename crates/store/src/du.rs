//! What takes up space, and what of it `prune --all` would free.

use crate::db::time;
use crate::error::Result;
use crate::inventory::Inventory;
use crate::open::Store;
use crate::process::{Survey, claims};
use std::time::SystemTime;

/// The store's use of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images, layers, cache mounts, blobs and builds, in this order.
    pub rows: Vec<UsageRow>,
    /// Bytes of all layers, cache mounts, blobs and builds. Images are made of these and not counted again.
    pub total: u64,
    /// Bytes of those that `prune --all` would free.
    pub reclaimable: u64,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageKind {
    /// A name for layers and blobs; its size is that of its layers.
    Image,
    /// A filesystem change.
    Layer,
    /// One directory of a cache mount.
    Mount,
    /// A manifest, a config or a compressed layer.
    Blob,
    /// What is remembered of a build.
    Build,
}

/// One thing in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// What it is.
    pub kind: UsageKind,
    /// Its id or digest.
    pub id: String,
    /// The name of an image, the key of a cache mount; empty otherwise.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// Whether an image needs it.
    pub shared: bool,
    /// Whether `prune --all` would free it.
    pub reclaimable: bool,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used, to the hour.
    pub used: SystemTime,
}

impl Store {
    /// Lists everything that takes up space.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn du(&self) -> Result<Usage> {
        let in_use = self.measure_mounts()?;
        let tmp = self.root().join("tmp");
        let live = Survey::take(&tmp, self.0.process.name())?.live;
        let claimed = claims(&tmp, &live)?;
        let mut inventory = self.0.db().read(|sql| Inventory::load(sql, &claimed))?;
        for mount in &mut inventory.mounts {
            if let Some(&size) = in_use.get(&mount.id) {
                mount.size = size;
            }
        }
        let images = inventory.images.iter().map(|item| UsageRow {
            kind: UsageKind::Image,
            id: item.found.image.config.to_string(),
            description: item.found.image.name.clone(),
            size: item.found.image.size,
            shared: false,
            reclaimable: item.found.image.pulled && !item.in_use,
            created: item.found.image.created,
            used: time(item.found.used),
        });
        let layers = inventory.layers.iter().map(|layer| UsageRow {
            kind: UsageKind::Layer,
            id: layer.id.to_string(),
            description: String::new(),
            size: layer.size,
            shared: layer.needs.by_image(),
            reclaimable: layer.needs.is_free(),
            created: time(layer.created),
            used: time(layer.used),
        });
        let mounts = inventory.mounts.iter().map(|mount| UsageRow {
            kind: UsageKind::Mount,
            id: mount.id.to_string(),
            description: mount.key.clone(),
            size: mount.size,
            shared: false,
            reclaimable: !in_use.contains_key(&mount.id),
            created: time(mount.created),
            used: time(mount.used),
        });
        let blobs = inventory.blobs.iter().map(|blob| UsageRow {
            kind: UsageKind::Blob,
            id: blob.digest.to_string(),
            description: String::new(),
            size: blob.size,
            shared: blob.needs.by_image(),
            reclaimable: blob.needs.is_free(),
            created: time(blob.created),
            used: time(blob.used),
        });
        let remembered = self.history_sizes()?;
        let remembered_bytes: u64 = remembered.iter().map(|(_, size)| size).sum();
        let builds = remembered.into_iter().map(|(id, size)| UsageRow {
            kind: UsageKind::Build,
            id: id.to_string(),
            description: String::new(),
            size,
            shared: false,
            reclaimable: true,
            created: id.time(),
            used: id.time(),
        });
        let rows: Vec<UsageRow> = images.chain(layers).chain(mounts).chain(blobs).chain(builds).collect();
        let counted = |row: &&UsageRow| row.kind != UsageKind::Image && row.reclaimable;
        let reclaimable = rows.iter().filter(counted).map(|row| row.size).sum();
        Ok(Usage { total: inventory.total() + remembered_bytes, reclaimable, rows })
    }
}
