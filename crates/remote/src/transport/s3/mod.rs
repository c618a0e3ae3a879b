//! A cache in an object store that speaks S3's protocol: blobs at `{prefix}{blobs_prefix}sha256:HEX`, and the manifest, the JSON of a
//! [`CacheManifest`], at `{prefix}{manifests_prefix}{name}`.
//!
//! An object is whole or not there, and a manifest is written after all its blobs. Blobs that several caches of a bucket have are there
//! once. So that garbage collection leaves alone what a running export counts on, blobs that are found there and are old are
//! written anew, by the server itself.

mod blocking;
mod profile;

use super::{Blobs, Collected, Remote};
use crate::blob::{BlobRef, Content, Sent, Verified};
use crate::error::{ManifestProblem, RemoteError};
use crate::location::S3Location;
use crate::manifest::{CacheManifest, MANIFEST_MAX};
use blocking::{Known, Objects};
use kiln_digest::Digest;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

/// A blob that is older is written anew when an export counts on it.
const OLD: Duration = Duration::from_secs(60 * 60);
/// As many blobs are looked for at once before a manifest is published.
const PARALLEL: usize = 16;
/// A blob's key ends so.
const DIGEST_START: &str = "sha256:";
const HEX_LENGTH: usize = 64;

/// One cache of a bucket.
pub(super) struct S3 {
    location: S3Location,
    objects: Objects,
    /// Blobs that are there and not old.
    fresh: Mutex<HashSet<Digest>>,
}

impl S3 {
    pub(super) fn new(location: &S3Location, stop: Arc<AtomicBool>) -> Result<Self, RemoteError> {
        let objects = Objects::new(location, name(location), stop)?;
        Ok(Self { location: location.clone(), objects, fresh: Mutex::default() })
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

    fn unusable(&self, problem: impl Into<ManifestProblem>) -> RemoteError {
        RemoteError::Manifest { place: self.name(), problem: problem.into() }
    }

    fn find(&self, blob: &BlobRef) -> Result<Option<Known>, RemoteError> {
        let known = self.objects.head(&self.blob_key(blob.digest))?;
        Ok(known.filter(|known| known.size == blob.size))
    }

    /// Whether a blob is there, kept from being collected for a while.
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        if self.fresh.lock().unwrap_or_else(PoisonError::into_inner).contains(&blob.digest) {
            return Ok(true);
        }
        let Some(known) = self.find(blob)? else { return Ok(false) };
        if known.written.elapsed().is_ok_and(|age| age > OLD) {
            self.objects.touch(&known.key)?;
        }
        self.note(blob);
        Ok(true)
    }

    fn note(&self, blob: &BlobRef) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
    }

    /// An object of at most `limit` bytes.
    fn small(&self, known: &Known, limit: u64) -> Result<Vec<u8>, RemoteError> {
        if known.size > limit {
            return Err(self.unusable(ManifestProblem::TooLarge { size: known.size, limit }));
        }
        let mut bytes = Vec::new();
        if let Some(mut reader) = self.objects.read(&known.key, known.size)? {
            reader.read_to_end(&mut bytes).map_err(|error| self.failed("read an object", &error))?;
        }
        Ok(bytes)
    }

    fn failed(&self, action: &'static str, error: &std::io::Error) -> RemoteError {
        RemoteError::Store { place: self.name(), action, cause: error.to_string() }
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
    fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        Ok(self.find(blob)?.is_some())
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
        let Some(known) = self.objects.head(&self.manifest_key(first))? else { return Ok(None) };
        let bytes = self.small(&known, MANIFEST_MAX)?;
        CacheManifest::from_json(&bytes).map(Some).map_err(|problem| self.unusable(problem))
    }

    fn publish(&self, manifest: &CacheManifest) -> Result<(), RemoteError> {
        let blobs: Vec<_> = manifest.blobs().into_iter().map(|(blob, _)| blob).collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let look = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.keep(blob);
                let problem = match outcome {
                    Ok(true) => continue,
                    Ok(false) => self.missing(blob.digest),
                    Err(error) => error,
                };
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
                next.store(blobs.len(), Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            for _ in 1..PARALLEL.min(blobs.len()) {
                scope.spawn(look);
            }
            look();
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let bytes = manifest.to_json();
        for name in &self.location.names {
            self.objects.write(&self.manifest_key(name), bytes.len() as u64, &mut bytes.as_slice())?;
        }
        Ok(())
    }

    fn collect_garbage(&self, grace: Duration) -> Result<Collected, RemoteError> {
        let blob_start = format!("{}{}{DIGEST_START}", self.location.prefix, self.location.blobs_prefix);
        let blobs = self.objects.list(&blob_start)?;
        let mut named = HashSet::new();
        for manifest in self.objects.list(&self.manifest_key(""))? {
            if !manifest.key.starts_with(&blob_start) {
                // Others' manifests as well, whatever their form.
                digests(&self.small(&manifest, MANIFEST_MAX)?, &mut named);
            }
        }
        let oldest = SystemTime::now().checked_sub(grace);
        let mut collected = Collected::default();
        let mut keys = Vec::new();
        for blob in blobs {
            let hex = &blob.key[blob_start.len()..];
            let digest = hex.get(..HEX_LENGTH).and_then(|hex| format!("{DIGEST_START}{hex}").parse::<Digest>().ok());
            let is_old = oldest.is_some_and(|oldest| blob.written <= oldest);
            // What is longer was left on the way of one that was being written anew.
            let is_named = |digest| hex.len() == HEX_LENGTH && named.contains(&digest);
            if is_old && digest.is_some_and(|digest| !is_named(digest)) {
                collected.blobs += 1;
                collected.bytes += blob.size;
                keys.push(blob.key);
            }
        }
        self.objects.delete(&keys)?;
        Ok(collected)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_any_text() {
        let (one, other) = (Digest::of_bytes(b"1"), Digest::of_bytes(b"2"));
        let text = format!("{{\"a\":\"{one}\",\"b\":\"x/{other}.y\",\"c\":\"sha256:12\"}} sha256:");
        let mut found = HashSet::new();
        digests(text.as_bytes(), &mut found);
        assert_eq!(found, HashSet::from([one, other]));
    }
}
