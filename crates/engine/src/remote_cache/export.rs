//! Writes a remote cache: blobs first, the manifest last, so that until it is published the old cache stands. What goes there is
//! [`super::of_build`]'s and [`super::of_store`]'s to say.
//!
//! A layer that some cache has is not compressed again, and one that the place has is not sent again.

use super::document::{Document, RemoteStep};
use super::import::{Holdings, Import};
use super::with_causes;
use crate::cancel::CancelToken;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink, StepId, Stream};
use kiln_digest::{ContentDigest, Digest};
use kiln_exporters::PackError;
use kiln_layer::BlobCompression;
use kiln_remote::{
    Access, BlobRef, CacheExport, CacheManifest, CachedLayer, CachedMount, Content, ExportOptions, MANIFEST_VERSION,
    Remote, RemoteError, Sent, connect,
};
use kiln_store::{LayerId, Store};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// As many layers are compressed and sent at once.
const PARALLEL: usize = 4;
/// So much of a blob is copied at once.
const BUFFER: usize = 256 << 10;

/// Why a cache could not be exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheExportError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("failed to pack a layer for the cache")]
    Pack(#[from] PackError),
    #[error("failed to read the cache that is there, without which its cache mounts would be lost")]
    Old(#[source] RemoteError),
    #[error("failed to write a copy of a blob")]
    Copy(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    #[error("cancelled")]
    Cancelled,
}

/// What goes into a cache.
pub(super) struct Contents {
    pub(super) steps: Vec<RemoteStep>,
    /// Where the layer of each diff id is.
    pub(super) sources: BTreeMap<Digest, Source>,
    /// Digests of what copies and mounts take from trees.
    pub(super) selections: Vec<(ContentDigest, ContentDigest)>,
    /// Which cache mounts, by their keys.
    pub(super) wants_mount: Box<dyn Fn(&str) -> bool>,
    /// Caches whose mounts are handed on where this machine has none, the first before the others.
    pub(super) other_mounts: Vec<(Arc<Import>, Arc<Holdings>)>,
}

/// Where a layer comes from.
pub(super) enum Source {
    Store(LayerId),
    /// A cache that this build looked in.
    Import(CachedLayer, Arc<Import>),
}

/// What an export needs of whoever asks for it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) store: &'a Store,
    pub(super) events: &'a dyn EventSink,
    pub(super) cancel: &'a CancelToken,
    pub(super) access: &'a Access,
    /// The step that is told of.
    pub(super) step: StepId,
}

/// A cache while it is written.
pub(super) struct Exporting<'a> {
    pub(super) asked: Asked<'a>,
    options: &'a ExportOptions,
    pub(super) remote: &'a dyn Remote,
    /// What the cache has that is there.
    old: HashMap<Digest, CachedLayer>,
    pub(super) old_mounts: Vec<CachedMount>,
    pub(super) sent: AtomicU64,
    pub(super) present: AtomicU64,
}

/// Writes a cache, told as a step of its own.
pub(super) fn export(
    asked: Asked<'_>,
    export: &CacheExport,
    contents: impl FnOnce() -> Result<Contents, CacheExportError>,
) -> Result<(), EngineError> {
    let (step, events, started) = (asked.step, asked.events, Instant::now());
    let remote = connect(&export.location, asked.access);
    let name = match &remote {
        Ok(remote) => format!("exporting cache to {}", remote.name()),
        Err(_) => "exporting cache".to_owned(),
    };
    events.event(Event::StepStarted { step, name, stage: None });
    let exported = remote.map_err(CacheExportError::Remote).and_then(|remote| {
        let exporting = Exporting::new(asked, &export.options, remote.as_ref())?;
        exporting.run(contents()?)?;
        let text = exporting.summary();
        events.event(Event::StepLog { step, stream: Stream::Stderr, data: text.into_bytes() });
        Ok(())
    });
    let exported = match exported {
        Err(_) if asked.cancel.is_cancelled() => Err(EngineError::cancelled()),
        Err(error) if export.options.ignore_error => {
            let message = format!("the cache was not exported: {}", with_causes(&error));
            events.event(Event::Warning { message, span: None });
            Ok(())
        }
        exported => exported.map_err(EngineError::from_cache_export),
    };
    let error = exported.as_ref().err().map(ToString::to_string);
    events.event(Event::StepFinished { step, duration: started.elapsed(), error });
    exported
}

impl<'a> Exporting<'a> {
    fn new(asked: Asked<'a>, options: &'a ExportOptions, remote: &'a dyn Remote) -> Result<Self, CacheExportError> {
        let old = match remote.manifest() {
            // A registry may say so of what is not there yet to who may only write.
            Err(error) if error.is_broken() || error.is_denied() => {
                let causes = with_causes(&error);
                let message =
                    format!("a cache that cannot be used is replaced, without the mounts that only it has: {causes}");
                asked.events.event(Event::Warning { message, span: None });
                None
            }
            old => old.map_err(CacheExportError::Old)?,
        };
        let (layers, old_mounts) = old.map(|manifest| (manifest.layers, manifest.mounts)).unwrap_or_default();
        let old = layers.into_iter().map(|layer| (layer.diff_id, layer)).collect();
        let (sent, present) = Default::default();
        Ok(Self { asked, options, remote, old, old_mounts, sent, present })
    }

    fn run(&self, contents: Contents) -> Result<(), CacheExportError> {
        let layers = self.layers(contents.sources)?;
        let mounts = self.mounts(&*contents.wants_mount, &contents.other_mounts)?;
        let mut steps = contents.steps;
        let there: HashSet<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        steps.retain(|step| there.contains(&step.diff_id));
        let document = Document::new(steps, contents.selections).to_json();
        let records = BlobRef::of_bytes(&document);
        self.count(&records, self.remote.write(&records, Content::Bytes(&document))?);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let manifest = CacheManifest { version: MANIFEST_VERSION, created: since.as_secs(), records, layers, mounts };
        if let Some(aside) = self.remote.publish(&manifest)? {
            let aside = aside.display();
            let message =
                format!("an index that cannot be read was put aside as `{aside}`: it may have named other caches");
            self.asked.events.event(Event::Warning { message, span: None });
        }
        Ok(())
    }

    /// Makes the place have all layers that can be had, several at once.
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
                    Ok(Some(layer)) => done.lock().unwrap_or_else(PoisonError::into_inner).push((number, layer)),
                    Ok(None) => {}
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

    /// Makes the place have one layer. Nothing if the cache that has it does not give it, which people are told.
    fn layer(&self, diff_id: Digest, source: &Source) -> Result<Option<CachedLayer>, CacheExportError> {
        let options = self.options;
        let fits = |layer: &&CachedLayer| {
            let wanted = options.compression.filter(|_| options.force_compression);
            wanted.is_none_or(|wanted| wanted.format.media_type() == layer.media_type)
        };
        if let Some(old) = self.old.get(&diff_id).filter(fits)
            && self.remote.keep(&old.blob)?
        {
            self.count(&old.blob, Sent::Present);
            return Ok(Some(old.clone()));
        }
        match source {
            Source::Import(cached, import) => match self.copy(&cached.blob, import)? {
                Ok(()) => Ok(Some(cached.clone())),
                Err(why) => {
                    let message = format!("a layer from {} was left out of the cache: {why}", import.remote().name());
                    self.asked.events.event(Event::Warning { message, span: None });
                    Ok(None)
                }
            },
            Source::Store(layer) => {
                let store = self.asked.store;
                let compression: BlobCompression = options.compression.unwrap_or_default();
                let (diff_id, blob) =
                    kiln_exporters::layer_blob(store, *layer, compression, &self.asked.cancel.flag())?;
                let reference = BlobRef { digest: blob.digest, size: blob.size };
                self.send(&reference, &store.blob_path(&blob.digest))?;
                Ok(Some(CachedLayer { diff_id, blob: reference, media_type: blob.media_type }))
            }
        }
    }

    /// Sends a blob that another cache has, unless the place has it. Or says why that cache does not give it.
    pub(super) fn copy(&self, blob: &BlobRef, from: &Import) -> Result<Result<(), String>, CacheExportError> {
        if self.remote.keep(blob)? {
            self.count(blob, Sent::Present);
            return Ok(Ok(()));
        }
        let directory = self.asked.store.temp_dir()?;
        let path = directory.path().join("blob");
        let mut reader = match from.remote().read(blob) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(with_causes(&error))),
        };
        let mut file = File::create_new(&path).map_err(CacheExportError::Copy)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.asked.cancel.is_cancelled() {
                return Err(CacheExportError::Cancelled);
            }
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => file.write_all(&buffer[..read]).map_err(CacheExportError::Copy)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(with_causes(&error))),
            }
        }
        self.send(blob, &path).map(Ok)
    }

    fn send(&self, blob: &BlobRef, path: &Path) -> Result<(), CacheExportError> {
        let tell = |current, done| {
            let (item, total) = (format!("sha256:{}", blob.digest.short()), Some(blob.size));
            let event = Event::StepProgress { step: self.asked.step, item, current, total, done };
            self.asked.events.event(event);
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

impl EngineError {
    pub(super) fn from_cache_export(error: CacheExportError) -> Self {
        match error {
            CacheExportError::Remote(error) => from_remote(error),
            CacheExportError::Old(ref cause) => {
                let kind = remote_kind(cause);
                Self::of(kind, error)
                    .with_hint("`ignore-error=true` makes it a warning, and leaves the old cache as it is")
            }
            CacheExportError::Pack(error) => Self::pack(error),
            CacheExportError::Copy(_) | CacheExportError::Store(_) => Self::of(ErrorKind::Internal, error),
            CacheExportError::Cancelled => Self::cancelled(),
        }
    }
}

/// A cache that could not be written, or that somebody wants to read and nothing else.
pub(super) fn from_remote(error: RemoteError) -> EngineError {
    if error.is_cancelled() { EngineError::cancelled() } else { EngineError::of(remote_kind(&error), error) }
}

fn remote_kind(error: &RemoteError) -> ErrorKind {
    match error {
        RemoteError::Unsupported { .. } => ErrorKind::Unsupported,
        RemoteError::File { .. } | RemoteError::Manifest { .. } => ErrorKind::User,
        _ => ErrorKind::Network,
    }
}
