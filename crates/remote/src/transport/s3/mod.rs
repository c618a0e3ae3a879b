//! A cache in an object store that speaks S3's protocol: blobs at `{prefix}{blobs_prefix}sha256:HEX`, and the manifest, the JSON of a
//! [`CacheManifest`], at `{prefix}{manifests_prefix}{name}`.
//!
//! An object is whole or not there, and a manifest is written after all its blobs. Blobs that several caches of a bucket have are there
//! once. So that garbage collection leaves alone what a running export counts on, blobs that are found there and are old are
//! written anew, by the server itself; and it looks at their ages after it has read which of them the manifests name.

mod blocking;
mod profile;
#[cfg(test)]
mod tests;

use super::{Access, Blobs, Broken, Collected, Remote, missing};
use crate::blob::{BlobRef, Content, Sent, Verified};
use crate::error::RemoteError;
use crate::location::S3Location;
use crate::manifest::{CacheManifest, MANIFEST_MAX};
use blocking::{Known, Objects};
use kiln_digest::Digest;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A blob that is older is written anew when an export counts on it.
const OLD: Duration = Duration::from_secs(60 * 60);
/// A blob that was written, or seen to be young, so lately is not looked for again.
const SURE: Duration = Duration::from_secs(60);
/// A blob's key ends so.
const DIGEST_START: &str = "sha256:";
const HEX_LENGTH: usize = 64;

/// One cache of a bucket.
pub(super) struct S3 {
    location: S3Location,
    objects: Objects,
    stop: Arc<AtomicBool>,
    /// When blobs were seen that are not old.
    seen: Mutex<HashMap<Digest, Instant>>,
    broken: Broken,
    /// [`OLD`], but for tests.
    old: Duration,
}

impl S3 {
    pub(super) fn new(location: &S3Location, access: &Access) -> Result<Self, RemoteError> {
        let (location, stop) = (location.clone(), Arc::clone(&access.stop));
        let objects = Objects::new(&location, name(&location), Arc::clone(&stop))?;
        Ok(Self { location, objects, stop, seen: Mutex::default(), broken: Broken::of(access), old: OLD })
    }

    fn blob_key(&self, digest: Digest) -> String {
        format!("{}{}{digest}", self.location.prefix, self.location.blobs_prefix)
    }

    fn manifest_key(&self, name: &str) -> String {
        format!("{}{}{name}", self.location.prefix, self.location.manifests_prefix)
    }

    fn missing(&self, digest: Digest) -> RemoteError {
        RemoteError::Missing { place: self.name(), digest }
    }

    fn find(&self, blob: &BlobRef) -> Result<Option<Known>, RemoteError> {
        let known = self.objects.head(&self.blob_key(blob.digest))?;
        Ok(known.filter(|known| known.size == blob.size))
    }

    fn note(&self, blob: &BlobRef) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest, Instant::now());
    }

    fn is_sure(&self, blob: &BlobRef) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&blob.digest).is_some_and(|seen| seen.elapsed() < SURE)
    }

    /// Where the keys of blobs begin.
    fn blob_start(&self) -> String {
        format!("{}{}{DIGEST_START}", self.location.prefix, self.location.blobs_prefix)
    }

    /// Reads what the manifests name that are there and have not been read.
    fn read_names(&self, names: &mut Names) -> Result<(), RemoteError> {
        let blob_start = self.blob_start();
        for manifest in self.objects.list(&self.manifest_key(""))? {
            let Known { key, written, size, tag } = manifest;
            if key.starts_with(&blob_start) || names.read.contains(&(key.clone(), tag.clone(), written, size)) {
                continue;
            }
            // Others' manifests as well, whatever their form. One that is gone names nothing.
            if let Some(bytes) = self.objects.document(&key, MANIFEST_MAX)? {
                digests(&bytes, &mut names.named);
            }
            names.read.insert((key, tag, written, size));
        }
        Ok(())
    }

    fn send(&self, blob: &BlobRef, path: &Path, content: &mut dyn Read) -> Result<(), RemoteError> {
        let mut reader = Verified::new(content, *blob, self.name());
        let written = self.objects.write(&self.blob_key(blob.digest), blob.size, &mut reader);
        if reader.is_corrupt() {
            return Err(RemoteError::NotTheBlob { path: path.to_owned(), blob: *blob });
        }
        written
    }
}

impl Blobs for S3 {
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        if self.broken.has(blob) {
            return Ok(false);
        }
        if self.is_sure(blob) {
            return Ok(true);
        }
        // Once more if it was deleted, or written anew by somebody else, while this was done here.
        for _ in 0..2 {
            let Some(known) = self.find(blob)? else { return Ok(false) };
            if known.written.elapsed().is_ok_and(|age| age > self.old) {
                // It is looked for again before it is published: its deletion may have been under way.
                if self.objects.touch(&known.key)? {
                    return Ok(true);
                }
            } else {
                self.note(blob);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
        let reader = self.objects.read(&self.blob_key(blob.digest), blob.size)?;
        let reader = reader.ok_or_else(|| self.missing(blob.digest))?;
        Ok(Box::new(Verified::new(reader, *blob, self.name())))
    }

    fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError> {
        if self.keep(blob)? {
            return Ok(Sent::Present);
        }
        match content {
            Content::Bytes(mut bytes) => self.send(blob, Path::new("-"), &mut bytes)?,
            Content::File(path) => {
                let mut file = File::open(path).map_err(RemoteError::file("read", path))?;
                self.send(blob, path, &mut file)?;
            }
        }
        self.broken.mend(blob);
        self.note(blob);
        Ok(Sent::New)
    }
}

impl Remote for S3 {
    fn name(&self) -> String {
        name(&self.location)
    }

    fn manifest(&self) -> Result<Option<CacheManifest>, RemoteError> {
        let first = self.location.names.first().map(String::as_str).unwrap_or_default();
        let Some(bytes) = self.objects.document(&self.manifest_key(first), MANIFEST_MAX)? else { return Ok(None) };
        let unusable = |problem| RemoteError::Manifest { place: self.name(), problem };
        CacheManifest::from_json(&bytes).map(Some).map_err(unusable)
    }

    fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        Ok(self.find(blob)?.is_some())
    }

    fn publish(&self, manifest: &CacheManifest) -> Result<Option<PathBuf>, RemoteError> {
        let blobs: Vec<_> = manifest.blobs().into_iter().map(|(blob, _)| blob).collect();
        if let Some(missing) = missing(self, &blobs, &self.stop)?.first() {
            return Err(self.missing(missing.digest));
        }
        let bytes = manifest.to_json();
        for name in &self.location.names {
            self.objects.write(&self.manifest_key(name), bytes.len() as u64, &mut bytes.as_slice())?;
        }
        Ok(None)
    }

    fn collect_garbage(&self, grace: Duration) -> Result<Collected, RemoteError> {
        // What an export keeps may be as old as this already. Without any grace time, nobody is said to export.
        let grace = if grace.is_zero() { grace } else { grace.saturating_add(self.old) };
        let oldest = SystemTime::now().checked_sub(grace);
        let is_old = |blob: &Known| oldest.is_some_and(|oldest| blob.written <= oldest);
        let blob_start = self.blob_start();
        let is_garbage = |blob: &Known, names: &Names| {
            let hex = &blob.key[blob_start.len()..];
            let digest = hex.get(..HEX_LENGTH).and_then(|hex| format!("{DIGEST_START}{hex}").parse::<Digest>().ok());
            // What is longer was left on the way of one that was being written anew.
            let is_named = |digest| hex.len() == HEX_LENGTH && names.named.contains(&digest);
            digest.is_some_and(|digest| !is_named(digest))
        };
        let mut names = Names::default();
        self.read_names(&mut names)?;
        // Manifests before blobs: what an export publishes later, it has written or kept by now, and the ages show that.
        let mut garbage = self.objects.list(&blob_start)?;
        garbage.retain(|blob| is_old(blob) && is_garbage(blob, &names));
        // Without a grace time they do not, but what was published meanwhile is seen.
        self.read_names(&mut names)?;
        garbage.retain(|blob| is_garbage(blob, &names));
        let keys: Vec<_> = garbage.iter().map(|blob| blob.key.clone()).collect();
        self.objects.delete(&keys)?;
        Ok(Collected { blobs: garbage.len() as u64, bytes: garbage.iter().map(|blob| blob.size).sum() })
    }
}

/// What manifests name.
#[derive(Default)]
struct Names {
    /// The manifests that were read: their keys, and what changes when they are written.
    read: HashSet<(String, Option<String>, SystemTime, u64)>,
    named: HashSet<Digest>,
}

fn name(location: &S3Location) -> String {
    let first = location.names.first().map(String::as_str).unwrap_or_default();
    format!("bucket `{}/{}{}{first}`", location.bucket, location.prefix, location.manifests_prefix)
}

/// Every digest that a text has anywhere.
fn digests(text: &[u8], found: &mut HashSet<Digest>) {
    let text = String::from_utf8_lossy(text);
    for (start, _) in text.match_indices(DIGEST_START) {
        let digest = text.get(start..start + DIGEST_START.len() + HEX_LENGTH);
        found.extend(digest.and_then(|digest| digest.parse::<Digest>().ok()));
    }
}
