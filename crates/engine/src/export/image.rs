//! The image of each platform made complete: its history aligned with its layers, its times, and its blobs; and all of them put
//! together, with an index if there is one.

use crate::attest::Attestor;
use crate::build::Build;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, StepId};
use crate::output::{AnnotationPlace, ImageOptions, LayerCompression};
use crate::snapshot::{Realized, Snapshot};
use kiln_digest::Digest;
use kiln_exporters::{Annotations, Assembly, ImageBlobs, LayerSource, MediaTypes, PackError, Packing, PlainImage};
use kiln_graph::{Platform, VertexId};
use kiln_layer::{BlobCompression, BlobFormat, PackOptions};
use kiln_lower::{History, ImageConfig};
use kiln_registry::Reference;
use kiln_store::{LayerId, Store, TempDir};
use std::time::SystemTime;

/// What a build made for one platform, before any output.
pub(crate) struct Image {
    /// The vertex whose files these are; none for an empty image.
    pub(crate) target: Option<VertexId>,
    pub(crate) snapshot: Snapshot,
    pub(crate) config: ImageConfig,
    pub(crate) platform: Platform,
    pub(crate) source_date_epoch: Option<i64>,
}

/// The image of one platform while it is exported.
pub(super) struct Exporting<'a> {
    build: &'a Build<'a>,
    pub(super) image: Image,
    /// The layers that steps made, which are all here.
    own: Vec<LayerId>,
    /// The config with times, and the diff ids of the layers that were made here.
    completed: Option<(ImageConfig, Vec<Digest>)>,
}

impl<'a> Exporting<'a> {
    /// Fetches the layers that steps of other machines made.
    pub(super) fn new(build: &'a Build<'a>, image: Image) -> Result<Self, EngineError> {
        let own = build.own_layers(&image.snapshot)?;
        Ok(Self { build, image, own, completed: None })
    }

    /// The layers that steps made.
    pub(super) fn own_layers(&self) -> &[LayerId] {
        &self.own
    }

    fn store(&self) -> &'a Store {
        self.build.engine.store()
    }

    /// A directory that is gone when this export is over.
    pub(super) fn temp_dir(&self) -> Result<TempDir, EngineError> {
        self.store().temp_dir().map_err(EngineError::store)
    }

    /// How the layers that were made here become tars. Those of the base stay as they are, so that images share them.
    fn tar(&self, options: &ImageOptions) -> PackOptions {
        PackOptions { latest: self.image.source_date_epoch.filter(|_| options.rewrite_timestamp) }
    }

    /// Its files.
    pub(super) fn realize(&self) -> Result<Realized, EngineError> {
        self.build.realize(&self.image.snapshot)
    }

    /// The diff ids of the base's layers.
    pub(super) fn base_diff_ids(&self) -> Vec<Digest> {
        self.image.snapshot.base().map(|image| image.resolution.diff_ids.clone()).unwrap_or_default()
    }

    /// The config with all times in it. A layer's time is that of its making, so that the same layers give the same image.
    fn config(&self) -> Result<ImageConfig, EngineError> {
        let mut config = self.image.config.clone();
        let base = self.image.snapshot.base().map_or(0, |image| image.config().history.len());
        let mut own = config.history.split_off(base.min(config.history.len()));
        align_history(&mut config.history, self.base_diff_ids().len());
        let mut layers = self.own.iter();
        let mut latest = config.history.iter().rev().find_map(|entry| entry.created.clone());
        for entry in &mut own {
            if !entry.empty_layer
                && let Some(layer) = layers.next()
            {
                latest = Some(self.created(*layer)?);
            }
            entry.created.clone_from(&latest);
        }
        align_history(&mut own, self.own.len());
        if let Some(epoch) = self.image.source_date_epoch {
            let time = jiff::Timestamp::from_second(epoch).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
            own.iter_mut().for_each(|entry| entry.created = Some(time.clone()));
            latest = Some(time);
        }
        config.history.append(&mut own);
        config.created = latest.or_else(|| Some(rfc3339(SystemTime::UNIX_EPOCH)));
        Ok(config)
    }

    fn created(&self, layer: LayerId) -> Result<String, EngineError> {
        let layer = self.store().layer(layer).map_err(EngineError::store)?;
        Ok(rfc3339(layer.map_or(SystemTime::UNIX_EPOCH, |layer| layer.created)))
    }

    /// The config with times and diff ids, and the diff ids of the layers that were made here. Nothing is packed.
    pub(super) fn complete(&mut self) -> Result<&(ImageConfig, Vec<Digest>), EngineError> {
        if self.completed.is_none() {
            let mut own = Vec::new();
            for layer in &self.own {
                let diff_id = kiln_exporters::diff_id(self.store(), *layer, &self.build.cancel.flag());
                own.push(diff_id.map_err(EngineError::pack)?);
            }
            let mut config = self.config()?;
            config.rootfs.diff_ids = self.base_diff_ids().iter().chain(&own).map(Digest::to_string).collect();
            self.completed = Some((config, own));
        }
        Ok(self.completed.as_ref().expect("made above"))
    }

    /// All its layers, pulled if need be.
    pub(super) fn layers(&self) -> Result<Vec<LayerId>, EngineError> {
        let mut layers = match self.image.snapshot.base() {
            Some(image) => match image.layers_if_here().map_err(EngineError::store)? {
                Some(layers) => layers,
                None => self.build.base_layers_of(&self.image.snapshot)?,
            },
            None => Vec::new(),
        };
        layers.extend(&self.own);
        Ok(layers)
    }

    /// How the image is packed.
    fn packing(&self, options: &ImageOptions) -> Packing {
        let format = match options.compression.unwrap_or_default() {
            LayerCompression::Gzip => BlobFormat::Gzip,
            LayerCompression::Zstd => BlobFormat::Zstd,
            LayerCompression::Uncompressed => BlobFormat::Tar,
            LayerCompression::Estargz => BlobFormat::Estargz,
        };
        Packing {
            compression: BlobCompression { format, level: options.compression_level },
            force: options.force_compression,
            media_types: media_types(options),
            annotations: annotations(options, AnnotationPlace::Manifest, Some(&self.image.platform)),
            descriptor_annotations: annotations(
                options,
                AnnotationPlace::ManifestDescriptor,
                Some(&self.image.platform),
            ),
        }
    }

    /// The image with layers that are not packed.
    pub(super) fn plain(&mut self, options: &ImageOptions) -> Result<PlainImage, EngineError> {
        let (config, own) = self.complete()?.clone();
        let diff_ids = self.base_diff_ids().into_iter().chain(own);
        let layers: Vec<_> = self.layers()?.into_iter().zip(diff_ids).collect();
        PlainImage::new(self.store(), config, &layers, &self.packing(options), &self.build.cancel.flag())
            .map_err(EngineError::pack)
    }

    /// Repositories of a registry that have blobs of the base image.
    pub(super) fn mounts(&self, registry: &str) -> Vec<(Digest, String)> {
        let Some(base) = self.image.snapshot.base() else { return Vec::new() };
        let Ok(reference) = Reference::parse(&base.resolution.reference) else { return Vec::new() };
        let manifest = base.resolution.manifest.as_ref().filter(|_| reference.registry() == registry);
        let layers = manifest.map(|manifest| manifest.layers().as_slice()).unwrap_or_default();
        let digests = layers.iter().filter_map(|layer| layer.digest().to_string().parse().ok());
        digests.map(|digest| (digest, reference.repository().name().to_owned())).collect()
    }

    /// The image as blobs.
    pub(super) fn pack(&self, options: &ImageOptions, step: StepId) -> Result<ImageBlobs, EngineError> {
        let mut layers = Vec::new();
        if let Some(image) = self.image.snapshot.base() {
            let resolution = &image.resolution;
            if resolution.manifest.is_some() {
                let blobs = self.build.engine.registry().layer_blobs(resolution, &|| self.build.cancel.is_cancelled());
                let blobs = blobs.map_err(|error| EngineError::from_pull(error, self.build.cancel.is_cancelled()))?;
                let sources = resolution.diff_ids.iter().zip(blobs);
                layers.extend(sources.map(|(diff_id, blob)| LayerSource::Blob { diff_id: *diff_id, blob }));
            } else {
                let ids = self.build.base_layers_of(&self.image.snapshot)?;
                let sources = resolution.diff_ids.iter().zip(ids);
                layers.extend(sources.map(|(diff_id, id)| LayerSource::Stored { id, diff_id: *diff_id }));
            }
        }
        for id in &self.own {
            let diff_id = self.store().layer(*id).map_err(EngineError::store)?.and_then(|layer| layer.diff_id);
            layers.push(LayerSource::Layer { id: *id, diff_id, tar: self.tar(options) });
        }
        let config = self.config()?;
        let events = self.build.events;
        let progress = |layer: &str, bytes: u64| {
            let item = format!("layer {layer}");
            events.event(Event::StepProgress { step, item, current: bytes, total: Some(bytes), done: true });
        };
        kiln_exporters::pack(
            self.store(),
            config,
            &layers,
            &self.packing(options),
            &progress,
            &self.build.cancel.flag(),
        )
        .map_err(EngineError::pack)
    }
}

/// The images of all platforms as blobs, below an index if there is to be one or if something is stated of them. `names` are what
/// the statements call them.
pub(super) fn assemble(
    images: &[Exporting<'_>],
    index: bool,
    options: &ImageOptions,
    attestor: Option<&Attestor<'_>>,
    names: &[Reference],
    step: StepId,
) -> Result<Assembly, EngineError> {
    let mut packed = Vec::with_capacity(images.len());
    let mut attestations = Vec::new();
    for image in images {
        let blobs = image.pack(options, step)?;
        if let Some(attestor) = attestor {
            attestations.push(attestor.attest(&image.image, &blobs, names)?);
        }
        packed.push(blobs);
    }
    match packed.pop() {
        Some(only) if packed.is_empty() && !index && attestor.is_none() => Ok(Assembly::single(only)),
        last => Ok(Assembly::with_index(
            packed.into_iter().chain(last).collect(),
            attestations,
            media_types(options),
            &annotations(options, AnnotationPlace::Index, None),
            annotations(options, AnnotationPlace::IndexDescriptor, None),
        )),
    }
}

fn media_types(options: &ImageOptions) -> MediaTypes {
    if options.docker_media_types { MediaTypes::Docker } else { MediaTypes::Oci }
}

/// The annotations of a place; of equal names the last.
fn annotations(options: &ImageOptions, place: AnnotationPlace, platform: Option<&Platform>) -> Annotations {
    let here = options.annotations.iter().filter(|annotation| {
        annotation.place == place && annotation.platform.as_ref().is_none_or(|wanted| Some(wanted) == platform)
    });
    here.map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
}

/// Makes as many entries of the history have a layer as there are layers; a base image may have none, or a wrong one.
fn align_history(history: &mut Vec<History>, layers: usize) {
    let with_layer = history.iter().filter(|entry| !entry.empty_layer).count();
    if let Some(missing) = layers.checked_sub(with_layer) {
        for _ in 0..missing {
            history.insert(0, History { comment: "layer without history".into(), ..History::default() });
        }
    } else {
        let surplus = history.iter_mut().rev().filter(|entry| !entry.empty_layer).take(with_layer - layers);
        surplus.for_each(|entry| entry.empty_layer = true);
    }
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

impl EngineError {
    pub(crate) fn pack(error: PackError) -> Self {
        match error {
            PackError::Layer { source, .. } | PackError::Again { source, .. }
                if matches!(
                    *source,
                    kiln_layer::PackError::ReservedName { .. } | kiln_layer::PackError::NotText { .. }
                ) =>
            {
                Self::of(ErrorKind::User, source)
            }
            error => Self::of(ErrorKind::Internal, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(empty_layer: bool) -> History {
        History { empty_layer, ..History::default() }
    }

    #[test]
    fn history_has_an_entry_for_each_layer() {
        for (entries, layers, expected) in [
            (vec![false, true, false], 2, vec![false, true, false]),
            (vec![true], 1, vec![false, true]),
            (vec![false, false], 1, vec![false, true]),
        ] {
            let mut history: Vec<History> = entries.into_iter().map(entry).collect();
            align_history(&mut history, layers);
            assert_eq!(history.iter().map(|entry| entry.empty_layer).collect::<Vec<_>>(), expected);
        }
    }
}
