//! A cache in the config of an image: the records alone, since the image's own layers are its layers. Cache mounts do not fit there.
//!
//! ```json
//! {"architecture":"amd64","rootfs":{…},"kiln.cache.v1":{"created":1790000000,"records":"BASE64"}}
//! ```

use crate::blob::BlobRef;
use crate::error::ManifestProblem;
use crate::manifest::{CacheManifest, CachedLayer, MANIFEST_VERSION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_digest::Digest;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, Platform};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The member of an image's config that holds its cache.
pub const INLINE_KEY: &str = "kiln.cache.v1";

/// Most bytes of a config with a cache in it.
pub(super) const CONFIG_MAX: u64 = 16 << 20;

/// Most images of an index that are looked into.
const IMAGES_MAX: usize = 32;

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A cache that was found in a config.
pub(super) struct Inline {
    pub(super) manifest: CacheManifest,
    pub(super) records: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Member {
    created: u64,
    records: String,
}

/// What becomes the member [`INLINE_KEY`] of an image's config: `records` as they are, made at `created` (seconds since 1970).
pub fn inline_member(created: u64, records: &[u8]) -> Value {
    serde_json::json!(Member { created, records: STANDARD.encode(records) })
}

/// Whether a manifest is that of an image to be run.
pub(super) fn is_image(image: &ImageManifest) -> bool {
    match image.config().media_type() {
        MediaType::ImageConfig => true,
        MediaType::Other(kind) => kind == DOCKER_CONFIG,
        _ => false,
    }
}

/// The images of an index, of one for each platform.
pub(super) fn images(index: &ImageIndex) -> Vec<&Descriptor> {
    let is_image = |child: &&Descriptor| {
        // What is said of an image is for no platform.
        let known = |platform: &Platform| platform.architecture().to_string() != "unknown";
        *child.media_type() != MediaType::ImageIndex && child.platform().as_ref().is_some_and(known)
    };
    index.manifests().iter().filter(is_image).take(IMAGES_MAX).collect()
}

/// Finds the cache in an image's config. A config without one is no error.
pub(super) fn read(config: &[u8], image: &ImageManifest) -> Result<Option<Inline>, ManifestProblem> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
        #[serde(rename = "kiln.cache.v1")]
        cache: Option<Member>,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    let config: Config = serde_json::from_slice(config)?;
    let Some(Member { created, records }) = config.cache else { return Ok(None) };
    let records = STANDARD.decode(records).map_err(ManifestProblem::Base64)?;
    if config.rootfs.diff_ids.len() != image.layers().len() {
        return Err(ManifestProblem::Layers { diff_ids: config.rootfs.diff_ids.len(), blobs: image.layers().len() });
    }
    let layer = |(diff_id, descriptor): (&Digest, &Descriptor)| {
        let blob = super::document::blob_of(descriptor)?;
        Ok(CachedLayer { diff_id: *diff_id, blob, media_type: descriptor.media_type().to_string() })
    };
    let layers: Result<Vec<_>, ManifestProblem> =
        config.rootfs.diff_ids.iter().zip(image.layers()).map(layer).collect();
    let manifest = CacheManifest {
        version: MANIFEST_VERSION,
        created,
        records: BlobRef::of_bytes(&records),
        layers: layers?,
        mounts: Vec::new(),
    };
    manifest.check()?;
    Ok(Some(Inline { manifest, records }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn image() -> ImageManifest {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{LAYER}","size":2}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{LAYER}","size":7}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn records_travel_in_a_config() {
        let mut config =
            serde_json::json!({"architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [LAYER]}});
        assert!(read(config.to_string().as_bytes(), &image()).unwrap().is_none());
        config[INLINE_KEY] = inline_member(5, b"records");
        let found = read(config.to_string().as_bytes(), &image()).unwrap().unwrap();
        assert_eq!((found.records.as_slice(), found.manifest.created), (&b"records"[..], 5));
        assert_eq!(found.manifest.layers[0].blob.size, 7);

        config[INLINE_KEY]["records"] = "?".into();
        assert!(read(config.to_string().as_bytes(), &image()).is_err());
        config[INLINE_KEY] = inline_member(5, b"records");
        config["rootfs"]["diff_ids"] = serde_json::json!([]);
        let problem = read(config.to_string().as_bytes(), &image()).err().unwrap().to_string();
        assert_eq!(problem, "an image of 0 diff ids and 1 layers");
    }
}
