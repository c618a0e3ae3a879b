//! What is in the store, and getting rid of it.

use crate::engine::Engine;
use crate::error::EngineError;
use kiln_digest::Digest;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub use kiln_store::{CacheMountInfo, CacheMountKey, MountId, Pruned, RemovedMounts, Usage, UsageKind, UsageRow};

/// One image, as `kiln images` lists it.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// The canonical name; `<none>@DIGEST` for an image without one.
    pub name: String,
    /// The image's id: the digest of its config.
    pub id: Digest,
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// When it was built or pulled.
    pub created: SystemTime,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Whether it came from a registry.
    pub pulled: bool,
}

/// What `kiln prune` takes away.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneRequest {
    /// Everything that no built image needs, cache mounts included, instead of what no image needs.
    pub all: bool,
    /// With `all`: not the cache mounts.
    pub keep_mounts: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Only so much, least recently used first, that the store has at most so many bytes.
    pub max_size: Option<u64>,
}

impl Engine {
    /// All images, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_images(&self) -> Result<Vec<ImageSummary>, EngineError> {
        let images = self.store().images().map_err(EngineError::store)?;
        Ok(images.into_iter().map(summary).collect())
    }

    /// Takes names away from images; what only they needed goes with the next prune.
    ///
    /// # Errors
    /// If there is no such image, or the id is ambiguous.
    pub fn remove_image(&self, name_or_id: &str) -> Result<Vec<ImageSummary>, EngineError> {
        // A name as people write it, unless it is an id.
        let name = kiln_registry::Reference::parse(name_or_id).map(|name| name.to_string());
        let known = match &name {
            Ok(name) => self.store().images().map_err(EngineError::store)?.iter().any(|image| image.name == *name),
            Err(_) => false,
        };
        let wanted = if known { name.unwrap_or_default() } else { name_or_id.to_owned() };
        let removed = self.store().remove_image(&wanted).map_err(EngineError::from_store_image)?;
        Ok(removed.into_iter().map(summary).collect())
    }

    /// What takes up space.
    ///
    /// # Errors
    /// Those of the store.
    pub fn disk_usage(&self) -> Result<Usage, EngineError> {
        self.store().du().map_err(EngineError::store)
    }

    /// All cache mounts, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountInfo>, EngineError> {
        self.store().cache_mounts().map_err(EngineError::store)
    }

    /// Removes cache mounts, except those that a step is using.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove_cache_mounts(&self, ids: &[MountId]) -> Result<RemovedMounts, EngineError> {
        self.store().remove_cache_mounts(ids).map_err(EngineError::store)
    }

    /// Frees space.
    ///
    /// # Errors
    /// Those of the store.
    pub fn prune(&self, request: PruneRequest) -> Result<Pruned, EngineError> {
        let PruneRequest { all, keep_mounts, older_than, max_size } = request;
        let options = kiln_store::PruneOptions { all, keep_mounts, older_than, max_size };
        let mut first = Pruned::default();
        if let Some(most) = max_size {
            first = self.store().prune(&options).map_err(EngineError::store)?;
            // Images without a name go only when what else may go is not enough.
            if self.disk_usage()?.total <= most {
                return Ok(first);
            }
        }
        let unnamed = match self.remove_unnamed(older_than) {
            // What is freed without it makes room for it.
            Err(kiln_store::ImageError::Store(error)) if error.is_full() => {
                first = self.store().prune(&options).map_err(EngineError::store)?;
                self.remove_unnamed(older_than)
            }
            removed => removed,
        };
        first.images += unnamed.map_err(EngineError::from_store_image)?;
        let then = self.store().prune(&options).map_err(EngineError::store)?;
        Ok(Pruned {
            records: first.records + then.records,
            layers: first.layers + then.layers,
            blobs: first.blobs + then.blobs,
            mounts: first.mounts + then.mounts,
            images: first.images + then.images,
            builds: first.builds + then.builds,
            bytes: first.bytes + then.bytes,
        })
    }

    /// An image without a name is nobody's but its builder's, who has seen its id.
    /// How many have gone.
    fn remove_unnamed(&self, older_than: Option<Duration>) -> Result<u64, kiln_store::ImageError> {
        // An image for several platforms is there once for each.
        let mut unnamed = BTreeSet::new();
        for image in self.store().images()?.into_iter().filter(|image| image.name.starts_with("<none>@")) {
            // One from the future is as young as can be.
            if image.created.elapsed().unwrap_or_default() >= older_than.unwrap_or_default() {
                unnamed.insert(image.name);
            }
        }
        for name in &unnamed {
            match self.store().remove_image(name) {
                // Somebody else was quicker.
                Err(kiln_store::ImageError::NotFound(_)) | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(unnamed.len() as u64)
    }
}

fn summary(image: kiln_store::Image) -> ImageSummary {
    ImageSummary {
        name: image.name,
        id: image.config,
        platform: image.platform,
        created: image.created,
        size: image.size,
        pulled: image.pulled,
    }
}
