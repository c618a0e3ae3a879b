//! The solver's worker: keys, records and execution of the vertices of a build.

use super::record::StepRecord;
use super::step::{EarlierRun, Made, StepContext, stage};
use super::{Build, StepResult, dockerfile};
use crate::error::{EngineError, ErrorKind, Place};
use crate::event::{Event, Wait};
use crate::ops::file::Earlier;
use crate::ops::{exec, file};
use crate::remote_cache::AwayLayer;
use crate::snapshot::{Output, OwnLayer, Snapshot};
use kiln_digest::{CacheKey, ContentDigest};
use kiln_graph::{CacheDirectory, Op, Source, VertexId};
use kiln_solver::{FileListing, KeyParts, LastRun, PartValue, Prepared, Reason, Worker, step_content};
use kiln_sources::image::BaseImage;
use kiln_store::{LayerId, StepLock};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Memos of what a step at a position was made from last time.
const MEMO_POSITION: &str = "position";

/// Memos of steps' last ends, by cache key: [`FAILED`], or nothing for one that succeeded since.
const MEMO_FAILED: &str = "failed";
const FAILED: &[u8] = &[1];

impl Build<'_> {
    /// Says how many steps there will be.
    pub(super) fn plan(&self, targets: &[VertexId]) {
        let needed = self.graph.reachable(targets);
        let steps = needed.iter().filter(|id| !self.graph.vertex(**id).label.internal).count();
        self.events.event(Event::Planned { steps: u32::try_from(steps).unwrap_or(u32::MAX) });
    }

    fn source(&self, vertex: VertexId, source: &Source) -> Result<Output, EngineError> {
        match source {
            Source::Local(local) => self.contexts.get(&local.name),
            Source::Image(image) => {
                let resolution = self.contexts.resolution(image, self.engine, &self.cancel)?;
                let base = Arc::new(BaseImage::new(resolution, self.engine.registry().clone()));
                // An image without layers has nothing to pull.
                if base.layers_if_here().map_err(EngineError::store)?.is_some() {
                    self.tell_cached(vertex, None, None);
                }
                self.ahead.image_known(self.engine.store(), vertex, &base);
                Ok(Output::Snapshot(Snapshot::of_image(base, vertex)))
            }
            Source::Http(file) => self.http(vertex, file),
            Source::Git(tree) => self.git(vertex, tree),
        }
    }

    /// Says that a step has its result, which may be in the cache of another machine that people know by a name.
    pub(super) fn tell_cached(&self, id: VertexId, saved: Option<Duration>, from: Option<String>) {
        let vertex = self.graph.vertex(id);
        let name = vertex.label.name.clone();
        self.define(id);
        if !vertex.label.internal {
            self.steps.count_cached();
        }
        self.events.event(Event::StepCached { step: self.steps.id(id), name, stage: stage(vertex), saved, from });
    }

    /// Says what a step is, before anything else is said of it.
    pub(super) fn define(&self, id: VertexId) {
        if !self.steps.is_new(id) {
            return;
        }
        let vertex = self.graph.vertex(id);
        let instruction = if vertex.label.internal { "" } else { vertex.label.instruction.as_str() };
        self.events.event(Event::StepDefined {
            step: self.steps.id(id),
            vertex: id.0,
            inputs: vertex.inputs.iter().map(|input| input.0).collect(),
            reads_context: vertex.inputs.iter().any(|input| match &self.graph.vertex(*input).op {
                Op::Source(Source::Local(_) | Source::Http(_) | Source::Git(_)) => true,
                Op::Source(Source::Image(_)) | Op::Exec(_) | Op::File(_) => false,
            }),
            is_source: matches!(vertex.op, Op::Source(_)),
            instruction: instruction.to_owned(),
            line: vertex.label.span.map(|(start, _)| self.line(start)),
        });
    }

    /// The line of a byte of the Dockerfile, from 1.
    fn line(&self, offset: u32) -> u32 {
        let ends = self.line_ends.get_or_init(|| {
            self.dockerfile.text.bytes().zip(0..).filter(|(byte, _)| *byte == b'\n').map(|(_, at)| at).collect()
        });
        u32::try_from(ends.partition_point(|end| *end < offset) + 1).unwrap_or(u32::MAX)
    }

    /// What people are told when the content of an input changed.
    fn changed_input(&self, id: VertexId) -> String {
        let vertex = self.graph.vertex(id);
        let instruction = &vertex.label.instruction;
        match &vertex.op {
            Op::Source(Source::Image(image)) => {
                let name = instruction.strip_prefix("FROM ").unwrap_or(instruction);
                format!("{name} moved to sha256:{}", image.digest.short())
            }
            _ => format!("{instruction} made something else"),
        }
    }

    /// What only the engine knows of a reason: why a result that is there was not taken, when one that is gone went.
    fn with_details(&self, key: &CacheKey, reason: &Reason) -> Reason {
        let store = self.engine.store();
        match reason {
            // Only runs that came to a good end are what the solver compares with.
            Reason::FirstBuild | Reason::Changed(_) if self.failed_last(key) => {
                Reason::Unusable("its last run failed".to_owned())
            }
            // The solver was not given the result, though it is there: see `gets_all`.
            Reason::Pruned { .. } if store.record(key).is_ok_and(|record| record.is_some()) => {
                Reason::Unusable("its result was made with an automatic cache that it does not get now".to_owned())
            }
            Reason::Pruned { .. } => {
                let pruned = store.last_prune().ok().flatten();
                Reason::Pruned { ago: pruned.and_then(|time| time.elapsed().ok()) }
            }
            reason => reason.clone(),
        }
    }

    /// Whether the step with this key failed when it last ran.
    fn failed_last(&self, key: &CacheKey) -> bool {
        self.engine.store().memo(MEMO_FAILED, key.as_bytes()).is_ok_and(|memo| memo.is_some_and(|memo| memo == FAILED))
    }

    /// Keeps how a run of the step with this key ended. One that was cancelled says nothing of the step.
    fn keep_end(&self, key: &CacheKey, failed: bool) {
        if failed == self.failed_last(key) || self.cancel.is_cancelled() {
            return;
        }
        // Without it the reason of the next run is only less precise.
        let memo: &[u8] = if failed { FAILED } else { &[] };
        let _ = self.engine.store().put_memo(MEMO_FAILED, key.as_bytes(), memo);
    }

    /// What is kept of the step at this position from when it last ran.
    fn last_record(&self, id: VertexId) -> Option<StepRecord> {
        let last = self.last_run(id)?;
        StepRecord::find(self.engine.store(), &last.key).ok()?.map(|(_, record)| record)
    }

    fn base_of(&self, id: VertexId, inputs: &[Output]) -> Option<Snapshot> {
        let port = match &self.graph.vertex(id).op {
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.base,
            Op::Source(_) => None,
        };
        match port.map(|port| &inputs[port.0 as usize]) {
            Some(Output::Snapshot(snapshot)) => Some(snapshot.clone()),
            _ => None,
        }
    }

    /// The layer that the step at this position made last time, to link unchanged files from.
    fn earlier(&self, id: VertexId) -> Option<Earlier> {
        let last = self.last_run(id)?;
        let layer = self.engine.store().record(&last.key).ok()??.layer?;
        Earlier::find(self.engine.store(), layer)
    }

    /// The last run of the step at this position, if the next one may go on from what it left.
    pub(super) fn earlier_run(&self, id: VertexId) -> Option<EarlierRun> {
        let last = self.last_run(id)?;
        let (layer, record) = StepRecord::find(self.engine.store(), &last.key).ok()??;
        Some(EarlierRun { layer, parts: last.parts, ran: record.ran? })
    }

    fn make(&self, id: VertexId, inputs: &[Output], context: &StepContext<'_>) -> Result<Made, EngineError> {
        match &self.graph.vertex(id).op {
            Op::Exec(op) => exec::execute(op, inputs, context),
            Op::File(op) => file::execute(op, inputs, self.earlier(id).as_ref(), context),
            Op::Source(_) => Err(EngineError::new(ErrorKind::Internal, "a source is never executed")),
        }
    }

    /// Whether a step gets these automatic caches, or some more. What was made with one that it does not get now may lack files
    /// that a later step or the image needs.
    fn gets_all(&self, id: VertexId, injected: &[CacheDirectory]) -> bool {
        let Op::Exec(exec) = &self.graph.vertex(id).op else { return injected.is_empty() };
        injected.iter().all(|directory| exec.auto_caches.iter().any(|cache| cache.directory == *directory))
    }

    /// Says where in the Dockerfile an error happened, unless it says so itself.
    pub(super) fn place(&self, id: VertexId, mut error: EngineError) -> EngineError {
        if error.place.is_none()
            && let Some(span) = self.graph.vertex(id).label.span
        {
            let (file, text) = (self.dockerfile.name.clone(), self.dockerfile.text.clone());
            let label = if error.kind == ErrorKind::BuildFailed { "this step failed" } else { "here" };
            let span = error.word().and_then(|word| dockerfile::find_word(&text, span, word)).unwrap_or(span);
            error.place = Some(Box::new(Place { file, text, span, label: label.to_owned() }));
        }
        error
    }
}

impl Worker for Build<'_> {
    type Output = Output;
    type Error = EngineError;
    type Lock = StepLock;

    fn prepare(&self, vertex: VertexId, inputs: &[Output]) -> Result<Prepared<Output>, EngineError> {
        let node = self.graph.vertex(vertex);
        let said = |port: u32| self.changed_input(node.inputs[port as usize]);
        let prepared = match &node.op {
            Op::Source(source) => self.source(vertex, source).map(Prepared::Ready),
            Op::Exec(op) => exec::key_parts(op, inputs, &said, self).map(Prepared::Keyed),
            Op::File(op) => file::key_parts(op, inputs, &said, self).map(Prepared::Keyed),
        };
        prepared.map_err(|error| self.place(vertex, error))
    }

    fn find(&self, vertex: VertexId, key: &CacheKey, inputs: &[Output]) -> Result<Option<Output>, EngineError> {
        let here = StepRecord::find(self.engine.store(), key).map_err(EngineError::store)?;
        if let Some((layer, record)) = here.filter(|(_, record)| self.gets_all(vertex, &record.injected)) {
            self.tell_cached(vertex, Some(record.duration), None);
            return Ok(Some(self.found_here(vertex, key, layer, &record, inputs)));
        }
        let Some(away) = self.find_away(key, &|step| self.gets_all(vertex, &step.injected)) else { return Ok(None) };
        self.tell_cached(vertex, Some(away.step().duration()), Some(away.place()));
        self.found_away(vertex, key, away, inputs).map(Some)
    }

    fn lock(&self, vertex: VertexId, key: &CacheKey) -> Result<StepLock, EngineError> {
        let lock = || self.engine.store().lock_step(key, || !self.cancel.is_cancelled());
        StepContext::new(self, vertex).wait(Wait::OtherBuild, lock).map_err(|error| {
            if self.cancel.is_cancelled() { EngineError::cancelled() } else { EngineError::store(error) }
        })
    }

    fn execute(
        &self,
        vertex: VertexId,
        key: &CacheKey,
        reason: &Reason,
        inputs: &[Output],
    ) -> Result<Output, EngineError> {
        if self.cancel.is_cancelled() {
            return Err(EngineError::cancelled());
        }
        self.fetch_mounts_after(vertex);
        let node = self.graph.vertex(vertex);
        let context = StepContext::new(self, vertex);
        if matches!(node.op, Op::Exec(_))
            && let Some(base) = self.base_of(vertex, inputs)
        {
            // A pull is a step of its own, before this one.
            let pulled = context.wait(Wait::Pull, || self.base_layers_of(&base));
            pulled.map_err(|error| self.place(vertex, error))?;
        }
        let context = StepContext::new(self, vertex);
        let step = context.step;
        self.define(vertex);
        self.events.event(Event::StepStarted { step, name: node.label.name.clone(), stage: stage(node) });
        self.events.event(Event::StepWhy { step, reason: self.with_details(key, reason) });
        let before = self.last_record(vertex);
        let started = Instant::now();
        let made = self.make(vertex, inputs, &context).map_err(|error| self.place(vertex, error));
        let duration = started.elapsed();
        let kept = made.and_then(|made| {
            let Made { diff, injected, ran, .. } = &made;
            // What it would take the next time: whatever it waited for is not its own.
            let duration = duration.saturating_sub(context.waited());
            let record = StepRecord { diff: *diff, duration, injected: injected.clone(), ran: ran.clone() };
            record.keep(self.engine.store(), key, made.layer).map_err(EngineError::store)?;
            Ok(made)
        });
        self.keep_end(key, kept.is_err());
        let error = kept.as_ref().err().map(ToString::to_string);
        self.events.event(Event::StepFinished { step, duration, error });
        let made = kept?;
        let same = before.as_ref().is_some_and(|before| before.diff == made.diff);
        let last = before.map(|before| before.duration);
        let layer = made.layer.to_string();
        self.events.event(Event::StepMade { step, layer, size: Some(made.size), same, last });
        if !node.label.internal {
            self.steps.count_ran();
        }
        Ok(self.output(vertex, key, OwnLayer::Here(made.layer), &made.diff, inputs))
    }

    fn last_run(&self, vertex: VertexId) -> Option<LastRun> {
        self.memory.keys(vertex, self.graph.vertex(vertex)).iter().find_map(|key| {
            // Without it the reason is only less precise.
            let bytes = self.engine.store().memo(MEMO_POSITION, key.as_bytes()).ok()??;
            postcard::from_bytes(&bytes).ok()
        })
    }

    fn listing(&self, digest: &ContentDigest) -> Option<FileListing> {
        self.find_listing(digest)
    }

    fn remember(&self, vertex: VertexId, run: LastRun, found: bool) {
        // A step that was found is the one that stood here last time, most of the time: then nothing is written.
        if found && self.last_run(vertex).is_some_and(|last| last.key == run.key) {
            return;
        }
        self.keep_listings(&run.parts);
        if let Ok(value) = postcard::to_stdvec(&run) {
            // As in `last_run`.
            let memos = self.memory.keys(vertex, self.graph.vertex(vertex)).map(|key| (*key.as_bytes(), &value));
            let _ = self.engine.store().put_memos(MEMO_POSITION, memos);
        }
    }

    fn failed(&self) {
        self.cancel.cancel();
    }
}

impl Build<'_> {
    fn keep_listings(&self, parts: &KeyParts) {
        for part in parts.iter() {
            if let PartValue::Files(digest) = &part.value {
                self.keep_listing(digest);
            }
        }
    }

    /// A result that is in the store.
    fn found_here(
        &self,
        vertex: VertexId,
        key: &CacheKey,
        layer: LayerId,
        record: &StepRecord,
        inputs: &[Output],
    ) -> Output {
        let step = self.steps.id(vertex);
        // For people only: what cannot be read now is told when somebody needs it.
        let size = self.engine.store().layer(layer).ok().flatten().map(|layer| layer.size);
        self.events.event(Event::StepMade { step, layer: layer.to_string(), size, same: false, last: None });
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push((*key, layer));
        self.output(vertex, key, OwnLayer::Here(layer), &record.diff, inputs)
    }

    /// A result that a remote cache has; its layer may well be here.
    fn found_away(
        &self,
        vertex: VertexId,
        key: &CacheKey,
        away: AwayLayer,
        inputs: &[Output],
    ) -> Result<Output, EngineError> {
        let (store, record) = (self.engine.store(), away.step().record());
        match store.layer_of_content(record.diff).map_err(EngineError::store)? {
            Some(layer) => {
                record.keep(store, key, layer).map_err(EngineError::store)?;
                Ok(self.found_here(vertex, key, layer, &record, inputs))
            }
            None => Ok(self.output(vertex, key, OwnLayer::Away(Arc::new(away)), &record.diff, inputs)),
        }
    }

    /// The base with one more layer on top.
    fn output(
        &self,
        vertex: VertexId,
        key: &CacheKey,
        layer: OwnLayer,
        diff: &ContentDigest,
        inputs: &[Output],
    ) -> Output {
        let result = StepResult { key: *key, layer: layer.clone() };
        self.results.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex, result);
        let base = self.base_of(vertex, inputs);
        let content = step_content(base.as_ref().map(|base| &base.content), diff);
        Output::Snapshot(base.unwrap_or_else(Snapshot::empty).with_layer(layer, content))
    }
}
