//! `kiln cache ls --from`: what a remote cache holds.

use super::import::{self, Holdings};
use super::{access, export::from_remote};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::EngineError;
use kiln_digest::Digest;
use kiln_remote::{CacheImport, connect};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a remote cache holds.
#[derive(Debug, Clone)]
pub struct CacheContents {
    /// The place, as a noun phrase: ``directory `/tmp/cache` ``.
    pub place: String,
    /// When it was written.
    pub created: SystemTime,
    /// How many steps it has.
    pub steps: u64,
    /// The layers of these, those that were used last first.
    pub layers: Vec<CachedLayerInfo>,
    /// The cache mounts, by their keys.
    pub mounts: Vec<CachedMountInfo>,
}

/// A layer of a remote cache.
#[derive(Debug, Clone)]
pub struct CachedLayerInfo {
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// The bytes of its blob.
    pub stored: u64,
    /// When a build last had it.
    pub used: SystemTime,
    /// How many steps made it.
    pub steps: u64,
    /// How long these took, all together.
    pub duration: Duration,
}

/// A cache mount of a remote cache.
#[derive(Debug, Clone)]
pub struct CachedMountInfo {
    /// Which mount it is.
    pub key: String,
    /// The bytes of its blobs.
    pub stored: u64,
    /// The bytes of its files.
    pub size: u64,
    /// When a step last used it.
    pub used: SystemTime,
}

impl Engine {
    /// What a remote cache holds; nothing if there is no cache yet.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn cache_contents(
        &self,
        import: &CacheImport,
        cancel: &CancelToken,
    ) -> Result<Option<CacheContents>, EngineError> {
        let (access, _forward) = access(self, cancel);
        let remote = connect(&import.location, &access).map_err(from_remote)?;
        let read = import::read(remote.as_ref()).map_err(|error| match cancel.is_cancelled() {
            true => EngineError::cancelled(),
            false => EngineError::from_cache_import(error),
        })?;
        Ok(read.map(|holdings| contents(remote.name(), &holdings)))
    }
}

fn contents(place: String, holdings: &Holdings) -> CacheContents {
    let mut layers: BTreeMap<Digest, CachedLayerInfo> = BTreeMap::new();
    for step in holdings.steps.values() {
        let Some(layer) = holdings.layers.get(&step.diff_id) else { continue };
        let known = layers.entry(step.diff_id).or_insert_with(|| CachedLayerInfo {
            diff_id: step.diff_id,
            stored: layer.blob.size,
            used: UNIX_EPOCH,
            steps: 0,
            duration: Duration::ZERO,
        });
        known.used = known.used.max(step.used());
        known.steps += 1;
        known.duration = known.duration.saturating_add(step.duration());
    }
    let mut layers: Vec<_> = layers.into_values().collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.used));
    let mounts = holdings.mounts.iter().map(|mount| CachedMountInfo {
        key: mount.key.clone(),
        stored: mount.packs.iter().fold(mount.index.size, |sum, pack| sum.saturating_add(pack.size)),
        size: mount.size,
        used: UNIX_EPOCH.checked_add(Duration::from_secs(mount.used)).unwrap_or(UNIX_EPOCH),
    });
    let (steps, mounts) = (holdings.steps.len() as u64, mounts.collect());
    CacheContents { place, created: holdings.created, steps, layers, mounts }
}
