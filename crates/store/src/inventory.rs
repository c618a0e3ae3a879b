//! What is in the store and what needs it: the facts on which `du` reports and `prune` decides, read in one transaction.

use crate::db::unsigned;
use crate::ids::{LayerId, MountId};
use crate::images::{self, Found};
use kiln_digest::Digest;
use rusqlite::Connection;
use std::collections::{HashMap, HashSet};

/// Everything, with who needs it.
pub(crate) struct Inventory {
    pub(crate) images: Vec<ImageItem>,
    pub(crate) layers: Vec<LayerItem>,
    pub(crate) blobs: Vec<BlobItem>,
    pub(crate) mounts: Vec<MountItem>,
}

/// An image.
pub(crate) struct ImageItem {
    pub(crate) found: Found,
    /// A live process leases one of its layers or claims its config or manifest.
    pub(crate) in_use: bool,
}

/// What keeps a layer or a blob.
#[derive(Default)]
pub(crate) struct Needs {
    /// A built image needs it.
    pub(crate) built: bool,
    /// Pulled images that need it, as positions in [`Inventory::images`].
    pub(crate) pulled: Vec<usize>,
    /// A live process relies on it, or on a pulled image that needs it.
    pub(crate) in_use: bool,
}

impl Needs {
    /// Whether any image needs it.
    pub(crate) fn by_image(&self) -> bool {
        self.built || !self.pulled.is_empty()
    }

    /// Whether `prune --all` may take it.
    pub(crate) fn is_free(&self) -> bool {
        !self.built && !self.in_use
    }
}

pub(crate) struct LayerItem {
    pub(crate) id: LayerId,
    pub(crate) size: u64,
    pub(crate) created: i64,
    /// The latest use of it, of its records, or of a pulled image that needs it.
    pub(crate) used: i64,
    pub(crate) diff_id: Option<[u8; 32]>,
    pub(crate) needs: Needs,
}

pub(crate) struct BlobItem {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) created: i64,
    pub(crate) used: i64,
    /// Diff ids of the layers that this is a compressed form of.
    pub(crate) forms: Vec<[u8; 32]>,
    pub(crate) needs: Needs,
}

pub(crate) struct MountItem {
    pub(crate) id: MountId,
    pub(crate) key: String,
    /// As last measured.
    pub(crate) size: u64,
    pub(crate) created: i64,
    pub(crate) used: i64,
}

impl Inventory {
    /// Reads everything. `claimed` are the blobs that live processes claim; leases of dead processes are gone already, or counted.
    pub(crate) fn load(sql: &Connection, claimed: &HashSet<Digest>) -> rusqlite::Result<Self> {
        let leased: HashSet<LayerId> = sql
            .prepare_cached("SELECT layer FROM leases")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let images: Vec<ImageItem> = images::all(sql)?
            .into_iter()
            .map(|found| {
                let image = &found.image;
                let in_use = image.layers.iter().any(|layer| leased.contains(layer))
                    || claimed.contains(&image.config)
                    || image.manifest.is_some_and(|manifest| claimed.contains(&manifest));
                ImageItem { found, in_use }
            })
            .collect();
        let mut layers = layers(sql)?;
        let mut blobs = blobs(sql)?;
        let layer_at: HashMap<LayerId, usize> =
            layers.iter().enumerate().map(|(position, layer)| (layer.id, position)).collect();
        let blob_at: HashMap<Digest, usize> =
            blobs.iter().enumerate().map(|(position, blob)| (blob.digest, position)).collect();
        for layer in &mut layers {
            layer.needs.in_use = leased.contains(&layer.id);
        }
        for blob in &mut blobs {
            blob.needs.in_use = claimed.contains(&blob.digest);
        }
        for (position, item) in images.iter().enumerate() {
            let image = &item.found.image;
            for layer in image.layers.iter().filter_map(|layer| layer_at.get(layer)) {
                let layer = &mut layers[*layer];
                note(&mut layer.needs, &mut layer.used, item, position);
            }
            let digests = [Some(image.config), image.manifest];
            for blob in digests.iter().flatten().chain(&image.blobs).filter_map(|blob| blob_at.get(blob)) {
                let blob = &mut blobs[*blob];
                note(&mut blob.needs, &mut blob.used, item, position);
            }
        }
        Ok(Self { images, layers, blobs, mounts: mounts(sql)? })
    }

    /// Bytes of everything.
    pub(crate) fn total(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.size).sum();
        let blobs: u64 = self.blobs.iter().map(|blob| blob.size).sum();
        let mounts: u64 = self.mounts.iter().map(|mount| mount.size).sum();
        layers + blobs + mounts
    }
}

fn note(needs: &mut Needs, used: &mut i64, item: &ImageItem, position: usize) {
    if item.found.image.pulled {
        if needs.pulled.last() != Some(&position) {
            needs.pulled.push(position);
        }
        needs.in_use |= item.in_use;
        *used = (*used).max(item.found.used);
    } else {
        needs.built = true;
    }
}

fn layers(sql: &Connection) -> rusqlite::Result<Vec<LayerItem>> {
    let mut select = sql.prepare_cached(
        "SELECT id, size, created, max(used, coalesce((SELECT max(used) FROM records WHERE layer = layers.id), 0)), diff_id
         FROM layers",
    )?;
    let layers = select.query_map([], |row| {
        Ok(LayerItem {
            id: row.get(0)?,
            size: unsigned(row.get(1)?),
            created: row.get(2)?,
            used: row.get(3)?,
            diff_id: row.get(4)?,
            needs: Needs::default(),
        })
    })?;
    layers.collect()
}

fn blobs(sql: &Connection) -> rusqlite::Result<Vec<BlobItem>> {
    let mut forms: HashMap<[u8; 32], Vec<[u8; 32]>> = HashMap::new();
    let mut select = sql.prepare_cached("SELECT blob, diff_id FROM layer_blobs")?;
    for row in select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (blob, diff_id) = row?;
        forms.entry(blob).or_default().push(diff_id);
    }
    let mut select = sql.prepare_cached("SELECT digest, size, created, used FROM blobs")?;
    let blobs = select.query_map([], |row| {
        let digest: [u8; 32] = row.get(0)?;
        Ok(BlobItem {
            digest: Digest::from_bytes(digest),
            size: unsigned(row.get(1)?),
            created: row.get(2)?,
            used: row.get(3)?,
            forms: forms.remove(&digest).unwrap_or_default(),
            needs: Needs::default(),
        })
    })?;
    blobs.collect()
}

fn mounts(sql: &Connection) -> rusqlite::Result<Vec<MountItem>> {
    let mut select = sql.prepare_cached("SELECT id, key, size, created, used FROM mounts")?;
    let mounts = select.query_map([], |row| {
        Ok(MountItem {
            id: row.get(0)?,
            key: row.get(1)?,
            size: row.get::<_, Option<i64>>(2)?.map_or(0, unsigned),
            created: row.get(3)?,
            used: row.get(4)?,
        })
    })?;
    mounts.collect()
}
