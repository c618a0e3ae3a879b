//! `type=oci`: an OCI image layout (OCI image-spec, image-layout.md).

use crate::archive::{self, Content, Files};
use crate::assembly::{Assembly, Document};
use crate::attestation::Attestation;
use crate::destination::{Destination, ExportError, Replaced};
use crate::head_start::HeadStart;
use crate::media_types::MediaTypes;
use crate::pack::{Annotations, annotate};
use kiln_digest::Digest;
use kiln_registry::Reference;
use kiln_store::Store;
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;

/// Writes an image under its names, until `stop` is true, going on with what was `begun` if it is of use; one entry of the layout's own index for each name.
///
/// # Errors
/// [`ExportError`].
pub fn write_oci(
    store: &Store,
    image: &Assembly,
    names: &[Reference],
    destination: &Destination,
    begun: Option<HeadStart>,
    stop: &AtomicBool,
) -> Result<Replaced, ExportError> {
    archive::write(store, layout(image, names), destination, begun, stop)
}

/// Where a blob is in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The files of the layout.
pub(crate) fn layout(image: &Assembly, names: &[Reference]) -> Files {
    let document = |document: &Document| (blob_path(&document.digest), Content::Bytes(document.bytes.clone()));
    let mut files = Files::new();
    for image in &image.images {
        files.extend(image.layers.iter().map(|layer| (blob_path(&layer.digest), Content::Blob(layer.digest))));
        files.push((blob_path(&image.config_digest), Content::Bytes(image.config.clone())));
        files.push(document(&image.manifest));
    }
    files.extend(image.attestations.iter().flat_map(Attestation::documents).map(document));
    files.extend(image.index.as_ref().map(document));
    files.push(("index.json".to_owned(), Content::Bytes(index(image, names))));
    files.push(("oci-layout".to_owned(), Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())));
    files
}

fn index(image: &Assembly, names: &[Reference]) -> Vec<u8> {
    let entry = |name: Option<&Reference>| {
        let mut entry = image.descriptor();
        if let Some(name) = name {
            let mut names = Annotations::from([("io.containerd.image.name".to_owned(), name.to_string())]);
            names.extend(name.tag().map(|tag| ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned())));
            annotate(&mut entry, &names);
        }
        entry
    };
    let manifests: Vec<Value> =
        if names.is_empty() { vec![entry(None)] } else { names.iter().map(|name| entry(Some(name))).collect() };
    let index = json!({ "schemaVersion": 2, "mediaType": MediaTypes::Oci.index(), "manifests": manifests });
    index.to_string().into_bytes()
}
