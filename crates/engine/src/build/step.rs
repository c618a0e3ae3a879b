//! Steps as they are told about: numbers, times, logs; and what an op may use of the build while it runs.

use super::{Build, Selections};
use crate::cancel::CancelToken;
use crate::error::EngineError;
use crate::event::{Event, StepId, Stream};
use crate::outcome::StepCounts;
use crate::snapshot::Realized;
use kiln_digest::ContentDigest;
use kiln_graph::{Vertex, VertexId};
use kiln_sources::local::LocalContext;
use kiln_store::{LayerId, Store, TempDir};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The numbers of the steps of a build, in the order in which they first appear.
pub(crate) struct Steps {
    ids: Mutex<HashMap<VertexId, StepId>>,
    /// The last number; a build that begins again goes on from there.
    numbers: Arc<AtomicU32>,
    ran: AtomicU32,
    cached: AtomicU32,
}

impl Steps {
    /// No steps so far, but for those of earlier attempts.
    pub(crate) fn numbered_by(numbers: Arc<AtomicU32>) -> Self {
        Self { ids: Mutex::default(), numbers, ran: AtomicU32::new(0), cached: AtomicU32::new(0) }
    }

    /// The number of a vertex's step.
    pub(crate) fn id(&self, vertex: VertexId) -> StepId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        *ids.entry(vertex).or_insert_with(|| StepId(self.numbers.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// The number of a step that belongs to no vertex.
    pub(crate) fn internal_id(&self, number: u32) -> StepId {
        self.id(VertexId(u32::MAX - number))
    }

    pub(crate) fn count_ran(&self) {
        self.ran.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_cached(&self) {
        self.cached.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> StepCounts {
        StepCounts { ran: self.ran.load(Ordering::Relaxed), cached: self.cached.load(Ordering::Relaxed) }
    }
}

/// The stage of a vertex, as its position says.
pub(crate) fn stage(vertex: &Vertex) -> Option<String> {
    vertex.label.position.split_once('/').map(|(stage, _)| stage.to_owned())
}

/// The layer that a step made.
pub(crate) struct Made {
    pub(crate) layer: LayerId,
    /// The digest of what the layer changes.
    pub(crate) diff: ContentDigest,
}

/// What an op may use of the build while it runs.
pub(crate) struct StepContext<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) step: StepId,
}

impl StepContext<'_> {
    pub(crate) fn store(&self) -> &Store {
        self.build.engine.store()
    }

    pub(crate) fn temp_dir(&self) -> Result<TempDir, EngineError> {
        self.store().temp_dir().map_err(EngineError::store)
    }

    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.build.cancel
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), EngineError> {
        if self.cancel().is_cancelled() { Err(EngineError::cancelled()) } else { Ok(()) }
    }

    /// Passes on output of the step's process.
    pub(crate) fn log(&self, stream: Stream, data: &[u8]) {
        self.build.events.event(Event::StepLog { step: self.step, stream, data: data.to_vec() });
    }

    pub(crate) fn selections(&self) -> &dyn Selections {
        self.build
    }

    /// Files of a context as a layer, with the path of `source` in it.
    pub(crate) fn materialize(&self, local: &LocalContext, source: &str) -> Result<(Realized, PathBuf), EngineError> {
        super::materialize::context(self, local, source)
    }
}
