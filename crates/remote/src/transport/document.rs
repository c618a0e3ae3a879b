//! A cache as OCI documents, which registries and layouts keep whole (OCI image-spec, manifest.md and image-index.md): an image manifest
//! whose config is the [`CacheManifest`] and whose layers are all blobs that it names.
//!
//! A manifest may have 4 MiB, the most that registries take. What needs more is cut into several manifests, each with its share of the
//! blobs and with the same config, below an index.

use crate::blob::BlobRef;
use crate::error::ManifestProblem;
use crate::manifest::CacheManifest;
use kiln_digest::Digest;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, Sha256Digest};
use serde_json::json;
use std::str::FromStr;

/// The media type of a [`CacheManifest`] as a config.
pub(super) const CONFIG_TYPE: &str = "application/vnd.kiln.cache.config.v1+json";

/// Most bytes of a manifest or an index.
pub(super) const DOCUMENT_MAX: u64 = 4 << 20;

/// Most blobs of one manifest. A descriptor has up to 250 bytes.
const BLOBS_MAX: usize = 10_000;

/// The documents that make up a published cache.
pub(super) struct Documents {
    pub(super) config: Vec<u8>,
    /// At least one.
    pub(super) manifests: Vec<Vec<u8>>,
    /// What refers to them, if they are several.
    pub(super) index: Option<Vec<u8>>,
}

impl Documents {
    pub(super) fn of(manifest: &CacheManifest) -> Self {
        Self::cut(manifest, BLOBS_MAX)
    }

    /// With at most so many blobs in each manifest.
    pub(super) fn cut(manifest: &CacheManifest, most: usize) -> Self {
        let config = manifest.to_json();
        let config_ref = descriptor(&BlobRef::of_bytes(&config), CONFIG_TYPE);
        let blobs: Vec<_> =
            manifest.blobs().into_iter().map(|(blob, media_type)| descriptor(&blob, media_type)).collect();
        let image = |layers: &[Descriptor]| {
            let document = json!({
                "schemaVersion": 2,
                "mediaType": MediaType::ImageManifest.as_ref(),
                "config": config_ref,
                "layers": layers,
            });
            document.to_string().into_bytes()
        };
        let manifests: Vec<_> = blobs.chunks(most).map(image).collect();
        let index = (manifests.len() > 1).then(|| {
            let children: Vec<_> = manifests.iter().map(|bytes| describe(bytes, MediaType::ImageManifest)).collect();
            let document = json!({
                "schemaVersion": 2,
                "mediaType": MediaType::ImageIndex.as_ref(),
                "manifests": children,
            });
            document.to_string().into_bytes()
        });
        Self { config, manifests, index }
    }

    /// The document that stands for all, and what it is.
    pub(super) fn root(&self) -> (&[u8], MediaType) {
        match &self.index {
            Some(index) => (index, MediaType::ImageIndex),
            None => (&self.manifests[0], MediaType::ImageManifest),
        }
    }
}

/// What describes a document.
pub(super) fn describe(bytes: &[u8], media_type: MediaType) -> Descriptor {
    descriptor(&BlobRef::of_bytes(bytes), media_type)
}

pub(super) fn descriptor(blob: &BlobRef, media_type: impl Into<MediaType>) -> Descriptor {
    let digest = Sha256Digest::from_str(&blob.digest.hex()).expect("64 lower-case hexadecimal digits");
    Descriptor::new(media_type.into(), blob.size, digest)
}

/// The blob that a descriptor means.
pub(super) fn blob_of(descriptor: &Descriptor) -> Result<BlobRef, ManifestProblem> {
    let digest: Digest = descriptor.digest().to_string().parse()?;
    Ok(BlobRef { digest, size: descriptor.size() })
}

/// An index's first child, which alone leads to the config; an error if it is not one of kiln's.
pub(super) fn first_child(index: &ImageIndex) -> Result<&Descriptor, ManifestProblem> {
    let first = index.manifests().first();
    first
        .filter(|child| *child.media_type() == MediaType::ImageManifest && child.platform().is_none())
        .ok_or_else(|| ManifestProblem::Foreign("an index of images".to_owned()))
}

/// The blob with the [`CacheManifest`]; an error if it is not one of kiln's.
pub(super) fn config_of(image: &ImageManifest) -> Result<BlobRef, ManifestProblem> {
    match image.config().media_type() {
        MediaType::Other(kind) if kind == CONFIG_TYPE => blob_of(image.config()),
        other => {
            Err(ManifestProblem::Foreign(other.to_string().chars().filter(|c| !c.is_control()).take(127).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::example;

    #[test]
    fn a_cache_is_one_manifest_or_several_below_an_index() {
        let (manifest, contents) = example("a");
        let whole = Documents::of(&manifest);
        assert!(whole.index.is_none());
        let image = ImageManifest::from_reader(whole.root().0).unwrap();
        assert_eq!(config_of(&image).unwrap(), BlobRef::of_bytes(&whole.config));
        assert_eq!(image.layers().len(), contents.len());

        let cut = Documents::cut(&manifest, 3);
        let index = ImageIndex::from_reader(cut.root().0).unwrap();
        assert_eq!(blob_of(first_child(&index).unwrap()).unwrap(), BlobRef::of_bytes(&cut.manifests[0]));
        let layers: Vec<_> = cut
            .manifests
            .iter()
            .flat_map(|bytes| ImageManifest::from_reader(&bytes[..]).unwrap().layers().clone())
            .map(|layer| blob_of(&layer).unwrap())
            .collect();
        assert_eq!(layers, contents.iter().map(|bytes| BlobRef::of_bytes(bytes)).collect::<Vec<_>>());
    }

    #[test]
    fn most_blobs_fit_what_registries_take() {
        let longest = descriptor(
            &BlobRef { digest: Digest::of_bytes(b""), size: u64::MAX },
            format!("a/{}", "b".repeat(125)).as_str(),
        );
        assert!(serde_json::to_vec(&longest).unwrap().len() * BLOBS_MAX < DOCUMENT_MAX as usize);
    }
}
