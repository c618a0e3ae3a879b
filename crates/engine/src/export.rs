//! From a solved build to its outputs: the image's config made complete, and whatever `--output` asks for.

use crate::build::Build;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, StepId};
use crate::outcome::ManifestDescriptor;
use crate::request::{Destination, LayerCompression, Output};
use crate::snapshot::{Realized, Snapshot};
use kiln_digest::Digest;
use kiln_exporters::{ExportError, ImageBlobs, LayerSource, PackError};
use kiln_graph::Platform;
use kiln_layer::{BlobFormat, PackOptions};
use kiln_lower::{History, ImageConfig};
use kiln_registry::Reference;
use kiln_sources::image::chain_ids;
use kiln_store::{LayerId, Lease, Store};
use std::io::IsTerminal;
use std::time::{Instant, SystemTime};

/// The result of a build, before any output.
pub(crate) struct Image {
    pub(crate) snapshot: Snapshot,
    pub(crate) config: ImageConfig,
    pub(crate) platform: Platform,
    pub(crate) source_date_epoch: Option<i64>,
    pub(crate) names: Vec<Reference>,
}

/// What the outputs made.
#[derive(Default)]
pub(crate) struct Exported {
    pub(crate) config: Option<Digest>,
    pub(crate) manifest: Option<ManifestDescriptor>,
    pub(crate) names: Vec<String>,
}

/// Reads the names of an image before anything is built.
pub(crate) fn names(tags: &[String]) -> Result<Vec<Reference>, EngineError> {
    tags.iter()
        .map(|tag| {
            let name = Reference::parse(tag).map_err(EngineError::user)?;
            match name.digest() {
                None => Ok(name),
                Some(_) => Err(EngineError::new(ErrorKind::User, format!("cannot tag an image as `{tag}`"))
                    .with_hint("a tag has no digest: `name:tag`")),
            }
        })
        .collect()
}

/// Refuses outputs that cannot work before anything is built.
pub(crate) fn check(outputs: &[Output]) -> Result<(), EngineError> {
    let mut to_stdout = 0;
    for output in outputs {
        let dest = match output {
            Output::Oci { dest, .. } | Output::Docker { dest, .. } | Output::Tar { dest } => dest,
            Output::Image | Output::Local { .. } => continue,
        };
        if matches!((output, dest), (Output::Tar { .. }, Destination::Directory(_))) {
            return Err(EngineError::user(ExportError::NeedsFile));
        }
        if *dest == Destination::Stdout {
            to_stdout += 1;
            if std::io::stdout().is_terminal() {
                return Err(EngineError::new(ErrorKind::User, "refusing to write an archive to a terminal")
                    .with_hint("redirect standard output, or name a file: `dest=FILE`"));
            }
        }
    }
    if to_stdout > 1 {
        return Err(EngineError::new(ErrorKind::User, "only one output can go to standard output"));
    }
    Ok(())
}

/// Carries out all outputs; kiln's image store is the one without any.
pub(crate) fn run(build: &Build<'_>, image: Image, outputs: &[Output]) -> Result<Exported, EngineError> {
    let lease = build.engine.store().lease(layers_to_read(build, &image, outputs)?).map_err(EngineError::store)?;
    let mut exporter = Exporter { build, image, exported: Exported::default(), _lease: lease, completed: None };
    if outputs.is_empty() {
        exporter.store_image()?;
    }
    for (number, output) in (0u32..).zip(outputs) {
        match output {
            Output::Image => exporter.store_image()?,
            Output::Oci { .. } => {
                exporter.told(number, "exporting to oci image format", |e, step| e.archive(output, step))?
            }
            Output::Docker { .. } => {
                exporter.told(number, "exporting to docker image format", |e, step| e.archive(output, step))?;
            }
            Output::Local { dest } => exporter.told(number, "exporting to client directory", |e, _| {
                let realized = e.realize()?;
                kiln_exporters::write_local(realized.tree.as_ref(), dest, &e.build.cancel.flag())
                    .map_err(EngineError::export)
            })?,
            Output::Tar { dest } => exporter.told(number, "exporting to client tarball", |e, _| {
                let realized = e.realize()?;
                let options = e.pack_options();
                kiln_exporters::write_tar(realized.tree.as_ref(), &destination(dest), &options, &e.build.cancel.flag())
                    .map_err(EngineError::export)
            })?,
        }
    }
    Ok(exporter.exported)
}

/// The layers whose files an output needs. Kiln's own image store needs but their diff ids, and to lease what nobody reads would make
/// a build in which nothing changed write to the store.
fn layers_to_read<'a>(build: &Build<'_>, image: &'a Image, outputs: &[Output]) -> Result<&'a [LayerId], EngineError> {
    let layers = image.snapshot.own_layers();
    let mut read = outputs.iter().any(|output| !matches!(output, Output::Image));
    for layer in layers {
        let layer = build.engine.store().layer(*layer).map_err(EngineError::store)?;
        read |= layer.is_none_or(|layer| layer.diff_id.is_none());
    }
    Ok(if read { layers } else { &[] })
}

struct Exporter<'a> {
    build: &'a Build<'a>,
    image: Image,
    exported: Exported,
    /// Keeps the layers from being pruned until all outputs are written.
    _lease: Lease,
    /// The config with times, and the diff ids of the layers that were made here.
    completed: Option<(ImageConfig, Vec<Digest>)>,
}

impl Exporter<'_> {
    fn store(&self) -> &Store {
        self.build.engine.store()
    }

    fn pack_options(&self) -> PackOptions {
        PackOptions { latest: None }
    }

    fn realize(&self) -> Result<Realized, EngineError> {
        self.build.realize(&self.image.snapshot)
    }

    /// Does an output as a step of its own.
    fn told(
        &mut self,
        number: u32,
        name: &str,
        export: impl FnOnce(&mut Self, StepId) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let step = self.build.steps.internal_id(number);
        self.build.events.event(Event::StepStarted { step, name: name.to_owned(), stage: None });
        let started = Instant::now();
        let done = export(self, step);
        let error = done.as_ref().err().map(ToString::to_string);
        self.build.events.event(Event::StepFinished { step, duration: started.elapsed(), error });
        done
    }

    /// The diff ids of the base's layers.
    fn base_diff_ids(&self) -> Vec<Digest> {
        self.image.snapshot.base().map(|image| image.resolution.diff_ids.clone()).unwrap_or_default()
    }

    /// The config with all times in it. A layer's time is that of its making, so that the same layers give the same image.
    fn config(&self) -> Result<ImageConfig, EngineError> {
        let mut config = self.image.config.clone();
        let base = self.image.snapshot.base().map_or(0, |image| image.config().history.len());
        let mut own = config.history.split_off(base.min(config.history.len()));
        align_history(&mut config.history, self.base_diff_ids().len());
        let mut layers = self.image.snapshot.own_layers().iter();
        let mut latest = config.history.iter().rev().find_map(|entry| entry.created.clone());
        for entry in &mut own {
            if !entry.empty_layer
                && let Some(layer) = layers.next()
            {
                latest = Some(self.created(*layer)?);
            }
            entry.created.clone_from(&latest);
        }
        align_history(&mut own, self.image.snapshot.own_layers().len());
        if let Some(epoch) = self.image.source_date_epoch {
            let time = rfc3339(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(epoch.unsigned_abs()));
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

    fn complete(&mut self) -> Result<&(ImageConfig, Vec<Digest>), EngineError> {
        if self.completed.is_none() {
            let mut own = Vec::new();
            for layer in self.image.snapshot.own_layers() {
                let diff_id =
                    kiln_exporters::diff_id(self.store(), *layer, &self.pack_options(), &self.build.cancel.flag());
                own.push(diff_id.map_err(EngineError::pack)?);
            }
            let mut config = self.config()?;
            config.rootfs.diff_ids = self.base_diff_ids().iter().chain(&own).map(Digest::to_string).collect();
            self.completed = Some((config, own));
        }
        Ok(self.completed.as_ref().expect("made above"))
    }

    /// The image into kiln's own store. Nothing is packed.
    fn store_image(&mut self) -> Result<(), EngineError> {
        let (config, own) = self.complete()?.clone();
        let bytes = serde_json::to_vec(&config).map_err(EngineError::internal("failed to write the image's config"))?;
        let store = self.build.engine.store();
        let digest = store.put_blob(&bytes).map_err(EngineError::store)?;
        let mut layers = match self.image.snapshot.base() {
            Some(image) => match image.layers_if_here().map_err(EngineError::store)? {
                Some(layers) => layers,
                None => self.build.base_layers_of(&self.image.snapshot)?,
            },
            None => Vec::new(),
        };
        let base = self.base_diff_ids();
        layers.extend(self.image.snapshot.own_layers());
        let diff_ids: Vec<Digest> = base.iter().chain(&own).copied().collect();
        for (chain, layer) in chain_ids(&diff_ids).iter().zip(&layers).skip(base.len()) {
            if store.chain(chain).map_err(EngineError::store)?.is_none() {
                store.put_chain(chain, *layer).map_err(EngineError::store)?;
            }
        }
        let mut size = 0;
        for layer in &layers {
            size += store.layer(*layer).map_err(EngineError::store)?.map_or(0, |layer| layer.size);
        }
        let names: Vec<String> = self.image.names.iter().map(ToString::to_string).collect();
        let unnamed = [format!("<none>@{digest}")];
        for name in if names.is_empty() { &unnamed[..] } else { &names[..] } {
            let image = kiln_store::Image {
                name: name.clone(),
                platform: self.image.platform.to_string(),
                config: digest,
                manifest: None,
                created: SystemTime::now(),
                size,
                pulled: false,
                layers: layers.clone(),
                blobs: Vec::new(),
            };
            store.put_image(&image).map_err(EngineError::from_store_image)?;
        }
        self.exported.config = Some(digest);
        self.exported.names = names;
        Ok(())
    }

    /// An archive of blobs.
    fn archive(&mut self, output: &Output, step: StepId) -> Result<(), EngineError> {
        let (Output::Oci { dest, compression } | Output::Docker { dest, compression }) = output else { return Ok(()) };
        let blobs = self.pack(*compression, step)?;
        let (names, dest) = (&self.image.names, destination(dest));
        let stop = self.build.cancel.flag();
        let written = match output {
            Output::Docker { .. } => kiln_exporters::write_docker(self.store(), &blobs, names, &dest, &stop),
            _ => kiln_exporters::write_oci(self.store(), &blobs, names, &dest, &stop),
        };
        written.map_err(EngineError::export)?;
        self.exported.config = Some(blobs.config_digest);
        self.exported.names = self.image.names.iter().map(ToString::to_string).collect();
        self.exported.manifest = Some(ManifestDescriptor {
            media_type: ImageBlobs::MANIFEST_TYPE.to_owned(),
            digest: blobs.manifest_digest,
            size: blobs.manifest.len() as u64,
        });
        Ok(())
    }

    fn pack(&mut self, compression: LayerCompression, step: StepId) -> Result<ImageBlobs, EngineError> {
        let format = match compression {
            LayerCompression::Gzip => BlobFormat::Gzip,
            LayerCompression::Zstd => BlobFormat::Zstd,
            LayerCompression::Uncompressed => BlobFormat::Tar,
        };
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
                layers.extend(sources.map(|(diff_id, id)| LayerSource::Layer { id, diff_id: Some(*diff_id) }));
            }
        }
        for id in self.image.snapshot.own_layers() {
            let diff_id = self.store().layer(*id).map_err(EngineError::store)?.and_then(|layer| layer.diff_id);
            layers.push(LayerSource::Layer { id: *id, diff_id });
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
            format,
            &self.pack_options(),
            &progress,
            &self.build.cancel.flag(),
        )
        .map_err(EngineError::pack)
    }
}

/// Makes as many entries of the history have a layer as there are layers; a base image may have none, or a wrong one.
fn align_history(history: &mut Vec<History>, layers: usize) {
    let with_layer = history.iter().filter(|entry| !entry.empty_layer).count();
    if let Some(missing) = layers.checked_sub(with_layer) {
        for _ in 0..missing {
            history.insert(0, History { comment: "layer without history".to_owned(), ..History::default() });
        }
    } else {
        let surplus = history.iter_mut().rev().filter(|entry| !entry.empty_layer).take(with_layer - layers);
        surplus.for_each(|entry| entry.empty_layer = true);
    }
}

fn destination(dest: &Destination) -> kiln_exporters::Destination {
    match dest {
        Destination::File(path) => kiln_exporters::Destination::File(path.clone()),
        Destination::Directory(path) => kiln_exporters::Destination::Directory(path.clone()),
        Destination::Stdout => kiln_exporters::Destination::Stdout,
    }
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

impl EngineError {
    fn export(error: ExportError) -> Self {
        let kind = match &error {
            ExportError::Write { .. } | ExportError::Stdout(_) | ExportError::NeedsFile => ErrorKind::User,
            _ => ErrorKind::Internal,
        };
        Self::of(kind, error)
    }

    fn pack(error: PackError) -> Self {
        match error {
            PackError::Layer { source, .. } if matches!(*source, kiln_layer::PackError::ReservedName { .. }) => {
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
