//! A cache in a registry: a tag of a repository, which is an image manifest or an index of several (see [`super::document`]), so that the
//! registry keeps its blobs for as long as the tag stands. A tag that is an image instead may have a cache in its config
//! ([`super::inline`]).
//!
//! A registry deletes what no manifest names by itself, or when its owner says so.

#[cfg(test)]
mod tests;

use super::document::{self, Documents, blob_of, config_of, first_child};
use super::inline::{self, Inline};
use super::{Access, Blobs, Broken, Collected, Remote};
use crate::blob::{BlobRef, Content, Sent};
use crate::error::{ManifestProblem, RemoteError};
use crate::manifest::{CacheManifest, MANIFEST_MAX};
use kiln_registry::{
    BlobReader, BlobSource, Client, Descriptor, ImageManifest, Manifest, MediaType, Pushed, Reference, RegistryError,
    Upload, Watch,
};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One tag of a repository.
pub(super) struct Registry {
    client: Client,
    reference: Reference,
    stop: Arc<AtomicBool>,
    /// Repositories of the same registry that may have its layers.
    mount_from: Vec<String>,
    broken: Broken,
    /// What was found in an image's config, and is no blob of the repository.
    inline: OnceLock<Inline>,
}

impl Registry {
    /// Takes blobs over from those of the repositories [`Access::pushed`] that are in the same registry, where they have them.
    pub(super) fn new(client: Client, reference: &Reference, access: &Access) -> Self {
        let own = reference.repository();
        let others = access.pushed.iter().filter(|other| other.registry() == own.registry() && *other != own);
        let mount_from = others.map(|other| other.name().to_owned()).collect();
        let (reference, stop, broken) = (reference.clone(), Arc::clone(&access.stop), Broken::of(access));
        Self { client, reference, stop, mount_from, broken, inline: OnceLock::new() }
    }

    fn open(&self, blob: &BlobRef) -> Result<BlobReader, RemoteError> {
        let descriptor = document::descriptor(blob, "application/octet-stream");
        Ok(self.client.blob(self.reference.repository(), &descriptor)?)
    }

    /// A blob that must be a document of at most `limit` bytes.
    fn document(&self, blob: &BlobRef, limit: u64) -> Result<Vec<u8>, RemoteError> {
        if blob.size > limit {
            return Err(self.unusable(ManifestProblem::TooLarge { size: blob.size, limit }));
        }
        let mut bytes = Vec::new();
        match self.open(blob)?.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => match error.downcast::<RegistryError>() {
                Ok(error) => Err(error.into()),
                Err(_) => Err(RemoteError::Corrupt { place: self.name(), blob: *blob }),
            },
        }
    }

    fn image(&self, child: &Descriptor) -> Result<Box<ImageManifest>, RemoteError> {
        let blob = blob_of(child).map_err(|problem| self.unusable(problem))?;
        let fetched = self.client.manifest(&self.reference.repository().with_digest(blob.digest))?;
        match fetched.manifest {
            Manifest::Image(image) => Ok(image),
            Manifest::Index(_) => Err(self.unusable(ManifestProblem::Foreign("an index of indexes".to_owned()))),
        }
    }

    /// The cache in the configs of images, if one of them has it. The images of one build all have the same records, each with its own
    /// layers.
    fn inline(&self, images: &[Box<ImageManifest>]) -> Result<Option<CacheManifest>, RemoteError> {
        let mut all: Option<Inline> = None;
        for image in images {
            let config = blob_of(image.config()).map_err(|problem| self.unusable(problem))?;
            let bytes = self.document(&config, inline::CONFIG_MAX)?;
            let found = inline::read(&bytes, image).map_err(|problem| self.unusable(problem))?;
            match (&mut all, found) {
                (Some(all), Some(found)) => all.manifest.layers.extend(found.manifest.layers),
                (all, found) => *all = all.take().or(found),
            }
        }
        Ok(all.map(|all| self.inline.get_or_init(|| all).manifest.clone()))
    }

    /// The cache that a manifest leads to.
    fn cache(&self, image: &ImageManifest) -> Result<CacheManifest, RemoteError> {
        let config = config_of(image).map_err(|problem| self.unusable(problem))?;
        let bytes = self.document(&config, MANIFEST_MAX)?;
        CacheManifest::from_json(&bytes).map_err(|problem| self.unusable(problem))
    }

    fn inline_blob(&self, blob: &BlobRef) -> Option<&Inline> {
        self.inline.get().filter(|inline| inline.manifest.records == *blob)
    }

    fn unusable(&self, problem: impl Into<ManifestProblem>) -> RemoteError {
        RemoteError::Manifest { place: self.name(), problem: problem.into() }
    }

    fn push(&self, blob: &BlobRef, source: BlobSource) -> Result<Pushed, RemoteError> {
        let upload = Upload {
            digest: blob.digest,
            size: blob.size,
            source,
            mount_from: self.mount_from.clone(),
            watch: Watch::stopped_by(Arc::clone(&self.stop)),
        };
        Ok(self.client.push_blob(self.reference.repository(), &upload)?)
    }

    /// Puts the documents of a cache, the one that stands for all at last.
    fn put(&self, documents: &Documents) -> Result<(), RemoteError> {
        // The registry itself sees to it that all blobs of a manifest are there, and all manifests of an index.
        self.push(&BlobRef::of_bytes(&documents.config), BlobSource::Bytes(documents.config.as_slice().into()))?;
        let repository = self.reference.repository();
        if documents.index.is_some() {
            for bytes in &documents.manifests {
                let digest = BlobRef::of_bytes(bytes).digest;
                self.client.push_manifest(&repository.with_digest(digest), &MediaType::ImageManifest, bytes)?;
            }
        }
        let (bytes, media_type) = documents.root();
        self.client.push_manifest(&self.reference, &media_type, bytes)?;
        Ok(())
    }
}

impl Blobs for Registry {
    /// No request keeps a blob from the registry's own garbage collection; it takes no manifest of which a blob is missing.
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        if self.broken.has(blob) {
            return Ok(false);
        }
        self.has(blob)
    }

    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
        match self.inline_blob(blob) {
            Some(inline) => Ok(Box::new(std::io::Cursor::new(inline.records.clone()))),
            None => Ok(Box::new(self.open(blob)?)),
        }
    }

    fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError> {
        let source = match content {
            Content::Bytes(bytes) => BlobSource::Bytes(bytes.into()),
            Content::File(path) => BlobSource::File(path.to_owned()),
        };
        let pushed = self.push(blob, source)?;
        // Nor does any request make a registry take a blob anew that it has; it has verified that one.
        self.broken.mend(blob);
        match pushed {
            Pushed::Existed | Pushed::Mounted => Ok(Sent::Present),
            Pushed::Sent => Ok(Sent::New),
        }
    }
}

impl Remote for Registry {
    fn name(&self) -> String {
        format!("registry `{}`", self.reference)
    }

    fn manifest(&self) -> Result<Option<CacheManifest>, RemoteError> {
        let fetched = match self.client.manifest(&self.reference) {
            Ok(fetched) => fetched,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match fetched.manifest {
            Manifest::Image(image) if inline::is_image(&image) => self.inline(&[image]),
            Manifest::Image(image) => self.cache(&image).map(Some),
            Manifest::Index(index) => match inline::images(&index) {
                images if images.is_empty() => {
                    let child = first_child(&index).map_err(|problem| self.unusable(problem))?;
                    self.cache(&*self.image(child)?).map(Some)
                }
                images => {
                    let images = images.into_iter().map(|child| self.image(child));
                    self.inline(&images.collect::<Result<Vec<_>, _>>()?)
                }
            },
        }
    }

    fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        Ok(self.inline_blob(blob).is_some() || self.client.has_blob(self.reference.repository(), &blob.digest)?)
    }

    fn publish(&self, manifest: &CacheManifest) -> Result<Option<PathBuf>, RemoteError> {
        if self.inline.get().is_some() {
            let what = format!("putting a cache in the place of {}, which is an image with its own,", self.name());
            return Err(RemoteError::Unsupported { what });
        }
        self.put(&Documents::of(manifest)).map(|()| None)
    }

    fn collect_garbage(&self, _: Duration) -> Result<Collected, RemoteError> {
        Err(RemoteError::Unsupported {
            what: format!("deleting blobs of {}, which its owner's garbage collection does,", self.name()),
        })
    }
}
