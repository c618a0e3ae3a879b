//! A cache in a directory: an OCI image layout (OCI image-spec, image-layout.md), in which each cache is a tag.
//!
//! ```text
//! DIR/oci-layout
//! DIR/index.json           the manifests by tag; replaced by a rename
//! DIR/index.json.lock      held while that is done, and by garbage collection
//! DIR/blobs/sha256/HEX     appears when it is whole
//! ```
//!
//! What others keep in the same layout stays as it is. Blobs are on the disk before the index names them, and the index is before it
//! gets its name: a crash of the machine leaves the old cache or the new one. Other tools write the index in place, so one that is no JSON
//! is read again for a while; if it stays so, it is put aside before it is replaced, since it may name what others have here.

mod files;
mod garbage;
#[cfg(test)]
mod tests;

use super::document::{self, Documents};
use super::{Access, Blobs, Broken, Collected, Remote};
use crate::blob::{BlobRef, Content, Sent, Verified};
use crate::error::{ManifestProblem, RemoteError};
use crate::manifest::{CacheManifest, MANIFEST_MAX};
use crate::parallel;
use files::Files;
use kiln_digest::Digest;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The annotation with a manifest's tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
/// What becomes of an index that nobody can read.
const BROKEN_INDEX: &str = "index.json.broken";
const BLOBS: &str = "blobs/sha256";
/// So long an index that is no JSON may be one that somebody is writing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often whoever waits looks again.
const LOOK: Duration = Duration::from_millis(5);

/// One tag of a layout.
pub(super) struct Directory {
    path: PathBuf,
    tag: String,
    /// The manifest to read instead of the tag's.
    digest: Option<Digest>,
    stop: Arc<AtomicBool>,
    broken: Broken,
    /// What was written here, and may not be on the disk yet.
    written: Mutex<HashSet<Digest>>,
    /// [`PATIENCE`], but for tests.
    patience: Duration,
}

impl Directory {
    pub(super) fn new(path: &Path, tag: &str, digest: Option<Digest>, access: &Access) -> Self {
        let (path, tag) = (path.to_owned(), tag.to_owned());
        let (stop, broken) = (Arc::clone(&access.stop), Broken::of(access));
        Self { path, tag, digest, stop, broken, written: Mutex::default(), patience: PATIENCE }
    }

    /// The directory, if it is there.
    fn open(&self) -> Result<Option<Files<'_>>, RemoteError> {
        Files::open(&self.path, &self.stop)
    }

    fn create(&self) -> Result<Files<'_>, RemoteError> {
        Files::create(&self.path, &self.stop)
    }

    fn missing(&self, digest: Digest) -> RemoteError {
        RemoteError::Missing { place: self.name(), digest }
    }

    fn unusable(&self, problem: impl Into<ManifestProblem>) -> RemoteError {
        RemoteError::Manifest { place: self.name(), problem: problem.into() }
    }

    /// The layout's index, which is given the time to become JSON; nothing if there is none.
    fn index(&self, files: &Files<'_>) -> Result<Option<Vec<u8>>, RemoteError> {
        let started = Instant::now();
        loop {
            match self.index_now(files)? {
                Some(bytes) if !is_json(&bytes) && started.elapsed() < self.patience => {}
                found => return Ok(found),
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(RemoteError::Cancelled);
            }
            thread::sleep(LOOK);
        }
    }

    fn index_now(&self, files: &Files<'_>) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(found) = files.find(INDEX)? else { return Ok(None) };
        if found.size > document::DOCUMENT_MAX {
            let problem = ManifestProblem::TooLarge { size: found.size, limit: document::DOCUMENT_MAX };
            return Err(self.unusable(problem));
        }
        let mut bytes = Vec::new();
        let read = found.file.take(document::DOCUMENT_MAX).read_to_end(&mut bytes);
        read.map_err(RemoteError::file("read", &self.path.join(INDEX)))?;
        Ok(Some(bytes))
    }

    /// A blob that must be a document of at most `limit` bytes.
    fn document(&self, files: &Files<'_>, blob: &BlobRef, limit: u64) -> Result<Vec<u8>, RemoteError> {
        if blob.size > limit {
            return Err(self.unusable(ManifestProblem::TooLarge { size: blob.size, limit }));
        }
        let mut bytes = Vec::new();
        match self.reader(files, blob)?.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(match error.downcast::<RemoteError>() {
                Ok(corrupt) => corrupt,
                Err(error) => RemoteError::file("read", &self.path.join(blob_path(blob.digest)))(error),
            }),
        }
    }

    fn reader(&self, files: &Files<'_>, blob: &BlobRef) -> Result<impl Read + Send + use<>, RemoteError> {
        let found = files.find(&blob_path(blob.digest))?.ok_or_else(|| self.missing(blob.digest))?;
        Ok(Verified::new(found.file, *blob, self.name()))
    }

    /// What describes the cache in an index.
    fn choose<'a>(&self, index: &'a ImageIndex) -> Option<&'a Descriptor> {
        index.manifests().iter().find(|manifest| match self.digest {
            Some(digest) => manifest.digest().to_string() == digest.to_string(),
            None => tag_of(manifest.annotations().as_ref()) == Some(&self.tag),
        })
    }

    /// The cache that an index leads to.
    fn led_to(&self, files: &Files<'_>, index: &[u8]) -> Result<Option<CacheManifest>, RemoteError> {
        let index: ImageIndex = serde_json::from_slice(index).map_err(|error| self.unusable(error))?;
        let Some(chosen) = self.choose(&index) else { return Ok(None) };
        let fetch = |descriptor: &Descriptor| {
            let blob = document::blob_of(descriptor).map_err(|problem| self.unusable(problem))?;
            self.document(files, &blob, document::DOCUMENT_MAX)
        };
        let mut bytes = fetch(chosen)?;
        if *chosen.media_type() == MediaType::ImageIndex {
            let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| self.unusable(error))?;
            bytes = fetch(document::first_child(&index).map_err(|problem| self.unusable(problem))?)?;
        }
        let image = serde_json::from_slice(&bytes).map_err(|error| self.unusable(error))?;
        let config = document::config_of(&image).map_err(|problem| self.unusable(problem))?;
        let bytes = self.document(files, &config, MANIFEST_MAX)?;
        CacheManifest::from_json(&bytes).map(Some).map_err(|problem| self.unusable(problem))
    }

    /// The index with `root` as what the tag means. One that is no JSON is taken for an empty one.
    fn tagged(&self, old: Option<&[u8]>, root: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        let old = old.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let mut index = old.unwrap_or_else(
            || json!({"schemaVersion": 2, "mediaType": MediaType::ImageIndex.as_ref(), "manifests": []}),
        );
        let mut root = root.clone();
        root.set_annotations(Some(HashMap::from([(REF_NAME.to_owned(), self.tag.clone())])));
        let root = serde_json::to_value(root).map_err(|error| self.unusable(error))?;
        let Some(Value::Array(manifests)) = index.get_mut("manifests") else {
            return Err(self.unusable(ManifestProblem::Foreign("a document without manifests".to_owned())));
        };
        let tag = |manifest: &Value| manifest["annotations"][REF_NAME] == *self.tag;
        manifests.retain(|manifest| !tag(manifest));
        manifests.push(root);
        Ok(index.to_string().into_bytes())
    }

    /// Makes the tag mean these documents, if all that is needed is there. Returns what an index was put aside as that cannot be read.
    fn link(
        &self,
        files: &Files<'_>,
        documents: &Documents,
        needed: &[BlobRef],
    ) -> Result<Option<PathBuf>, RemoteError> {
        let _lock = files.lock_alone()?;
        // No garbage collection comes between this and the rename.
        for blob in needed {
            if files.find(&blob_path(blob.digest))?.is_none_or(|found| found.size != blob.size) {
                return Err(self.missing(blob.digest));
            }
        }
        let (bytes, media_type) = documents.root();
        let old = self.index(files)?;
        let index = self.tagged(old.as_deref(), &document::describe(bytes, media_type))?;
        if files.find(LAYOUT)?.is_none() {
            files.replace(LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        // A crash of whoever wrote it leaves nothing, or zeros.
        let says_something = |old: &Vec<u8>| old.iter().any(|byte| *byte != 0);
        let damaged = old.filter(|old| !is_json(old) && says_something(old));
        let aside = damaged.map(|_| self.path.join(BROKEN_INDEX));
        if aside.is_some() {
            files.rename(INDEX, BROKEN_INDEX)?;
        }
        files.replace(INDEX, &index)?;
        files.sync(".")?;
        Ok(aside)
    }

    /// Those that may not be on the disk yet: what was written here, and what the manifest that the tag means does not name. The rest was
    /// there before that manifest was.
    fn unsure<'a>(&self, files: &Files<'_>, needed: &'a [BlobRef]) -> Vec<&'a BlobRef> {
        // Whatever is wrong with that one, more is brought to the disk then.
        let index = self.index_now(files).ok().flatten();
        let published = index.and_then(|index| self.led_to(files, &index).ok().flatten());
        let published: HashSet<_> =
            published.iter().flat_map(CacheManifest::blobs).map(|(blob, _)| blob.digest).collect();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unsure = |blob: &&BlobRef| written.contains(&blob.digest) || !published.contains(&blob.digest);
        needed.iter().filter(is_unsure).collect()
    }

    /// Brings to the disk what may not be there yet.
    fn sync(&self, files: &Files<'_>, needed: &[BlobRef]) -> Result<(), RemoteError> {
        parallel::map(&self.unsure(files, needed), parallel::REQUESTS, &self.stop, |blob| {
            files.sync(&blob_path(blob.digest))
        })?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(RemoteError::Cancelled);
        }
        BLOBS.match_indices('/').map(|(at, _)| &BLOBS[..at]).chain([BLOBS]).try_for_each(|name| files.sync(name))
    }
}

impl Blobs for Directory {
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        match self.open()? {
            Some(files) if !self.broken.has(blob) => files.keep(&blob_path(blob.digest), blob.size),
            _ => Ok(false),
        }
    }

    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
        let files = self.open()?.ok_or_else(|| self.missing(blob.digest))?;
        Ok(Box::new(self.reader(&files, blob)?))
    }

    fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError> {
        let files = self.create()?;
        if !self.broken.has(blob) && files.keep(&blob_path(blob.digest), blob.size)? {
            return Ok(Sent::Present);
        }
        files.write_blob(&blob_path(blob.digest), blob, content)?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
        self.broken.mend(blob);
        Ok(Sent::New)
    }
}

impl Remote for Directory {
    fn name(&self) -> String {
        format!("directory `{}`", self.path.display())
    }

    fn manifest(&self) -> Result<Option<CacheManifest>, RemoteError> {
        let Some(files) = self.open()? else { return Ok(None) };
        let Some(index) = self.index(&files)? else { return Ok(None) };
        self.led_to(&files, &index)
    }

    fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        let Some(files) = self.open()? else { return Ok(false) };
        Ok(files.find(&blob_path(blob.digest))?.is_some_and(|found| found.size == blob.size))
    }

    fn publish(&self, manifest: &CacheManifest) -> Result<Option<PathBuf>, RemoteError> {
        let files = self.create()?;
        let documents = Documents::of(manifest);
        let all = [&documents.config].into_iter().chain(&documents.manifests).chain(&documents.index);
        let mut needed: Vec<BlobRef> = manifest.blobs().into_iter().map(|(blob, _)| blob).collect();
        for bytes in all {
            let blob = BlobRef::of_bytes(bytes);
            self.write(&blob, Content::Bytes(bytes))?;
            needed.push(blob);
        }
        self.sync(&files, &needed)?;
        self.link(&files, &documents, &needed)
    }

    fn collect_garbage(&self, grace: Duration) -> Result<Collected, RemoteError> {
        garbage::collect(self, grace)
    }
}

fn blob_path(digest: Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

fn tag_of(annotations: Option<&HashMap<String, String>>) -> Option<&String> {
    annotations.and_then(|annotations| annotations.get(REF_NAME))
}
