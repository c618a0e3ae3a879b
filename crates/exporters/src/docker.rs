//! `type=docker`: an archive for `docker load`: an OCI image layout with Docker's own `manifest.json` beside it, which every
//! version of Docker and podman reads.

use crate::archive::{self, Content, Files};
use crate::assembly::Assembly;
use crate::destination::{Destination, ExportError, Replaced};
use crate::head_start::HeadStart;
use crate::oci::{blob_path, layout};
use crate::pack::ImageBlobs;
use kiln_registry::Reference;
use kiln_store::Store;
use serde_json::json;
use std::sync::atomic::AtomicBool;

/// Writes an image of one platform under its names, until `stop` is true, going on with what was `begun` if it is of use.
///
/// # Errors
/// [`ExportError`].
pub fn write_docker(
    store: &Store,
    image: &ImageBlobs,
    names: &[Reference],
    destination: &Destination,
    begun: Option<HeadStart>,
    stop: &AtomicBool,
) -> Result<Replaced, ExportError> {
    archive::write(store, docker_layout(image, names), destination, begun, stop)
}

/// The files of such an archive.
pub(crate) fn docker_layout(image: &ImageBlobs, names: &[Reference]) -> Files {
    let layers: Vec<String> = image.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    let tags: Vec<String> = names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let manifest = json!([{ "Config": blob_path(&image.config_digest), "RepoTags": tags, "Layers": layers }]);
    let mut files = layout(&Assembly::single(image.clone()), names);
    files.push(("manifest.json".to_owned(), Content::Bytes(manifest.to_string().into_bytes())));
    files
}
