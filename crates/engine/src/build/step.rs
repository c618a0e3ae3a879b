//! Steps as they are told about: numbers, times, logs; and what an op may use of the build while it runs.

use super::{Build, Selections};
use crate::cancel::CancelToken;
use crate::error::EngineError;
use crate::event::{Event, StepId, Stream, Wait};
use crate::outcome::StepCounts;
use crate::snapshot::{Realized, Snapshot};
use kiln_digest::ContentDigest;
use kiln_graph::{CacheDirectory, Vertex, VertexId};
use kiln_sandbox::Usage;
use kiln_solver::KeyParts;
use kiln_sources::local::LocalContext;
use kiln_store::{CacheMountKey, LayerId, Store, TempDir};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The numbers of the steps of a build, in the order in which they first appear.
pub(crate) struct Steps {
    ids: Mutex<HashMap<VertexId, StepId>>,
    /// Those that people were told of.
    defined: Mutex<HashSet<VertexId>>,
    /// The last number; a build that begins again goes on from there.
    numbers: Arc<AtomicU32>,
    ran: AtomicU32,
    cached: AtomicU32,
}

impl Steps {
    /// No steps so far, but for those of earlier attempts.
    pub(crate) fn numbered_by(numbers: Arc<AtomicU32>) -> Self {
        Self {
            ids: Mutex::default(),
            defined: Mutex::default(),
            numbers,
            ran: AtomicU32::new(0),
            cached: AtomicU32::new(0),
        }
    }

    /// The number of a vertex's step.
    pub(crate) fn id(&self, vertex: VertexId) -> StepId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        *ids.entry(vertex).or_insert_with(|| StepId(self.numbers.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// Whether people are told of a vertex's step for the first time.
    pub(crate) fn is_new(&self, vertex: VertexId) -> bool {
        self.defined.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex)
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

/// The stage of a vertex, as its position says; none for an internal step.
pub(crate) fn stage(vertex: &Vertex) -> Option<String> {
    if vertex.label.internal {
        return None;
    }
    vertex.label.position.split_once('/').map(|(stage, _)| stage.to_owned())
}

/// The layer that a step made.
pub(crate) struct Made {
    pub(crate) layer: LayerId,
    /// The digest of what the layer changes.
    pub(crate) diff: ContentDigest,
    /// Bytes of the layer's files.
    pub(crate) size: u64,
    /// The automatic caches that the step had.
    pub(crate) injected: Vec<CacheDirectory>,
    /// What the next run of a process wants to know of this one, should it go on from what this one left.
    pub(crate) ran: Option<Ran>,
}

/// In what a step ran, and when that was over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ran {
    /// The layers of its root.
    pub(crate) layers: Vec<LayerId>,
    pub(crate) ended: SystemTime,
}

/// The last run of a step.
pub(crate) struct EarlierRun {
    /// What it made.
    pub(crate) layer: LayerId,
    /// What its key was made of.
    pub(crate) parts: KeyParts,
    pub(crate) ran: Ran,
}

/// What an op may use of the build while it runs.
pub(crate) struct StepContext<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) vertex: VertexId,
    pub(crate) step: StepId,
    waited: Mutex<Duration>,
}

/// Shorter waits are not worth telling.
const TOLD_WAIT: Duration = Duration::from_millis(5);

impl<'a> StepContext<'a> {
    /// For the step of a vertex.
    pub(crate) fn new(build: &'a Build<'a>, vertex: VertexId) -> Self {
        Self { build, vertex, step: build.steps.id(vertex), waited: Mutex::default() }
    }
}

impl StepContext<'_> {
    /// Does something that makes the step wait for others, and tells how long that took.
    pub(crate) fn wait<T, E>(&self, on: Wait, until: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let since = Instant::now();
        let done = until();
        self.tell_wait(on, since.elapsed());
        done
    }

    /// Tells of a wait that has just ended.
    pub(crate) fn tell_wait(&self, on: Wait, duration: Duration) {
        if duration >= TOLD_WAIT {
            *self.waited.lock().unwrap_or_else(PoisonError::into_inner) += duration;
            self.build.define(self.vertex);
            self.build.events.event(Event::StepWaited { step: self.step, on, duration });
        }
    }

    /// How long the step has waited so far.
    pub(crate) fn waited(&self) -> Duration {
        *self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a snapshot real, waiting for what is pulled.
    pub(crate) fn realize(&self, snapshot: &Snapshot) -> Result<Realized, EngineError> {
        self.wait(Wait::Pull, || self.build.own_layers(snapshot).and_then(|_| self.build.base_layers_of(snapshot)))?;
        self.build.realize(snapshot)
    }

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

    /// The last run of this step, if it may be gone on from.
    pub(crate) fn earlier_run(&self) -> Option<EarlierRun> {
        self.build.earlier_run(self.vertex)
    }

    /// Passes on output of the step's process.
    pub(crate) fn log(&self, stream: Stream, data: &[u8]) {
        self.build.events.event(Event::StepLog { step: self.step, stream, data: data.to_vec() });
    }

    /// Says which caches the step got without having asked for them.
    pub(crate) fn tell_caches(&self, commands: &[String], count: usize) {
        let (commands, caches) = (commands.to_vec(), u32::try_from(count).unwrap_or(u32::MAX));
        self.build.events.event(Event::StepAutoCache { step: self.step, commands, caches });
    }

    /// Says what the step's processes took of the machine.
    pub(crate) fn tell_usage(&self, usage: Usage) {
        let (cpu, memory) = (usage.user + usage.system, usage.max_rss);
        self.build.events.event(Event::StepUsed { step: self.step, cpu, memory });
    }

    /// The step for people who look at the store later: its place, its stage and what it runs.
    pub(crate) fn described(&self) -> String {
        let label = &self.build.graph.vertex(self.vertex).label;
        let start = label.span.map_or(0, |(start, _)| start as usize);
        let text = self.build.dockerfile.text.as_bytes();
        let line = 1 + text.iter().take(start).filter(|&&byte| byte == b'\n').count();
        format!("{}:{line} {}", self.build.dockerfile.name, label.name)
    }

    /// Empties a cache mount, once a build, if the user asked for that. Steps of other builds that are using it keep it.
    pub(crate) fn clear_if_asked(&self, key: &CacheMountKey) -> Result<(), EngineError> {
        let Some(cleared) = &self.build.cleared_mounts else { return Ok(()) };
        // Held until the mount is gone, or another step of this build would take it as it was.
        let mut cleared = cleared.lock().unwrap_or_else(PoisonError::into_inner);
        if cleared.insert(key.clone()) {
            self.store().clear_cache_mounts(std::slice::from_ref(key)).map_err(EngineError::store)?;
        }
        Ok(())
    }

    pub(crate) fn selections(&self) -> &dyn Selections {
        self.build
    }

    /// Files of a context as a layer, with the path of `source` in it.
    pub(crate) fn materialize(&self, local: &LocalContext, source: &str) -> Result<(Realized, PathBuf), EngineError> {
        super::materialize::context(self, local, source)
    }
}
