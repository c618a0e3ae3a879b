//! `type=oci`: an OCI image layout (OCI image-spec, image-layout.md).

use crate::archive::{self, Content, Files};
use crate::assembly::{Assembly, Document};
use crate::destination::{Destination, ExportError};
use kiln_registry::Reference;
use kiln_store::Store;
use serde_json::{Map, Value, json};
use std::sync::atomic::AtomicBool;

/// Writes an image under its names, until `stop` is true; one entry of the layout's own index for each name.
///
/// # Errors
/// [`ExportError`].
pub fn write_oci(
    store: &Store,
    image: &Assembly,
    names: &[Reference],
    destination: &Destination,
    stop: &AtomicBool,
) -> Result<(), ExportError> {
    archive::write(store, layout(image, names), destination, stop)
}

/// The files of the layout.
pub(crate) fn layout(image: &Assembly, names: &[Reference]) -> Files {
    let blob = |digest: &kiln_digest::Digest| format!("blobs/sha256/{}", digest.hex());
    let document = |document: &Document| (blob(&document.digest), Content::Bytes(document.bytes.clone()));
    let mut files = Files::new();
    for image in &image.images {
        files.extend(image.layers.iter().map(|layer| (blob(&layer.digest), Content::Blob(layer.digest))));
        files.push((blob(&image.config_digest), Content::Bytes(image.config.clone())));
        files.push(document(&image.manifest));
    }
    files.extend(image.index.as_ref().map(document));
    files.push(("index.json".to_owned(), Content::Bytes(index(image, names))));
    files.push(("oci-layout".to_owned(), Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())));
    files
}

fn index(image: &Assembly, names: &[Reference]) -> Vec<u8> {
    let entry = |name: Option<&Reference>| {
        let mut entry = image.descriptor();
        if let Some(name) = name {
            let mut annotations = Map::new();
            annotations.insert("io.containerd.image.name".into(), json!(name.to_string()));
            if let Some(tag) = name.tag() {
                annotations.insert("org.opencontainers.image.ref.name".into(), json!(tag));
            }
            entry["annotations"] = Value::Object(annotations);
        }
        entry
    };
    let manifests: Vec<Value> =
        if names.is_empty() { vec![entry(None)] } else { names.iter().map(|name| entry(Some(name))).collect() };
    let index = json!({ "schemaVersion": 2, "mediaType": Document::INDEX, "manifests": manifests });
    index.to_string().into_bytes()
}
