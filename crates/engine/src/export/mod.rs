//! From a solved build to its outputs: the image of each platform made complete, and whatever `--output` asks for.

mod ahead;
mod image;
mod in_store;
pub(crate) mod remote;

pub(crate) use ahead::Ahead;
pub(crate) use image::Image;

use crate::attest::Attestor;
use crate::build::Build;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, StepId};
use crate::outcome::ManifestDescriptor;
use crate::output::{Annotation, AnnotationPlace, Destination, ImageOptions, ImageOutput, Output, Push};
use crate::snapshot::Realized;
use image::{Exporting, assemble};
use kiln_digest::Digest;
use kiln_exporters::{Assembly, Dated, ExportError, Merged, PlatformDirectories};
use kiln_layer::{Directory, Tree};
use kiln_registry::{Reference, Repository};
use kiln_store::{LayerId, Lease, TempDir};
use serde_json::Value;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The result of a build, before any output.
pub(crate) struct Built<'a> {
    /// One image for each platform, in the order that was asked for; at least one.
    pub(crate) images: Vec<Image>,
    /// Whether the result is an index, or a directory for each platform: with several platforms, and where the user asks for it.
    pub(crate) multi_platform: bool,
    pub(crate) names: Vec<Reference>,
    /// Whoever states something of the images.
    pub(crate) attestor: Option<Attestor<'a>>,
}

impl Built<'_> {
    /// Whether an image of it is below an index.
    fn has_index(&self) -> bool {
        self.multi_platform || self.attestor.is_some()
    }
}

/// What the outputs made.
#[derive(Default)]
pub(crate) struct Exported {
    pub(crate) config: Option<Digest>,
    pub(crate) manifest: Option<ManifestDescriptor>,
    pub(crate) names: Vec<String>,
    /// Repositories that have the image now.
    pub(crate) pushed: Vec<Repository>,
    pub(crate) provenance: Option<Value>,
}

impl Exported {
    fn add_names(&mut self, names: Vec<String>) {
        let new: Vec<_> = names.into_iter().filter(|name| !self.names.contains(name)).collect();
        self.names.extend(new);
    }
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

/// The names of an output's image: the build's tags, or else its own.
fn output_names(output: &Output, tags: &[Reference]) -> Result<Vec<Reference>, EngineError> {
    match output.image() {
        Some(image) if tags.is_empty() => names(&image.names),
        _ => Ok(tags.to_vec()),
    }
}

/// Refuses outputs that cannot work before anything is built.
pub(crate) fn check(outputs: &[Output], tags: &[Reference]) -> Result<(), EngineError> {
    let mut to_stdout = 0;
    for output in outputs {
        let names = output_names(output, tags)?;
        let dest = match output {
            Output::Oci { dest, .. } | Output::Docker { dest, .. } | Output::Tar { dest, .. } => dest,
            Output::Image(ImageOutput { push: Some(_), .. }) if names.is_empty() => {
                return Err(EngineError::new(ErrorKind::User, "an image without a name cannot be pushed")
                    .with_hint("`--tag REGISTRY/NAME:TAG` names it"));
            }
            Output::Image(_) | Output::Load { .. } | Output::Local { .. } | Output::CacheOnly => continue,
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

/// Refuses outputs that cannot hold several platforms.
pub(crate) fn check_multi_platform(outputs: &[Output]) -> Result<(), EngineError> {
    match outputs.iter().any(|output| matches!(output, Output::Docker { .. } | Output::Load { .. })) {
        true => Err(EngineError::user(ExportError::DockerIndex)),
        false => Ok(()),
    }
}

/// Refuses annotations of an index where there is none.
pub(crate) fn check_single_platform(outputs: &[Output]) -> Result<(), EngineError> {
    let of_index = |annotation: &&Annotation| {
        matches!(annotation.place, AnnotationPlace::Index | AnnotationPlace::IndexDescriptor)
    };
    let annotations = outputs.iter().filter_map(Output::image).flat_map(|image| &image.annotations);
    match annotations.into_iter().find(of_index) {
        Some(annotation) => Err(EngineError::new(
            ErrorKind::User,
            format!("the annotation `{}` is for an index, and an image of one platform has none", annotation.key),
        )
        .with_hint("annotate the manifest, or build for several platforms")),
        None => Ok(()),
    }
}

/// Refuses outputs that have no place for attestations which the user asked for.
pub(crate) fn check_attested(outputs: &[Output]) -> Result<(), EngineError> {
    match outputs.iter().any(|output| matches!(output, Output::Docker { .. } | Output::Load { .. })) {
        true => Err(EngineError::new(ErrorKind::User, "`type=docker` cannot hold attestations")
            .with_hint("`type=oci` and a registry can; or leave out `--attest`, `--provenance` and `--sbom`")),
        false => Ok(()),
    }
}

/// Carries out all outputs; kiln's image store is the one without any.
pub(crate) fn run(build: &Build<'_>, built: Built<'_>, outputs: &[Output]) -> Result<Exported, EngineError> {
    let default = [Output::Image(ImageOutput::default())];
    let outputs = if outputs.is_empty() { &default } else { outputs };
    if outputs.iter().all(|output| *output == Output::CacheOnly) {
        return Ok(Exported::default());
    }
    let index = built.has_index();
    let Built { images, multi_platform, names, attestor } = built;
    let provenance = attestor.as_ref().and_then(|attestor| attestor.provenance(&images[0]));
    let images = images.into_iter().map(|image| Exporting::new(build, image)).collect::<Result<Vec<_>, _>>()?;
    let lease = layers_to_read(build, &images, index, outputs)?;
    let lease = build.engine.store().lease(&lease).map_err(EngineError::store)?;
    let mut exporter = Exporter {
        build,
        images,
        multi_platform,
        names,
        attestor,
        exported: Exported { provenance, ..Exported::default() },
        _lease: lease,
    };
    let rewrites = outputs.iter().filter_map(Output::image).any(|image| image.rewrite_timestamp);
    if rewrites && exporter.images.iter().any(|image| image.image.source_date_epoch.is_none()) {
        let message = "`rewrite-timestamp` does nothing without SOURCE_DATE_EPOCH".to_owned();
        build.events.event(Event::Warning { message, span: None });
    }
    for (number, output) in (0u32..).zip(outputs) {
        exporter.output(number, output)?;
    }
    Ok(exporter.exported)
}

/// Whether an output needs no more of an image than what the store has of it anyway. `index` tells whether it is below an index.
fn stays_unpacked(output: &Output, index: bool) -> bool {
    match output {
        Output::Image(ImageOutput { image, store: true, push: None, .. }) => image.is_plain() && !index,
        Output::CacheOnly => true,
        _ => false,
    }
}

/// The layers whose files an output needs. An image that stays in kiln's own store needs but their diff ids, and to lease what nobody
/// reads would make a build in which nothing changed write to the store.
fn layers_to_read(
    build: &Build<'_>,
    images: &[Exporting<'_>],
    index: bool,
    outputs: &[Output],
) -> Result<Vec<LayerId>, EngineError> {
    let layers: Vec<LayerId> = images.iter().flat_map(Exporting::own_layers).copied().collect();
    let mut read = outputs.iter().any(|output| !stays_unpacked(output, index));
    for layer in &layers {
        let layer = build.engine.store().layer(*layer).map_err(EngineError::store)?;
        read |= layer.is_none_or(|layer| layer.diff_id.is_none());
    }
    Ok(if read { layers } else { Vec::new() })
}

struct Exporter<'a> {
    build: &'a Build<'a>,
    images: Vec<Exporting<'a>>,
    multi_platform: bool,
    names: Vec<Reference>,
    attestor: Option<Attestor<'a>>,
    exported: Exported,
    /// Keeps the layers from being pruned until all outputs are written.
    _lease: Lease,
}

impl Exporter<'_> {
    fn output(&mut self, number: u32, output: &Output) -> Result<(), EngineError> {
        let stop = self.build.cancel.flag();
        let names = output_names(output, &self.names)?;
        let index = self.multi_platform || self.attestor.is_some();
        match output {
            Output::Image(_) if stays_unpacked(output, index) => self.store_image(&names),
            Output::Image(to) => self.told(number, "exporting to image", |e, step| {
                let image = e.assemble(&to.image, &names, step)?;
                let canonical = |name: &Reference| name.repository().with_digest(image.root().digest);
                let by_digest = to.push == Some(Push::Digest);
                let given = if by_digest { names.iter().map(canonical).collect() } else { names };
                if to.store {
                    e.store_assembly(&image, &given)?;
                }
                if to.push.is_some() {
                    e.push(&image, &given, to.insecure, step)?;
                }
                e.exported(&image, &given);
                Ok(())
            }),
            Output::Oci { dest, image } => self.told(number, "exporting to oci image format", |e, step| {
                let image = e.assemble(image, &names, step)?;
                let store = e.build.engine.store();
                let begun = e.build.ahead.take(dest);
                kiln_exporters::write_oci(store, &image, &names, &destination(dest), begun, &stop)
                    .map(|replaced| e.build.engine.keep_replaced(replaced))
                    .map_err(EngineError::export)?;
                e.exported(&image, &names);
                Ok(())
            }),
            Output::Docker { dest, image } => self.told(number, "exporting to docker image format", |e, step| {
                let image = e.images[0].pack(image, step)?;
                let store = e.build.engine.store();
                let begun = e.build.ahead.take(dest);
                kiln_exporters::write_docker(store, &image, &names, &destination(dest), begun, &stop)
                    .map(|replaced| e.build.engine.keep_replaced(replaced))
                    .map_err(EngineError::export)?;
                e.exported(&Assembly::single(image), &names);
                Ok(())
            }),
            Output::Load { daemon, image } => self.told(number, "exporting to docker image format", |e, step| {
                let image = e.load(daemon, image, &names, step)?;
                e.exported(&Assembly::single(image), &names);
                Ok(())
            }),
            Output::Local { dest, platform_split } => self.told(number, "exporting to client directory", |e, _| {
                let (_kept, tree) = e.files(*platform_split)?;
                kiln_exporters::write_local(tree.as_ref(), dest, &stop).map_err(EngineError::export)
            }),
            Output::Tar { dest, platform_split } => self.told(number, "exporting to client tarball", |e, _| {
                let (_kept, tree) = e.files(*platform_split)?;
                kiln_exporters::write_tar(tree.as_ref(), &destination(dest), &stop)
                    .map(|replaced| e.build.engine.keep_replaced(replaced))
                    .map_err(EngineError::export)
            }),
            Output::CacheOnly => Ok(()),
        }
    }

    /// The images of all platforms as blobs.
    fn assemble(&self, options: &ImageOptions, names: &[Reference], step: StepId) -> Result<Assembly, EngineError> {
        assemble(&self.images, self.multi_platform, options, self.attestor.as_ref(), names, step)
    }

    /// The files of the result, with what keeps them there: those of each platform in a directory, if they are to be split.
    fn files(&mut self, split: Option<bool>) -> Result<(Kept, Arc<dyn Tree>), EngineError> {
        let split = split.unwrap_or(self.multi_platform);
        let realized = self.images.iter().map(Exporting::realize).collect::<Result<Vec<_>, _>>()?;
        let platforms = self.images.iter().map(|image| image.image.platform.to_string());
        let mut trees: Vec<_> = platforms.zip(realized.iter().map(|files| Arc::clone(&files.tree))).collect();
        let mut kept = Kept { _realized: realized, _statements: Vec::new() };
        if let Some(attestor) = self.attestor.as_ref().filter(|attestor| attestor.has_files()) {
            let named = self.images.len() > 1 && !split;
            for (exporting, (platform, tree)) in self.images.iter_mut().zip(&mut trees) {
                let (statements, directory) = statement_files(attestor, exporting, named.then_some(platform), &**tree)?;
                let both = vec![(platform.clone(), Arc::clone(tree)), ("the attestations".to_owned(), statements)];
                *tree = Arc::new(Merged::new(both).map_err(EngineError::export)?);
                kept._statements.push(directory);
            }
        }
        let tree: Arc<dyn Tree> = if split {
            Arc::new(PlatformDirectories::new(
                trees.into_iter().map(|(name, tree)| (name.replace('/', "_").into(), tree)),
            ))
        } else if trees.len() > 1 {
            Arc::new(Merged::new(trees).map_err(EngineError::export)?)
        } else {
            trees.swap_remove(0).1
        };
        let tree = match self.images[0].image.source_date_epoch {
            Some(epoch) => Arc::new(Dated::new(tree, epoch)) as Arc<dyn Tree>,
            None => tree,
        };
        Ok((kept, tree))
    }

    /// Notes what an output has made.
    fn exported(&mut self, image: &Assembly, names: &[Reference]) {
        self.exported.config = image.config_digest();
        self.exported.manifest = Some(ManifestDescriptor::of(image.root()));
        self.exported.add_names(names.iter().map(ToString::to_string).collect());
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
}

/// What keeps files there while they are written.
struct Kept {
    _realized: Vec<Realized>,
    _statements: Vec<TempDir>,
}

/// What is stated of an image, as files; `platform` becomes part of their names.
fn statement_files(
    attestor: &Attestor<'_>,
    exporting: &mut Exporting<'_>,
    platform: Option<&String>,
    beside: &dyn Tree,
) -> Result<(Arc<dyn Tree>, TempDir), EngineError> {
    let directory = exporting.temp_dir()?;
    let config = serde_json::to_vec(&exporting.complete()?.0);
    let config = config.map_err(EngineError::internal("failed to write the image's config"))?;
    for file in attestor.files(&exporting.image, &config)? {
        let name = match (platform, file.name.split_once('.')) {
            (Some(platform), Some((stem, rest))) => format!("{stem}.{}.{rest}", platform.replace('/', "_")),
            _ => file.name.to_owned(),
        };
        let there = beside.entry(Path::new(&name)).map_err(|error| EngineError::export(error.into()))?;
        if there.is_some() {
            let message = format!("`/{name}` of the image would be overwritten with an attestation");
            return Err(EngineError::new(ErrorKind::User, message)
                .with_hint("leave out `--provenance` and `--sbom`, or remove that file from the image"));
        }
        let path = directory.path().join(name);
        std::fs::write(&path, &file.bytes).map_err(EngineError::io("write", &path))?;
    }
    let tree = Directory::new(directory.path()).map_err(|error| EngineError::export(error.into()))?;
    Ok((Arc::new(tree), directory))
}

fn destination(dest: &Destination) -> kiln_exporters::Destination {
    match dest {
        Destination::File(path) => kiln_exporters::Destination::File(path.clone()),
        Destination::Directory(path) => kiln_exporters::Destination::Directory(path.clone()),
        Destination::Stdout => kiln_exporters::Destination::Stdout,
    }
}

impl EngineError {
    fn export(error: ExportError) -> Self {
        let kind = match &error {
            ExportError::Write { .. }
            | ExportError::Stdout(_)
            | ExportError::Overlap { .. }
            | ExportError::NeedsFile
            | ExportError::DockerIndex => ErrorKind::User,
            _ => ErrorKind::Internal,
        };
        Self::of(kind, error)
    }
}
