//! From layers to blobs and a manifest. A layer is compressed once ever for each format and level: the store remembers the blob by
//! the layer's diff id. Blobs of a base image are used as they were pulled, unless another compression is to be forced on them. Of a layer
//! that is nearly an earlier one, only what differs is compressed ([`crate::blocks`]).
//!
//! The tar stream of a layer may be changed on the way ([`converted`]), and the layer's diff id with it. A memo says which it became.

use crate::assembly::Document;
use crate::blocks::Blocks;
use crate::converted::{self, Converted};
use crate::media_types::MediaTypes;
use kiln_digest::Digest;
use kiln_layer::{
    BlobCompression, BlobFormat, PackOptions, Stoppable, decompress_ahead, write_layer_again, write_stream,
};
use kiln_lower::ImageConfig;
use kiln_store::{AS_PULLED, BlobInfo, LayerId, Store};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;

/// Annotations: values by names.
pub type Annotations = BTreeMap<String, String>;

/// How an image is packed.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// How layers are compressed.
    pub compression: BlobCompression,
    /// Whether layers of base images are compressed so, too.
    pub force: bool,
    /// Whose media types its documents and layers have.
    pub media_types: MediaTypes,
    /// Annotations of the manifest.
    pub annotations: Annotations,
    /// Annotations of the manifest's descriptor.
    pub descriptor_annotations: Annotations,
}

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
    /// A layer of an image of the store: as it was pulled, if it was, or else as a layer that was made here.
    Stored {
        /// The layer.
        id: LayerId,
        /// The digest of its uncompressed tar.
        diff_id: Digest,
    },
    /// A layer that was made here.
    Layer {
        /// The layer.
        id: LayerId,
        /// The digest of its uncompressed tar, if it is known.
        diff_id: Option<Digest>,
        /// How it becomes a tar.
        tar: PackOptions,
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
    /// Annotations of the manifest's descriptor.
    pub descriptor_annotations: Annotations,
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
    /// A layer of a base image could not be compressed again.
    #[error("failed to compress blob `{blob}` again")]
    Again {
        /// The blob.
        blob: Digest,
        /// The cause.
        source: Box<kiln_layer::PackError>,
    },
    /// A blob is not what it was.
    #[error(
        "blob `{blob}` changed since it was pulled\nhint: somebody wrote into the store; `kiln prune --all` starts it anew"
    )]
    OtherBlob {
        /// The blob.
        blob: Digest,
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
    /// The table of contents of an eStargz blob could not be read.
    #[error("failed to read the table of contents of blob `{blob}`")]
    Contents {
        /// The blob.
        blob: Digest,
        /// The cause.
        source: io::Error,
    },
    /// The config cannot be written.
    #[error("failed to write the image's config")]
    Config(#[source] serde_json::Error),
}

/// The digest of a layer's uncompressed tar: from the store, or computed now and remembered. Fails once `stop` is true.
///
/// # Errors
/// [`PackError`].
pub fn diff_id(store: &Store, id: LayerId, stop: &AtomicBool) -> Result<Digest, PackError> {
    if let Some(known) = store.layer(id)?.and_then(|layer| layer.diff_id) {
        return Ok(known);
    }
    let packed = kiln_layer::pack(&store.layer_path(id), Stoppable::new(io::sink(), stop), &PackOptions::default())
        .map_err(|source| PackError::Layer { layer: id, source: Box::new(source) })?;
    store.set_diff_id(id, packed.diff_id, packed.size)?;
    Ok(packed.diff_id)
}

/// The blob of a layer that a step made, with the digest of its uncompressed tar: the one that the store remembers, or a new one. Fails
/// once `stop` is true.
///
/// # Errors
/// [`PackError`].
pub fn layer_blob(
    store: &Store,
    id: LayerId,
    compression: BlobCompression,
    stop: &AtomicBool,
) -> Result<(Digest, BlobInfo), PackError> {
    let known = store.layer(id)?.and_then(|layer| layer.diff_id);
    compressed(store, id, known, &PackOptions::default(), compression, &|_, _| {}, stop)
}

/// Packs an image. `config` gets the diff ids of the layers. Fails once `stop` is true.
///
/// # Errors
/// [`PackError`].
pub fn pack(
    store: &Store,
    config: ImageConfig,
    layers: &[LayerSource],
    packing: &Packing,
    progress: &dyn Fn(&str, u64),
    stop: &AtomicBool,
) -> Result<ImageBlobs, PackError> {
    let mut described = Vec::with_capacity(layers.len());
    for layer in layers {
        let (diff_id, blob) = match layer {
            LayerSource::Blob { diff_id, blob } => {
                again(store, *diff_id, blob, packing, progress, stop)?.unwrap_or_else(|| (*diff_id, blob.clone()))
            }
            LayerSource::Stored { id, diff_id } => match store.layer_blob(diff_id, AS_PULLED)? {
                Some(blob) => {
                    again(store, *diff_id, &blob, packing, progress, stop)?.unwrap_or_else(|| (*diff_id, blob.clone()))
                }
                None => {
                    let tar = PackOptions::default();
                    compressed(store, *id, Some(*diff_id), &tar, packing.compression, progress, stop)?
                }
            },
            LayerSource::Layer { id, diff_id, tar } => {
                compressed(store, *id, *diff_id, tar, packing.compression, progress, stop)?
            }
        };
        let annotations = match packing.compression.format {
            BlobFormat::Estargz => converted::annotations(store, &blob)?,
            _ => Annotations::new(),
        };
        described.push(PackedLayer { diff_id, blob, annotations });
    }
    describe(config, described, packing)
}

/// A layer as a manifest describes it.
pub(crate) struct PackedLayer {
    pub(crate) diff_id: Digest,
    pub(crate) blob: BlobInfo,
    /// Of its descriptor.
    pub(crate) annotations: Annotations,
}

/// Puts blobs together with the config and the manifest that describe them.
pub(crate) fn describe(
    mut config: ImageConfig,
    mut layers: Vec<PackedLayer>,
    packing: &Packing,
) -> Result<ImageBlobs, PackError> {
    let types = packing.media_types;
    layers.iter_mut().for_each(|layer| layer.blob.media_type = types.layer(&layer.blob.media_type).to_owned());
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let platform = platform(&config);
    let config = serde_json::to_vec(&config).map_err(PackError::Config)?;
    let config_digest = Digest::of_bytes(&config);
    let descriptor = |PackedLayer { blob, annotations, .. }: &PackedLayer| {
        let mut descriptor =
            json!({ "mediaType": blob.media_type, "digest": blob.digest.to_string(), "size": blob.size });
        annotate(&mut descriptor, annotations);
        descriptor
    };
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": types.manifest(),
        "config": { "mediaType": types.config(), "digest": config_digest.to_string(), "size": config.len() },
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    });
    annotate(&mut manifest, &packing.annotations);
    let manifest = Document::new(types.manifest(), manifest.to_string().into_bytes());
    let descriptor_annotations = packing.descriptor_annotations.clone();
    let layers = layers.into_iter().map(|layer| layer.blob).collect();
    Ok(ImageBlobs { config, config_digest, manifest, layers, platform, descriptor_annotations })
}

/// Adds annotations to a document or a descriptor.
pub(crate) fn annotate(document: &mut Value, annotations: &Annotations) {
    if annotations.is_empty() {
        return;
    }
    if document["annotations"].is_null() {
        document["annotations"] = Value::Object(Map::new());
    }
    for (key, value) in annotations {
        document["annotations"][key] = json!(value);
    }
}

/// A blob of a base image in another compression, with its diff id, if that is wanted and it has another one: the one that the store
/// remembers, or a new one.
fn again(
    store: &Store,
    diff_id: Digest,
    blob: &BlobInfo,
    packing: &Packing,
    progress: &dyn Fn(&str, u64),
    stop: &AtomicBool,
) -> Result<Option<(Digest, BlobInfo)>, PackError> {
    let wanted = packing.compression.format;
    let has_it = || match wanted {
        BlobFormat::Estargz => Ok(!converted::annotations(store, blob)?.is_empty()),
        _ => Ok::<_, PackError>(MediaTypes::Oci.layer(&blob.media_type) == wanted.media_type()),
    };
    if !packing.force || has_it()? {
        return Ok(None);
    }
    let name = packing.compression.name();
    let converted = Converted::of_base(diff_id, packing.compression);
    let known = converted.diff_id(store, Some(diff_id))?;
    if let Some(known) = known
        && let Some(blob) = store.layer_blob(&known, &name)?
    {
        return Ok(Some((known, blob)));
    }
    let (file, _) = store.open_blob(&blob.digest)?;
    let failed = |source| PackError::Again { blob: blob.digest, source: Box::new(source) };
    let mut stream = decompress_ahead(file).map_err(|error| failed(kiln_layer::PackError::Read(error)))?;
    let mut writer = store.blob_writer()?;
    let written =
        write_stream(&mut stream, packing.compression, &mut Stoppable::new(&mut writer, stop)).map_err(failed)?;
    // It was verified when it was pulled; a blob that somebody has changed since must not become an image.
    if written.source != diff_id || known.is_some_and(|known| known != written.diff_id) {
        return Err(PackError::OtherBlob { blob: blob.digest });
    }
    writer.commit(Some(&written.blob))?;
    let new = BlobInfo { digest: written.blob, size: written.blob_size, media_type: wanted.media_type().to_owned() };
    progress(&blob.digest.short(), written.blob_size);
    store.put_layer_blob(&written.diff_id, &name, &new)?;
    converted.remember(store, written.diff_id)?;
    Ok(Some((written.diff_id, new)))
}

fn platform(config: &ImageConfig) -> Value {
    let mut platform = json!({ "architecture": config.architecture, "os": config.os });
    if let Some(variant) = &config.variant {
        platform["variant"] = json!(variant);
    }
    platform
}

/// The blob of a layer, whose own diff id may be known, with the diff id that the blob has: the one that the store remembers, or a new one.
fn compressed(
    store: &Store,
    id: LayerId,
    own: Option<Digest>,
    tar: &PackOptions,
    compression: BlobCompression,
    progress: &dyn Fn(&str, u64),
    stop: &AtomicBool,
) -> Result<(Digest, BlobInfo), PackError> {
    let name = compression.name();
    let converted = Converted::of_layer(id, tar, compression);
    let known = converted.diff_id(store, own)?;
    if let Some(diff_id) = known
        && let Some(blob) = store.layer_blob(&diff_id, &name)?
    {
        return Ok((diff_id, blob));
    }
    let mut writer = store.blob_writer()?;
    let blocks = Blocks::new(store, compression);
    let mut stoppable = Stoppable::new(&mut writer, stop);
    let written = write_layer_again(&store.layer_path(id), compression, &mut stoppable, tar, Some(&blocks))
        .map_err(|source| PackError::Layer { layer: id, source: Box::new(source) })?;
    let changed = match known {
        Some(known) => known != written.diff_id,
        None => tar.latest.is_none() && own.is_some_and(|own| own != written.source),
    };
    if changed {
        return Err(PackError::Changed { layer: id });
    }
    writer.commit(Some(&written.blob))?;
    blocks.remember(&written.blob)?;
    let media_type = compression.format.media_type().to_owned();
    let blob = BlobInfo { digest: written.blob, size: written.blob_size, media_type };
    progress(&id.to_string(), written.blob_size);
    store.put_layer_blob(&written.diff_id, &name, &blob)?;
    match known {
        Some(_) => {}
        None if converted.is_itself() => store.set_diff_id(id, written.diff_id, written.uncompressed_size)?,
        None => converted.remember(store, written.diff_id)?,
    }
    Ok((written.diff_id, blob))
}
