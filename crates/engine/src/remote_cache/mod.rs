//! Caches of other machines: what a build looks up in them, fetches from them, and leaves in them.
//!
//! ```text
//!   --cache-from ─▶ import: manifest and records, read in the background
//!                     │ a step is not in the store
//!                     ▼
//!                   a hit: a layer that is away ─▶ away: fetched when a step or an output needs its files
//!                     │ a step is about to run
//!                     ▼
//!                   mounts: the cache mounts that are not in the store are fetched in the background
//!   --cache-to   ◀─ of_build: what a build that succeeded made ─▶ export
//!   kiln cache export ◀─ of_store: all that the store has ─▶ export
//!   kiln cache import ─▶ into_store: all that a cache has
//!   kiln cache ls, gc ─▶ contents, collect
//! ```
//!
//! How a cache is laid out in a registry or a directory is `kiln-remote`'s. Invariants:
//! - A build that finds everything in its store waits for no cache.
//! - No cache makes a build fail or its result wrong: what cannot be read, or is not what it was said to be, is a warning and a
//!   miss.

mod away;
mod collect;
mod contents;
mod document;
mod export;
mod export_mounts;
mod fetch;
mod import;
mod into_store;
mod mounts;
mod of_build;
mod of_store;

pub(crate) use away::{AwayLayer, LayerLost};
pub use collect::{CacheLimits, CollectedCache};
pub use contents::{CacheContents, CachedLayerInfo, CachedMountInfo};
pub use into_store::ImportedCache;
pub(crate) use mounts::RemoteMounts;
pub(crate) use of_build::{check, export, inline};

use crate::build::Build;
use crate::cancel::{CancelToken, HookGuard};
use crate::engine::Engine;
use crate::event::{Event, Stream};
use document::RemoteStep;
use import::{Holdings, Import, ImportError};
use kiln_digest::{CacheKey, ContentDigest, Digest};
use kiln_registry::Repository;
use kiln_remote::{Access, BlobRef, CacheImport, connect};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The caches that a build may look in, however often it begins again.
pub(crate) struct RemoteCaches {
    imports: Vec<Arc<Import>>,
    /// Blobs that cannot be had, or are not what they should be.
    lost: Mutex<HashSet<Digest>>,
    pub(crate) access: Access,
    _forward: HookGuard,
}

impl RemoteCaches {
    /// Begins to read what the caches hold. Warnings are for those that cannot be reached from here at all.
    pub(crate) fn begin(engine: &Engine, imports: &[CacheImport], cancel: &CancelToken, warn: &dyn Fn(String)) -> Self {
        let (access, forward) = access(engine, cancel);
        let mut reading = Vec::new();
        for import in imports {
            match connect(&import.location, &access) {
                Ok(remote) => reading.push(Import::begin(remote)),
                Err(error) => warn(unusable(&ImportError::Remote(error))),
            }
        }
        Self { imports: reading, lost: Mutex::default(), access, _forward: forward }
    }

    /// Counts no more on a blob.
    fn lose(&self, blob: &BlobRef) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
    }

    fn is_lost(&self, blob: &BlobRef) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(&blob.digest)
    }

    /// What an export needs to reach caches, which counts on nothing that is lost.
    fn access_to_export(&self, pushed: &[Repository]) -> Access {
        let broken = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Access { pushed: pushed.to_vec(), broken, ..self.access.clone() }
    }
}

/// What is needed to reach caches, for as long as nobody cancels.
fn access(engine: &Engine, cancel: &CancelToken) -> (Access, HookGuard) {
    let stop = Arc::new(AtomicBool::new(false));
    let to_stop = Arc::clone(&stop);
    let forward = cancel.on_cancel(move || to_stop.store(true, Ordering::SeqCst));
    (Access { client: engine.client().clone(), stop, pushed: Vec::new(), broken: HashSet::new() }, forward)
}

impl Drop for RemoteCaches {
    fn drop(&mut self) {
        // What is still being read is of no use to anybody.
        self.access.stop.store(true, Ordering::SeqCst);
    }
}

impl Build<'_> {
    /// What some cache has under a key, with its layer that is away.
    pub(crate) fn find_away(&self, key: &CacheKey, fits: &dyn Fn(&RemoteStep) -> bool) -> Option<AwayLayer> {
        self.remote_caches.imports.iter().find_map(|import| {
            let holdings = self.holdings(import)?;
            let step = holdings.steps.get(key).filter(|step| fits(step))?;
            let layer = holdings.layers.get(&step.diff_id);
            let layer = layer.filter(|layer| !self.remote_caches.is_lost(&layer.blob))?;
            Some(AwayLayer::new(step.clone(), layer.clone(), Arc::clone(import)))
        })
    }

    /// What some cache says that a selection is.
    pub(crate) fn find_selection(&self, key: &ContentDigest) -> Option<ContentDigest> {
        self.remote_caches.imports.iter().find_map(|import| self.holdings(import)?.selections.get(key).copied())
    }

    /// What a cache holds, if the build has waited for that already.
    fn known_holdings(&self, import: &Import) -> Option<Arc<Holdings>> {
        let told = *import.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told { import.wait(&self.cancel).ok()? } else { None }
    }

    /// What a cache holds. Waits until that is known, and tells people about it the first time.
    fn holdings(&self, import: &Import) -> Option<Arc<Holdings>> {
        let mut told = import.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told {
            return import.wait(&self.cancel).ok()?;
        }
        let (step, started) = (self.next_internal_id(), Instant::now());
        let name = format!("importing cache from {}", import.remote().name());
        self.events.event(Event::StepStarted { step, name, stage: None });
        let read = import.wait(&self.cancel);
        let text = match &read {
            Ok(Some(holdings)) => holdings.summary(),
            Ok(None) => "there is no cache yet\n".to_owned(),
            Err(_) => String::new(),
        };
        self.events.event(Event::StepLog { step, stream: Stream::Stderr, data: text.into_bytes() });
        let error = self.cancel.is_cancelled().then(|| "cancelled".to_owned());
        *told = error.is_none();
        self.events.event(Event::StepFinished { step, duration: started.elapsed(), error });
        read.unwrap_or_else(|error| {
            if !self.cancel.is_cancelled() {
                self.events.event(Event::Warning { message: unusable(&error), span: None });
            }
            None
        })
    }
}

impl Holdings {
    fn summary(&self) -> String {
        let (steps, mounts) = (self.steps.len(), self.mounts.len());
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        format!("{steps} step{}, {mounts} cache mount{}\n", plural(steps), plural(mounts))
    }
}

/// What people are told of a cache that cannot be used.
fn unusable(error: &ImportError) -> String {
    format!("building without a cache that was asked for: {}", with_causes(error))
}

/// An error with all its causes, in one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        // A wrapper often repeats what it wraps.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
