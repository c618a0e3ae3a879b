//! `kiln cache gc`: drops from a remote cache what builds have not used for long, or as much as must go that it is no larger than
//! it may be, and then deletes the blobs that no cache of the place names any more.
//!
//! Readers see the cache as it was or as it is then. An export at the same time wins or loses as one beside another export does.

use super::access;
use super::document::Document;
use super::export::from_remote;
use super::import::{self, ImportError};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use kiln_digest::Digest;
use kiln_remote::{BlobRef, CacheImport, CacheLocation, CacheManifest, Content, Remote, RemoteError, connect};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much a remote cache may hold.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Nothing that was not used for so long.
    pub older_than: Option<Duration>,
    /// At most so many bytes of blobs, besides its documents.
    pub max_size: Option<u64>,
    /// Blobs that were written within this time stay even when no cache names them: an export that is under way may count on them.
    pub grace: Duration,
}

/// What was dropped from a remote cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectedCache {
    /// Steps.
    pub steps: u64,
    /// Layers that no other step has.
    pub layers: u64,
    /// Cache mounts.
    pub mounts: u64,
    /// Blobs that were deleted, and their bytes; nothing where the place deletes them by itself.
    pub deleted: Option<(u64, u64)>,
}

/// What is dropped as a whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// A layer with all steps that made it.
    Layer(Digest),
    Mount(String),
}

impl Engine {
    /// Drops entries of a remote cache; nothing if there is no cache yet.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn collect_cache(
        &self,
        import: &CacheImport,
        limits: &CacheLimits,
        cancel: &CancelToken,
    ) -> Result<Option<CollectedCache>, EngineError> {
        let by_digest = match &import.location {
            CacheLocation::Local { digest, .. } => digest.is_some(),
            CacheLocation::Registry { reference, .. } => reference.digest().is_some(),
            CacheLocation::S3(_) | CacheLocation::Inline => false,
        };
        if by_digest {
            return Err(EngineError::new(ErrorKind::User, "a cache that is named by a digest cannot change")
                .with_hint("name its tag"));
        }
        let (access, _forward) = access(self, cancel);
        let remote = connect(&import.location, &access).map_err(from_remote)?;
        collect(remote.as_ref(), limits, SystemTime::now()).map_err(|error| match cancel.is_cancelled() {
            true => EngineError::cancelled(),
            false => EngineError::from_cache_import(error),
        })
    }
}

fn collect(remote: &dyn Remote, limits: &CacheLimits, now: SystemTime) -> Result<Option<CollectedCache>, ImportError> {
    let Some((mut manifest, mut document)) = import::documents(remote)? else { return Ok(None) };
    let dropped = too_much(&manifest, &document, limits, now);
    let mut collected = CollectedCache::default();
    if !dropped.is_empty() {
        collected = drop_entries(&mut manifest, &mut document, &dropped);
        let bytes = document.to_json();
        manifest.records = BlobRef::of_bytes(&bytes);
        remote.write(&manifest.records, Content::Bytes(&bytes))?;
        remote.publish(&manifest)?;
    }
    collected.deleted = match remote.collect_garbage(limits.grace) {
        Ok(deleted) => Some((deleted.blobs, deleted.bytes)),
        Err(RemoteError::Unsupported { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Some(collected))
}

/// What has to go: all that is too old, and of the rest what was used least recently.
fn too_much(manifest: &CacheManifest, document: &Document, limits: &CacheLimits, now: SystemTime) -> BTreeSet<Entry> {
    let oldest = limits.older_than.and_then(|age| now.checked_sub(age)).unwrap_or(UNIX_EPOCH);
    let mut entries: BTreeMap<Entry, (SystemTime, Vec<BlobRef>)> = BTreeMap::new();
    for layer in &manifest.layers {
        entries.insert(Entry::Layer(layer.diff_id), (UNIX_EPOCH, vec![layer.blob]));
    }
    for step in &document.steps {
        if let Some((used, _)) = entries.get_mut(&Entry::Layer(step.diff_id)) {
            *used = step.used().max(*used);
        }
    }
    for mount in &manifest.mounts {
        let used = UNIX_EPOCH.checked_add(Duration::from_secs(mount.used)).unwrap_or(UNIX_EPOCH);
        let blobs = [mount.index].into_iter().chain(mount.packs.iter().copied()).collect();
        entries.insert(Entry::Mount(mount.key.clone()), (used, blobs));
    }
    let mut latest_first: Vec<_> = entries.into_iter().collect();
    latest_first.sort_by_key(|(_, (used, _))| std::cmp::Reverse(*used));
    let (mut kept, mut size, mut dropped) = (HashSet::new(), 0_u64, BTreeSet::new());
    for (entry, (used, blobs)) in latest_first {
        // Mounts share packs.
        let new: Vec<BlobRef> = blobs.into_iter().filter(|blob| !kept.contains(blob)).collect();
        let larger = new.iter().fold(size, |sum, blob| sum.saturating_add(blob.size));
        if used < oldest || limits.max_size.is_some_and(|most| larger > most) {
            dropped.insert(entry);
        } else {
            size = larger;
            kept.extend(new);
        }
    }
    dropped
}

fn drop_entries(manifest: &mut CacheManifest, document: &mut Document, dropped: &BTreeSet<Entry>) -> CollectedCache {
    let before = (document.steps.len(), manifest.layers.len(), manifest.mounts.len());
    manifest.layers.retain(|layer| !dropped.contains(&Entry::Layer(layer.diff_id)));
    manifest.mounts.retain(|mount| !dropped.contains(&Entry::Mount(mount.key.clone())));
    document.steps.retain(|step| !dropped.contains(&Entry::Layer(step.diff_id)));
    CollectedCache {
        steps: (before.0 - document.steps.len()) as u64,
        layers: (before.1 - manifest.layers.len()) as u64,
        mounts: (before.2 - manifest.mounts.len()) as u64,
        deleted: None,
    }
}
