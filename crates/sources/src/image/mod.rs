//! Base images: a reference becomes a config at once, and layers only when a step needs files.
//!
//! - [`Images::resolve`] asks, in this order: kiln's own image store, what an earlier build resolved, the registry. With `pull`
//!   the registry is asked first, every time. Manifests and configs go to the blob store, so that the next build asks nobody.
//! - [`BaseImage::layers`] makes the layers be there: fetched in parallel, verified, and unpacked while they arrive.
//! - An OCI image layout on this machine stands in for a registry.

mod layout;
mod origin;
mod pull;
mod resolve;

pub use layout::LayoutError;
pub use origin::FetchError;
pub use pull::{PullError, PullProgress};
pub use resolve::{ImageError, Images, Resolution};

use kiln_digest::{ContentDigest, Digest, Hasher};
use kiln_lower::ImageConfig;
use kiln_store::LayerId;
use std::sync::{Mutex, PoisonError};

/// An image that steps build on. Its layers are pulled when first asked for, once.
pub struct BaseImage {
    /// What it was resolved to.
    pub resolution: Resolution,
    images: Images,
    layers: Mutex<Option<Vec<LayerId>>>,
}

impl BaseImage {
    /// An image whose layers nobody has asked for yet.
    pub fn new(resolution: Resolution, images: Images) -> Self {
        Self { resolution, images, layers: Mutex::new(None) }
    }

    /// What the image's files are: the chain id of its layers.
    pub fn content(&self) -> ContentDigest {
        let mut hasher = Hasher::new("kiln image content v1");
        if let Some(chain) = chain_ids(&self.resolution.diff_ids).last() {
            hasher.field(chain.as_bytes());
        }
        hasher.content()
    }

    /// The layers, the bottom one first; pulls those that are not here. Who comes second waits for the first.
    ///
    /// # Errors
    /// [`PullError`].
    pub fn layers(&self, progress: &dyn PullProgress) -> Result<Vec<LayerId>, PullError> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layers) = &*layers {
            return Ok(layers.clone());
        }
        let pulled = pull::layers(&self.images, &self.resolution, progress)?;
        Ok(layers.insert(pulled).clone())
    }

    /// The layers, if all of them are here.
    ///
    /// # Errors
    /// Those of the store.
    pub fn layers_if_here(&self) -> Result<Option<Vec<LayerId>>, kiln_store::Error> {
        pull::present(self.images.store(), &self.resolution.diff_ids)
    }

    /// The diff ids of its layers, the lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.resolution.diff_ids
    }

    /// The config.
    pub fn config(&self) -> &ImageConfig {
        &self.resolution.config
    }
}

/// The chain id of each layer with those below it (OCI image-spec, config.md, Layer ChainID).
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => *diff_id,
            Some(below) => Digest::of_bytes(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}
