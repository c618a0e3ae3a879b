//! From layers to blobs and a manifest. A layer is compressed once ever for each format: the store remembers the blob by the
//! layer's diff id. Blobs of a base image are used as they were pulled.

use crate::assembly::Document;
use kiln_digest::Digest;
use kiln_layer::{BlobFormat, PackOptions, Stoppable, write_layer};
use kiln_lower::ImageConfig;
use kiln_store::{BlobInfo, LayerId, Store};
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::AtomicBool;

/// One layer of an image that is to be packed.
#[derive(Debug, Clone)]
pub enum LayerSource {
    /// A layer of a base image, with its blob in the store.
    Blob {
        /// The digest of its uncompressed tar.
        diff_id: Digest,
        /// The blob as it was pulled.
        blob: BlobInfo,
    },
    /// A layer of the store.
    Layer {
        /// The layer.
        id: LayerId,
        /// The digest of its uncompressed tar, if it is known.
        diff_id: Option<Digest>,
    },
}

/// The image of one platform as blobs; those of the layers are in the store.
#[derive(Debug, Clone)]
pub struct ImageBlobs {
    /// The config.
    pub config: Vec<u8>,
    /// Its digest: the image's id.
    pub config_digest: Digest,
    /// The manifest.
    pub manifest: Document,
    /// The layers, the bottom one first.
    pub layers: Vec<BlobInfo>,
    /// The platform, as an index describes it.
    pub platform: Value,
}

/// Why an image could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A layer could not be compressed.
    #[error("failed to pack layer `{layer}`")]
    Layer {
        /// The layer.
        layer: LayerId,
        /// The cause.
        source: Box<kiln_layer::PackError>,
    },
    /// A layer is not what it was.
    #[error(
        "layer `{layer}` changed since it was made\nhint: somebody wrote into the store; `kiln prune --all` starts it anew"
    )]
    Changed {
        /// The layer.
        layer: LayerId,
    },
    /// A blob could not be stored.
    #[error("failed to store a packed layer")]
    Blob(#[from] kiln_store::BlobError),
    /// A layer is gone.
    #[error(transparent)]
    Missing(#[from] kiln_store::LayerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// The config cannot be written.
    #[error("failed to write the image's config")]
    Config(#[source] serde_json::Error),
}

impl ImageBlobs {
    /// Media type of the manifest.
    pub const MANIFEST_TYPE: &'static str = "application/vnd.oci.image.manifest.v1+json";
}

/// The digest of a layer's uncompressed tar: from the store, or computed now and remembered. Fails once `stop` is true.
///
/// # Errors
/// [`PackError`].
pub fn diff_id(store: &Store, id: LayerId, options: &PackOptions, stop: &AtomicBool) -> Result<Digest, PackError> {
    if options.latest.is_none()
        && let Some(known) = store.layer(id)?.and_then(|layer| layer.diff_id)
    {
        return Ok(known);
    }
    let packed = kiln_layer::pack(&store.layer_path(id), Stoppable::new(io::sink(), stop), options)
        .map_err(|source| PackError::Layer { layer: id, source: Box::new(source) })?;
    if options.latest.is_none() {
        store.set_diff_id(id, packed.diff_id, packed.size)?;
    }
    Ok(packed.diff_id)
}

/// Packs an image. `config` gets the diff ids of the layers. Fails once `stop` is true.
///
/// # Errors
/// [`PackError`].
pub fn pack(
    store: &Store,
    mut config: ImageConfig,
    layers: &[LayerSource],
    format: BlobFormat,
    options: &PackOptions,
    progress: &dyn Fn(&str, u64),
    stop: &AtomicBool,
) -> Result<ImageBlobs, PackError> {
    let mut blobs = Vec::with_capacity(layers.len());
    let mut diff_ids = Vec::with_capacity(layers.len());
    for layer in layers {
        let (diff_id, blob) = match layer {
            LayerSource::Blob { diff_id, blob } => (*diff_id, blob.clone()),
            LayerSource::Layer { id, diff_id } => compressed(store, *id, *diff_id, format, options, progress, stop)?,
        };
        diff_ids.push(diff_id.to_string());
        blobs.push(blob);
    }
    config.rootfs.diff_ids = diff_ids;
    let platform = platform(&config);
    let config = serde_json::to_vec(&config).map_err(PackError::Config)?;
    let config_digest = Digest::of_bytes(&config);
    let descriptor =
        |blob: &BlobInfo| json!({ "mediaType": blob.media_type, "digest": blob.digest.to_string(), "size": blob.size });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": ImageBlobs::MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest.to_string(),
            "size": config.len(),
        },
        "layers": blobs.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let manifest = Document::new(ImageBlobs::MANIFEST_TYPE, manifest.to_string().into_bytes());
    Ok(ImageBlobs { config, config_digest, manifest, layers: blobs, platform })
}

fn platform(config: &ImageConfig) -> Value {
    let mut platform = json!({ "architecture": config.architecture, "os": config.os });
    if let Some(variant) = &config.variant {
        platform["variant"] = json!(variant);
    }
    platform
}

/// The blob of a layer: the one that the store remembers, or a new one.
fn compressed(
    store: &Store,
    id: LayerId,
    known: Option<Digest>,
    format: BlobFormat,
    options: &PackOptions,
    progress: &dyn Fn(&str, u64),
    stop: &AtomicBool,
) -> Result<(Digest, BlobInfo), PackError> {
    let variant = variant(format);
    let rewritten = options.latest.is_some();
    if let (Some(diff_id), false) = (known, rewritten)
        && let Some(blob) = store.layer_blob(&diff_id, &variant)?
    {
        return Ok((diff_id, blob));
    }
    let mut writer = store.blob_writer()?;
    let written = write_layer(&store.layer_path(id), format, &mut Stoppable::new(&mut writer, stop), options)
        .map_err(|source| PackError::Layer { layer: id, source: Box::new(source) })?;
    if known.is_some_and(|known| known != written.diff_id) && !rewritten {
        return Err(PackError::Changed { layer: id });
    }
    writer.commit(Some(&written.blob))?;
    let blob = BlobInfo { digest: written.blob, size: written.blob_size, media_type: format.media_type().to_owned() };
    progress(&id.to_string(), written.blob_size);
    store.put_layer_blob(&written.diff_id, &variant, &blob)?;
    if known.is_none() && !rewritten {
        store.set_diff_id(id, written.diff_id, written.uncompressed_size)?;
    }
    Ok((written.diff_id, blob))
}

/// The name under which the store remembers a compressed form. The bytes depend on library and level: a change of either must
/// change the name.
fn variant(format: BlobFormat) -> String {
    match format {
        BlobFormat::Tar => "tar".to_owned(),
        BlobFormat::Gzip => "gzip:1".to_owned(),
        BlobFormat::Zstd => "zstd:1".to_owned(),
    }
}
