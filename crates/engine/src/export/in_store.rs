//! The image into kiln's own store: a row for each platform. The image of one platform is not packed, unless it has something that only
//! a manifest can have, or is pushed. An index names manifests by their digests, so the layers are packed for one.

use super::Exporter;
use super::image::Exporting;
use crate::error::EngineError;
use kiln_digest::Digest;
use kiln_exporters::{Assembly, Attestation};
use kiln_lower::ImageConfig;
use kiln_registry::Reference;
use kiln_sources::image::chain_ids;
use kiln_store::Store;
use std::time::SystemTime;

impl Exporter<'_> {
    /// The image of one platform, not packed.
    pub(super) fn store_image(&mut self, names: &[Reference]) -> Result<(), EngineError> {
        let (config, _) = self.images[0].complete()?.clone();
        let bytes = serde_json::to_vec(&config).map_err(EngineError::internal("failed to write the image's config"))?;
        let row = row(self.build.engine.store(), &self.images[0], &bytes)?;
        let id = row.config;
        self.exported.config = Some(id);
        self.name(&id, &[row], names)
    }

    /// Packed images of all platforms, with their manifests, and an index if there is one.
    pub(super) fn store_assembly(&mut self, assembly: &Assembly, names: &[Reference]) -> Result<(), EngineError> {
        let store = self.build.engine.store();
        let index = assembly.index.as_ref().map(|index| store.put_blob(&index.bytes));
        let index = index.transpose().map_err(EngineError::store)?;
        let mut stated = Vec::new();
        for document in assembly.attestations.iter().flat_map(Attestation::documents) {
            stated.push(store.put_blob(&document.bytes).map_err(EngineError::store)?);
        }
        let mut rows = Vec::with_capacity(assembly.images.len());
        for (exporting, packed) in self.images.iter().zip(&assembly.images) {
            let mut row = row(store, exporting, &packed.config)?;
            row.manifest = Some(store.put_blob(&packed.manifest.bytes).map_err(EngineError::store)?);
            row.index = index;
            row.blobs =
                packed.layers.iter().map(|layer| layer.digest).chain(index).chain(stated.iter().copied()).collect();
            rows.push(row);
        }
        let id = index.unwrap_or(rows[0].config);
        self.name(&id, &rows, names)
    }

    /// Puts the rows under all names of the image, or under its id.
    fn name(&mut self, id: &Digest, rows: &[kiln_store::Image], names: &[Reference]) -> Result<(), EngineError> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let unnamed = [format!("<none>@{id}")];
        for name in if names.is_empty() { &unnamed[..] } else { &names[..] } {
            let rows: Vec<_> = rows.iter().map(|row| kiln_store::Image { name: name.clone(), ..row.clone() }).collect();
            let put = self.build.engine.store().put_image_of_platforms(name, &rows);
            put.map_err(EngineError::from_store_image)?;
        }
        self.exported.add_names(names);
        Ok(())
    }
}

/// The row of one platform's image, without a name. The layers are found again by the diff ids of its config. It keeps the blobs that some of
/// them were pulled as, for no other archive has their diff ids.
fn row(store: &Store, image: &Exporting<'_>, config: &[u8]) -> Result<kiln_store::Image, EngineError> {
    let digest = store.put_blob(config).map_err(EngineError::store)?;
    let malformed = EngineError::internal("failed to read the image's config");
    let diff_ids = ImageConfig::from_json(config).map_err(malformed)?.rootfs.diff_ids;
    let diff_ids = diff_ids.iter().map(|id| id.parse()).collect::<Result<Vec<Digest>, _>>();
    let diff_ids = diff_ids.map_err(EngineError::internal("failed to read the image's config"))?;
    let layers = image.layers()?;
    for (chain, layer) in chain_ids(&diff_ids).iter().zip(&layers).skip(image.base_diff_ids().len()) {
        if store.chain(chain).map_err(EngineError::store)?.is_none() {
            store.put_chain(chain, *layer).map_err(EngineError::store)?;
        }
    }
    let mut blobs = Vec::new();
    for diff_id in &diff_ids {
        blobs.extend(store.pulled_as(diff_id).map_err(EngineError::store)?);
    }
    let mut size = 0;
    for layer in &layers {
        size += store.layer(*layer).map_err(EngineError::store)?.map_or(0, |layer| layer.size);
    }
    Ok(kiln_store::Image {
        name: String::new(),
        platform: image.image.platform.to_string(),
        config: digest,
        manifest: None,
        index: None,
        created: SystemTime::now(),
        size,
        pulled: false,
        layers,
        blobs,
    })
}
