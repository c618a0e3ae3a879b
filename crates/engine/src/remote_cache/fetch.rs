//! Fetches layers of remote caches into the store.
//!
//! A layer is unpacked as those of images are, and becomes one of the store only if its tar stream has the diff id, and its files have
//! the digest, that the record says. What the cache had is known to the store from then on.

use super::away::AwayLayer;
use super::with_causes;
use crate::cancel::CancelToken;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink, StepId};
use kiln_digest::{ContentDigest, Digest, Hasher};
use kiln_layer::{ApplyError, ApplyOptions, TreeError, apply, decompress_ahead, diff_digest_until};
use kiln_remote::RemoteError;
use kiln_store::{ImportedLayer, LayerId, NewLayer, Store};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// As many layers are fetched at once.
const PARALLEL: usize = 4;

/// What is done about a layer that cannot be had.
pub(super) type WhenLost<'a> = dyn Fn(&AwayLayer) -> Result<(), EngineError> + Sync + 'a;

/// Fetches layers.
pub(super) struct Fetching<'a> {
    pub(super) store: &'a Store,
    pub(super) events: &'a dyn EventSink,
    pub(super) cancel: &'a CancelToken,
    /// The step that is told of.
    pub(super) step: StepId,
}

/// Why a layer is lost.
#[derive(Debug, thiserror::Error)]
enum LostLayer {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("failed to read it")]
    Read(#[source] io::Error),
    #[error("failed to unpack it")]
    Unpack(#[source] ApplyError),
    #[error("failed to read what it unpacks to")]
    Tree(#[source] TreeError),
    #[error("it unpacks to `{actual}`, but its record says `{expected}`")]
    DiffId { actual: Digest, expected: Digest },
    #[error("its files are `{actual}`, but its record says `{expected}`")]
    Content { actual: ContentDigest, expected: ContentDigest },
    #[error("it needs files of the layers below, as no layer of a step does")]
    Deferred,
}

impl Fetching<'_> {
    /// Fetches layers, several at once, told as a step of their own. `lost` is called for each that cannot be had, after people were
    /// warned; its error ends the work.
    pub(super) fn all(&self, layers: &[&AwayLayer], lost: &WhenLost<'_>) -> Result<(), EngineError> {
        let Some(first) = layers.first() else { return Ok(()) };
        let (step, started) = (self.step, Instant::now());
        let name = format!("fetching cached layers from {}", first.place());
        self.events.event(Event::StepStarted { step, name, stage: None });
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<EngineError>> = Mutex::default();
        let work = || {
            while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.fetch(layer, lost) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    next.store(layers.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL.min(layers.len()) {
                scope.spawn(work);
            }
            work();
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let error = failed.as_ref().map(ToString::to_string);
        self.events.event(Event::StepFinished { step, duration: started.elapsed(), error });
        failed.map_or(Ok(()), Err)
    }

    fn fetch(&self, layer: &AwayLayer, lost: &WhenLost<'_>) -> Result<(), EngineError> {
        let mut here = layer.here.lock().unwrap_or_else(PoisonError::into_inner);
        if here.is_some() {
            return Ok(());
        }
        let store = self.store;
        // Of several processes that need the same layer one fetches it; the others wait and find it.
        let key = Hasher::new("kiln cached layer v1").field(layer.step.diff.as_bytes()).key();
        let _lock = store.lock_step(&key, || !self.cancel.is_cancelled()).map_err(|error| {
            if self.cancel.is_cancelled() { EngineError::cancelled() } else { EngineError::store(error) }
        })?;
        let known = store.layer_of_content(layer.step.diff).map_err(EngineError::store)?;
        let id = match known {
            Some(id) => id,
            None => match self.unpack(layer)? {
                Ok(id) => id,
                Err(why) => {
                    let message = format!("a cached layer from {} cannot be used: {why}", layer.place());
                    self.events.event(Event::Warning { message, span: None });
                    return lost(layer);
                }
            },
        };
        layer.step.record().keep(store, &layer.step.key, id).map_err(EngineError::store)?;
        *here = Some(id);
        Ok(())
    }

    /// Unpacks a layer while it is read, and commits it if it is the one that its record names. Otherwise says why not.
    fn unpack(&self, layer: &AwayLayer) -> Result<Result<LayerId, String>, EngineError> {
        let (store, step) = (self.store, self.step);
        let directory = store.temp_dir().map_err(EngineError::store)?;
        let fs = directory.path().join("fs");
        let blob = layer.cached.blob;
        let tell = |current| {
            let (item, total) = (format!("sha256:{}", blob.digest.short()), Some(blob.size));
            self.events.event(Event::StepProgress { step, item, current, total, done: current == blob.size });
        };
        let unpack = || {
            let read = Arc::new(AtomicU64::new(0));
            let reader = Counted { inner: layer.import.remote().read(&blob)?, read: Arc::clone(&read) };
            let stream = decompress_ahead(reader).map_err(LostLayer::Read)?;
            let mut stream = Told { stream, read, told: 0, tell: &tell, cancel: self.cancel };
            let applied = apply(&mut stream, &fs, &ApplyOptions::default()).map_err(LostLayer::Unpack)?;
            let expected = layer.step.diff_id;
            if applied.diff_id != expected {
                return Err(LostLayer::DiffId { actual: applied.diff_id, expected });
            }
            if !applied.deferred.is_empty() {
                return Err(LostLayer::Deferred);
            }
            let diff = diff_digest_until(&fs, &self.cancel.flag()).map_err(LostLayer::Tree)?;
            let expected = layer.step.diff;
            if diff.digest != expected {
                return Err(LostLayer::Content { actual: diff.digest, expected });
            }
            tell(blob.size);
            Ok((applied, diff))
        };
        let (applied, diff) = match unpack() {
            Ok(unpacked) => unpacked,
            Err(_) if self.cancel.is_cancelled() => return Err(EngineError::cancelled()),
            Err(error) => {
                let why = with_causes(&error);
                let failed = EngineError::new(ErrorKind::Internal, "failed to unpack a layer of a remote cache");
                let failed = failed.with_source(error);
                return if failed.is_full_disk() { Err(failed) } else { Ok(Err(why)) };
            }
        };
        let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
        let imported =
            ImportedLayer { diff_id: applied.diff_id, diff_size: applied.size, created: layer.step.created() };
        Ok(Ok(store.commit_imported_layer(&fs, new, &imported).map_err(EngineError::store)?.id))
    }
}

/// A step is told of in steps of so many bytes.
const TOLD_BYTES: u64 = 1 << 20;

/// A reader that counts.
struct Counted {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The stream within, which tells how much of the blob has been read.
struct Told<'a> {
    stream: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    told: u64,
    tell: &'a dyn Fn(u64),
    cancel: &'a CancelToken,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let current = self.read.load(Ordering::Relaxed);
        if current - self.told >= TOLD_BYTES {
            self.told = current;
            (self.tell)(current);
        }
        self.stream.read(buffer)
    }
}
