//! `kiln cache gc`: drops from a remote cache what the place has lost, what builds have not used for long, and as much as must go that it
//! is no larger than it may be; and then deletes the blobs that no cache of the place names any more.
//!
//! Readers see the cache as it was or as it is then. If an export is published while this looks, it starts over with that.

use super::access;
use super::document::Document;
use super::export::from_remote;
use super::import::{self, ImportError};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use kiln_digest::Digest;
use kiln_remote::{BlobRef, CacheImport, CacheLocation, CacheManifest, Content, Remote, RemoteError, connect, lost};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
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
        collect(remote.as_ref(), limits, SystemTime::now(), &access.stop).map_err(|error| match cancel.is_cancelled() {
            true => EngineError::cancelled(),
            false => EngineError::from_cache_import(error),
        })
    }
}

fn collect(
    remote: &dyn Remote,
    limits: &CacheLimits,
    now: SystemTime,
    stop: &AtomicBool,
) -> Result<Option<CollectedCache>, ImportError> {
    let mut collected = loop {
        let Some(cache) = import::documents(remote)? else { return Ok(None) };
        if let Some(collected) = shrink(remote, cache, limits, now, stop)? {
            break collected;
        }
    };
    collected.deleted = match remote.collect_garbage(limits.grace) {
        Ok(deleted) => Some((deleted.blobs, deleted.bytes)),
        Err(RemoteError::Unsupported { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Some(collected))
}

/// Drops what has to go. Nothing is dropped and returned if somebody published another cache meanwhile.
fn shrink(
    remote: &dyn Remote,
    (mut manifest, mut document): (CacheManifest, Document),
    limits: &CacheLimits,
    now: SystemTime,
    stop: &AtomicBool,
) -> Result<Option<CollectedCache>, ImportError> {
    let mut dropped = too_much(&manifest, &document, limits, now);
    let stays: Vec<_> = entries(&manifest).filter(|(entry, _)| !dropped.contains(entry)).collect();
    let blobs: Vec<BlobRef> = stays.iter().flat_map(|(_, blobs)| blobs).copied().collect();
    let lost: HashSet<BlobRef> = lost(remote, &blobs, stop)?.into_iter().collect();
    let is_lost = |blobs: &[BlobRef]| blobs.iter().any(|blob| lost.contains(blob));
    dropped.extend(stays.into_iter().filter(|(_, blobs)| is_lost(blobs)).map(|(entry, _)| entry));
    if dropped.is_empty() {
        return Ok(Some(CollectedCache::default()));
    }
    let before = manifest.clone();
    let collected = drop_entries(&mut manifest, &mut document, &dropped);
    let bytes = document.to_json();
    manifest.records = BlobRef::of_bytes(&bytes);
    remote.write(&manifest.records, Content::Bytes(&bytes))?;
    if remote.manifest()?.as_ref() != Some(&before) {
        return Ok(None);
    }
    // What stands there was read just now, so that nothing is put aside.
    remote.publish(&manifest)?;
    Ok(Some(collected))
}

/// What has to go: all that is too old, and of the rest what was used least recently.
fn too_much(manifest: &CacheManifest, document: &Document, limits: &CacheLimits, now: SystemTime) -> BTreeSet<Entry> {
    let oldest = limits.older_than.and_then(|age| now.checked_sub(age)).unwrap_or(UNIX_EPOCH);
    let mut used: BTreeMap<Entry, SystemTime> = BTreeMap::new();
    for step in &document.steps {
        let used = used.entry(Entry::Layer(step.diff_id)).or_insert(UNIX_EPOCH);
        *used = step.used().max(*used);
    }
    for mount in &manifest.mounts {
        let last = UNIX_EPOCH.checked_add(Duration::from_secs(mount.used)).unwrap_or(UNIX_EPOCH);
        used.insert(Entry::Mount(mount.key.clone()), last);
    }
    let last_used = |entry: &Entry| used.get(entry).copied().unwrap_or(UNIX_EPOCH);
    let mut latest_first: Vec<_> = entries(manifest).map(|(entry, blobs)| (last_used(&entry), entry, blobs)).collect();
    latest_first.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    let (mut kept, mut size, mut dropped) = (HashSet::new(), 0_u64, BTreeSet::new());
    for (used, entry, blobs) in latest_first {
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

/// What a cache has, and the blobs of each.
fn entries(manifest: &CacheManifest) -> impl Iterator<Item = (Entry, Vec<BlobRef>)> {
    let layers = manifest.layers.iter().map(|layer| (Entry::Layer(layer.diff_id), vec![layer.blob]));
    let mounts = manifest.mounts.iter().map(|mount| {
        let blobs = [mount.index].into_iter().chain(mount.packs.iter().copied()).collect();
        (Entry::Mount(mount.key.clone()), blobs)
    });
    layers.chain(mounts)
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_registry::{Client, Config, Credentials};
    use kiln_remote::{Access, Blobs, CachedLayer, Collected, MANIFEST_VERSION, Sent};
    use std::io::Read;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    /// A cache that somebody publishes anew while blobs are looked for.
    struct Raced {
        remote: Box<dyn Remote>,
        published: Mutex<Option<CacheManifest>>,
    }

    impl Blobs for Raced {
        fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
            self.remote.keep(blob)
        }

        fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
            self.remote.read(blob)
        }

        fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError> {
            self.remote.write(blob, content)
        }
    }

    impl Remote for Raced {
        fn name(&self) -> String {
            self.remote.name()
        }

        fn manifest(&self) -> Result<Option<CacheManifest>, RemoteError> {
            self.remote.manifest()
        }

        fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
            if let Some(manifest) = self.published.lock().unwrap().take() {
                self.remote.publish(&manifest)?;
            }
            self.remote.has(blob)
        }

        fn publish(&self, manifest: &CacheManifest) -> Result<Option<PathBuf>, RemoteError> {
            self.remote.publish(manifest)
        }

        fn collect_garbage(&self, grace: Duration) -> Result<Collected, RemoteError> {
            self.remote.collect_garbage(grace)
        }
    }

    #[test]
    fn what_is_published_meanwhile_is_not_lost() {
        let root = tempfile::tempdir().unwrap();
        let client = Client::new(Config::default(), Credentials::none());
        let access = Access { client, stop: Arc::default(), pushed: Vec::new(), broken: HashSet::new() };
        let location =
            CacheLocation::Local { directory: root.path().to_owned(), tag: "latest".to_owned(), digest: None };
        let remote = connect(&location, &access).unwrap();
        let send = |bytes: &[u8]| {
            remote.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes)).unwrap();
            BlobRef::of_bytes(bytes)
        };
        let layer = |text: &str| CachedLayer {
            diff_id: Digest::of_bytes(text.as_bytes()),
            blob: send(text.as_bytes()),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        };
        let records = send(&Document::new(Vec::new(), Vec::new()).to_json());
        let cache =
            |layers| CacheManifest { version: MANIFEST_VERSION, created: 1, records, layers, mounts: Vec::new() };
        let (small, large, later) = (layer("small"), layer("much larger"), layer("later"));
        remote.publish(&cache(vec![small.clone(), large.clone()])).unwrap();
        let published = Mutex::new(Some(cache(vec![small.clone(), later.clone(), large])));
        let raced = Raced { remote, published };
        let limits = CacheLimits { older_than: None, max_size: Some(10), grace: Duration::ZERO };
        let collected = collect(&raced, &limits, SystemTime::now(), &access.stop).unwrap().unwrap();
        assert_eq!(collected.layers, 1);
        assert_eq!(raced.manifest().unwrap().unwrap().layers, [small, later]);
    }
}
