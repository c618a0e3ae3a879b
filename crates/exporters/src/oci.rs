//! `type=oci`: an OCI image layout (OCI image-spec, image-layout.md).

use crate::archive::{self, Content, Files};
use crate::destination::{Destination, ExportError};
use crate::pack::ImageBlobs;
use kiln_registry::Reference;
use kiln_store::Store;
use serde_json::{Map, Value, json};
use std::sync::atomic::AtomicBool;

/// Writes an image under its names, until `stop` is true; one entry of the index for each name.
///
/// # Errors
/// [`ExportError`].
pub fn write_oci(
    store: &Store,
    image: &ImageBlobs,
    names: &[Reference],
    destination: &Destination,
    stop: &AtomicBool,
) -> Result<(), ExportError> {
    archive::write(store, layout(image, names), destination, stop)
}

/// The files of the layout.
pub(crate) fn layout(image: &ImageBlobs, names: &[Reference]) -> Files {
    let blob = |digest: &kiln_digest::Digest| format!("blobs/sha256/{}", digest.hex());
    let mut files: Files = image.layers.iter().map(|l| (blob(&l.digest), Content::Blob(l.digest))).collect();
    files.push((blob(&image.config_digest), Content::Bytes(image.config.clone())));
    files.push((blob(&image.manifest_digest), Content::Bytes(image.manifest.clone())));
    files.push(("index.json".to_owned(), Content::Bytes(index(image, names))));
    files.push(("oci-layout".to_owned(), Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())));
    files
}

fn index(image: &ImageBlobs, names: &[Reference]) -> Vec<u8> {
    let entry = |name: Option<&Reference>| {
        let mut entry = Map::new();
        entry.insert("mediaType".into(), json!(ImageBlobs::MANIFEST_TYPE));
        entry.insert("digest".into(), json!(image.manifest_digest.to_string()));
        entry.insert("size".into(), json!(image.manifest.len()));
        if let Some(name) = name {
            let mut annotations = Map::new();
            annotations.insert("io.containerd.image.name".into(), json!(name.to_string()));
            if let Some(tag) = name.tag() {
                annotations.insert("org.opencontainers.image.ref.name".into(), json!(tag));
            }
            entry.insert("annotations".into(), Value::Object(annotations));
        }
        entry.insert("platform".into(), image.platform.clone());
        Value::Object(entry)
    };
    let manifests: Vec<Value> =
        if names.is_empty() { vec![entry(None)] } else { names.iter().map(|name| entry(Some(name))).collect() };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    index.to_string().into_bytes()
}
