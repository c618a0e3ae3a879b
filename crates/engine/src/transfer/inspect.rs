//! What an image is: its documents, of the store or of a registry.

use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use kiln_digest::Digest;
use kiln_graph::Platform;
use kiln_registry::{Manifest, Reference};
use kiln_store::Image;
use serde_json::Value;

/// An image of one platform or several.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// Its canonical name.
    pub name: String,
    /// The digest of its index, or of its only manifest; absent for an image that was never packed.
    pub digest: Option<Digest>,
    /// The index, if there is one.
    pub index: Option<Value>,
    /// One for each platform.
    pub platforms: Vec<PlatformDetails>,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct PlatformDetails {
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// The image's id: the digest of its config.
    pub id: Digest,
    /// The digest of its manifest, if it has one.
    pub digest: Option<Digest>,
    /// The manifest.
    pub manifest: Option<Value>,
    /// The config.
    pub config: Value,
    /// Bytes of its layers, unpacked; unknown for an image that is not here.
    pub size: Option<u64>,
}

impl Engine {
    /// Looks into an image of the store, by name or id, or else into one of a registry, of which only documents are fetched.
    ///
    /// # Errors
    /// If there is no such image; the registry's.
    pub fn inspect_image(&self, name_or_id: &str, cancel: &CancelToken) -> Result<ImageDetails, EngineError> {
        let images = self.find_images(name_or_id)?;
        if images.is_empty() { self.inspect_remote(name_or_id, cancel) } else { self.inspect_stored(&images) }
    }

    fn inspect_stored(&self, images: &[Image]) -> Result<ImageDetails, EngineError> {
        let mut platforms = Vec::with_capacity(images.len());
        for image in images {
            platforms.push(PlatformDetails {
                platform: image.platform.clone(),
                id: image.config,
                digest: image.manifest,
                manifest: image.manifest.map(|digest| self.read(&digest)).transpose()?,
                config: self.read(&image.config)?,
                size: Some(image.size),
            });
        }
        let first = &images[0];
        Ok(ImageDetails {
            name: first.name.clone(),
            digest: first.index.or(first.manifest),
            index: first.index.map(|digest| self.read(&digest)).transpose()?,
            platforms,
        })
    }

    fn inspect_remote(&self, name: &str, cancel: &CancelToken) -> Result<ImageDetails, EngineError> {
        let reference = Reference::parse(name).map_err(EngineError::user)?;
        let fetched = self.client().manifest(&reference).map_err(EngineError::from_registry)?;
        let (wanted, index) = match &fetched.manifest {
            Manifest::Image(_) => (vec![Platform::host()], None),
            Manifest::Index(index) => {
                let platforms = index.manifests().iter().filter_map(|entry| entry.platform().as_ref());
                let known = platforms.filter(|platform| platform.os().to_string() != "unknown").map(|platform| {
                    let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
                    Platform::from_parts(&os, &architecture, platform.variant().as_deref())
                });
                (known.collect(), Some(json(&fetched.bytes)?))
            }
        };
        let stop = || cancel.is_cancelled();
        let mut platforms = Vec::with_capacity(wanted.len());
        for platform in &wanted {
            // By digest, so that all of it is of the same moment.
            let pinned = reference.with_digest(fetched.digest).to_string();
            let found = self.registry().resolve(&pinned, platform, false, &stop).map_err(EngineError::from_image)?;
            platforms.push(PlatformDetails {
                platform: found.platform.to_string(),
                id: found.config_digest,
                digest: Some(found.digest),
                manifest: Some(self.read(&found.digest)?),
                config: self.read(&found.config_digest)?,
                size: None,
            });
        }
        Ok(ImageDetails { name: reference.to_string(), digest: Some(fetched.digest), index, platforms })
    }

    fn read(&self, digest: &Digest) -> Result<Value, EngineError> {
        json(&self.document(digest)?)
    }
}

fn json(bytes: &[u8]) -> Result<Value, EngineError> {
    serde_json::from_slice(bytes)
        .map_err(|error| EngineError::new(ErrorKind::User, "malformed document of the image").with_source(error))
}
