//! What a build leaves in a remote cache once it has succeeded: the records of its steps, their layers, what was selected of them, and
//! ([`super::export_mounts`]) cache mounts.
//!
//! Blobs first, the manifest last: until that is published the old cache stands. A layer that some cache has is not compressed again, and
//! one that the place has is not sent again.

use super::document::{Document, RemoteStep};
use super::import::Import;
use super::with_causes;
use crate::build::{Build, StepRecord, StepResult};
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, StepId, Stream};
use crate::snapshot::OwnLayer;
use kiln_digest::Digest;
use kiln_exporters::PackError;
use kiln_graph::{Op, VertexId};
use kiln_layer::BlobCompression;
use kiln_remote::{
    Access, BlobRef, CacheExport, CacheManifest, CachedLayer, CachedMount, Content, MANIFEST_VERSION, Mode, Remote,
    RemoteError, Sent, connect,
};
use kiln_store::LayerId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// As many layers are compressed and sent at once.
const PARALLEL: usize = 4;

/// Why a cache could not be exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheExportError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("failed to pack a layer for the cache")]
    Pack(#[from] PackError),
    #[error("failed to copy a layer from {from}")]
    Copy { from: String, source: io::Error },
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    #[error("cancelled")]
    Cancelled,
}

/// Refuses places that cannot get a cache, before anything is built.
pub(crate) fn check(exports: &[CacheExport], access: &Access) -> Result<(), EngineError> {
    for export in exports {
        connect(&export.location, access).map_err(|error| EngineError::from_cache_export(error.into()))?;
    }
    Ok(())
}

/// Leaves what the build made in all caches that were asked for.
pub(crate) fn export(build: &Build<'_>, exports: &[CacheExport], targets: &[VertexId]) -> Result<(), EngineError> {
    for export in exports {
        told(build, export, targets)?;
    }
    Ok(())
}

/// One export, as a step of its own.
fn told(build: &Build<'_>, export: &CacheExport, targets: &[VertexId]) -> Result<(), EngineError> {
    let remote = connect(&export.location, &build.remote_caches.access);
    let name = match &remote {
        Ok(remote) => format!("exporting cache to {}", remote.name()),
        Err(_) => "exporting cache".to_owned(),
    };
    let (step, started) = (build.next_internal_id(), Instant::now());
    build.events.event(Event::StepStarted { step, name, stage: None });
    let exported = remote.map_err(CacheExportError::Remote).and_then(|remote| {
        // An old cache that cannot be used is replaced.
        let old = remote.manifest().ok().flatten();
        let (layers, old_mounts) = old.map(|manifest| (manifest.layers, manifest.mounts)).unwrap_or_default();
        let exporting = Exporting {
            build,
            export,
            remote: remote.as_ref(),
            step,
            old: layers.into_iter().map(|layer| (layer.diff_id, layer)).collect(),
            old_mounts,
            sent: AtomicU64::new(0),
            present: AtomicU64::new(0),
        };
        exporting.run(targets)?;
        let text = exporting.summary();
        build.events.event(Event::StepLog { step, stream: Stream::Stderr, data: text.into_bytes() });
        Ok(())
    });
    let exported = match exported {
        Err(_) if build.cancel.is_cancelled() => Err(EngineError::cancelled()),
        Err(error) if export.options.ignore_error => {
            let message = format!("the cache was not exported: {}", with_causes(&error));
            build.events.event(Event::Warning { message, span: None });
            Ok(())
        }
        exported => exported.map_err(EngineError::from_cache_export),
    };
    let error = exported.as_ref().err().map(ToString::to_string);
    build.events.event(Event::StepFinished { step, duration: started.elapsed(), error });
    exported
}

/// A cache while it is written.
pub(super) struct Exporting<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) export: &'a CacheExport,
    pub(super) remote: &'a dyn Remote,
    pub(super) step: StepId,
    /// What the cache has that is there.
    old: HashMap<Digest, CachedLayer>,
    pub(super) old_mounts: Vec<CachedMount>,
    pub(super) sent: AtomicU64,
    pub(super) present: AtomicU64,
}

/// Where a layer comes from.
enum Source {
    Store(LayerId),
    /// A cache that this build looked in.
    Import(CachedLayer, Arc<Import>),
}

impl Exporting<'_> {
    fn run(&self, targets: &[VertexId]) -> Result<(), CacheExportError> {
        let (steps, sources) = self.steps(targets)?;
        let layers = self.layers(sources)?;
        let mounts = self.mounts(targets)?;
        let document = Document::new(steps, self.build.selections.of_snapshots()).to_json();
        let records = BlobRef::of_bytes(&document);
        self.count(&records, self.remote.write(&records, Content::Bytes(&document))?);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let manifest = CacheManifest { version: MANIFEST_VERSION, created: since.as_secs(), records, layers, mounts };
        Ok(self.remote.publish(&manifest)?)
    }

    /// The steps that travel, and where the layer of each diff id is.
    fn steps(&self, targets: &[VertexId]) -> Result<(Vec<RemoteStep>, BTreeMap<Digest, Source>), CacheExportError> {
        let results = self.build.results.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_image = in_image(self.build, targets);
        let (mut steps, mut sources) = (Vec::new(), BTreeMap::new());
        for (vertex, result) in results {
            if self.export.options.mode == Mode::Min && !in_image.contains(&vertex) {
                continue;
            }
            let Some((step, source)) = self.outgoing(&result)? else { continue };
            sources.entry(step.diff_id).or_insert(source);
            steps.push(step);
        }
        Ok((steps, sources))
    }

    /// What travels of a step; nothing if it was pruned meanwhile.
    fn outgoing(&self, result: &StepResult) -> Result<Option<(RemoteStep, Source)>, CacheExportError> {
        let away = match &result.layer {
            OwnLayer::Here(_) => None,
            OwnLayer::Away(away) => Some(away),
        };
        if let Some(away) = away {
            let source = Source::Import(away.cached.clone(), Arc::clone(&away.import));
            return Ok(Some((away.step.clone(), source)));
        }
        let store = self.build.engine.store();
        let Some((layer, record)) = StepRecord::find(store, &result.key)? else { return Ok(None) };
        let Some(known) = store.layer(layer)? else { return Ok(None) };
        let diff_id = kiln_exporters::diff_id(store, layer, &self.build.cancel.flag())?;
        Ok(Some((RemoteStep::new(result.key, &record, diff_id, known.created), Source::Store(layer))))
    }

    /// Makes the place have all layers, several at once.
    fn layers(&self, sources: BTreeMap<Digest, Source>) -> Result<Vec<CachedLayer>, CacheExportError> {
        let sources: Vec<(Digest, Source)> = sources.into_iter().collect();
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, CachedLayer)>> = Mutex::default();
        let failed: Mutex<Option<CacheExportError>> = Mutex::default();
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((diff_id, source)) = sources.get(number) else { return };
                match self.layer(*diff_id, source) {
                    Ok(layer) => done.lock().unwrap_or_else(PoisonError::into_inner).push((number, layer)),
                    Err(error) => {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        next.store(sources.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL.min(sources.len()) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_unstable_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, layer)| layer).collect())
    }

    /// Makes the place have one layer.
    fn layer(&self, diff_id: Digest, source: &Source) -> Result<CachedLayer, CacheExportError> {
        let options = &self.export.options;
        let fits = |layer: &&CachedLayer| {
            let wanted = options.compression.filter(|_| options.force_compression);
            wanted.is_none_or(|wanted| wanted.format.media_type() == layer.media_type)
        };
        if let Some(old) = self.old.get(&diff_id).filter(fits)
            && self.remote.has(&old.blob)?
        {
            self.count(&old.blob, Sent::Present);
            return Ok(old.clone());
        }
        match source {
            Source::Import(cached, import) => {
                self.copy(&cached.blob, import)?;
                Ok(cached.clone())
            }
            Source::Store(layer) => {
                let store = self.build.engine.store();
                let compression: BlobCompression = options.compression.unwrap_or_default();
                let (diff_id, blob) =
                    kiln_exporters::layer_blob(store, *layer, compression, &self.build.cancel.flag())?;
                let reference = BlobRef { digest: blob.digest, size: blob.size };
                self.send(&reference, &store.blob_path(&blob.digest))?;
                Ok(CachedLayer { diff_id, blob: reference, media_type: blob.media_type })
            }
        }
    }

    /// Sends a blob that another cache has, unless the place has it.
    pub(super) fn copy(&self, blob: &BlobRef, from: &Import) -> Result<(), CacheExportError> {
        if self.remote.has(blob)? {
            self.count(blob, Sent::Present);
            return Ok(());
        }
        let directory = self.build.engine.store().temp_dir()?;
        let path = directory.path().join("blob");
        let mut reader = from.remote().read(blob)?;
        std::fs::File::create_new(&path)
            .and_then(|mut file| io::copy(&mut reader, &mut file))
            .map_err(|source| CacheExportError::Copy { from: from.remote().name(), source })?;
        self.send(blob, &path)
    }

    fn send(&self, blob: &BlobRef, path: &Path) -> Result<(), CacheExportError> {
        let tell = |current, done| {
            let (item, total) = (format!("sha256:{}", blob.digest.short()), Some(blob.size));
            let event = Event::StepProgress { step: self.step, item, current, total, done };
            self.build.events.event(event);
        };
        tell(0, false);
        let sent = self.remote.write(blob, Content::File(path))?;
        tell(blob.size, true);
        self.count(blob, sent);
        Ok(())
    }

    pub(super) fn count(&self, blob: &BlobRef, sent: Sent) {
        let counter = match sent {
            Sent::New => &self.sent,
            Sent::Present => &self.present,
        };
        counter.fetch_add(blob.size, Ordering::Relaxed);
    }

    fn summary(&self) -> String {
        let (sent, present) = (self.sent.load(Ordering::Relaxed), self.present.load(Ordering::Relaxed));
        format!("sent {sent} bytes, {present} bytes were there\n")
    }
}

/// The vertices whose layers the images have.
fn in_image(build: &Build<'_>, targets: &[VertexId]) -> BTreeSet<VertexId> {
    let mut found = BTreeSet::new();
    let mut left = targets.to_vec();
    while let Some(id) = left.pop() {
        let vertex = build.graph.vertex(id);
        let port = match &vertex.op {
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.base,
            Op::Source(_) => None,
        };
        if found.insert(id) {
            left.extend(port.map(|port| vertex.inputs[port.0 as usize]));
        }
    }
    found
}

impl EngineError {
    fn from_cache_export(error: CacheExportError) -> Self {
        match error {
            CacheExportError::Remote(RemoteError::Unsupported { .. }) => Self::of(ErrorKind::Unsupported, error),
            CacheExportError::Remote(RemoteError::File { .. }) => Self::of(ErrorKind::User, error),
            CacheExportError::Pack(error) => Self::pack(error),
            CacheExportError::Remote(_) | CacheExportError::Copy { .. } => Self::of(ErrorKind::Network, error),
            CacheExportError::Store(_) => Self::of(ErrorKind::Internal, error),
            CacheExportError::Cancelled => Self::cancelled(),
        }
    }
}
