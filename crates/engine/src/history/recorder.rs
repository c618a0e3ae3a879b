//! An event sink that passes every event on and keeps what will be told of the build afterwards.

use super::record::{BuildRecord, StepEnd, StepRecord, TransferRecord};
use crate::error::EngineError;
use crate::event::{Event, EventSink, StepId};
use crate::outcome::BuildOutcome;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The end of a step's output that is kept, in bytes.
const LOG: usize = 256 << 10;

/// Passes events on, and remembers.
pub(crate) struct Recorder<'a> {
    inner: &'a dyn EventSink,
    started: Instant,
    wall: SystemTime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Places in `steps`.
    places: HashMap<StepId, usize>,
    steps: Vec<Open>,
    warnings: Vec<String>,
    context: String,
    dockerfile: String,
    target: Option<String>,
}

/// A step as far as it is known.
struct Open {
    record: StepRecord,
    vertex: Option<u32>,
    /// Vertices that it needs.
    inputs: Vec<u32>,
    log: Vec<u8>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(inner: &'a dyn EventSink) -> Self {
        Self { inner, started: Instant::now(), wall: SystemTime::now(), state: Mutex::default() }
    }

    /// What is kept of the build.
    pub(crate) fn finish(self, result: &Result<BuildOutcome, EngineError>) -> BuildRecord {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let numbers: HashMap<u32, u32> =
            state.steps.iter().filter_map(|step| Some((step.vertex?, step.record.number))).collect();
        let steps = state.steps.into_iter().map(|step| StepRecord {
            inputs: step.inputs.iter().filter_map(|vertex| numbers.get(vertex).copied()).collect(),
            log: String::from_utf8_lossy(&step.log).into_owned(),
            ..step.record
        });
        BuildRecord {
            started: micros(self.wall.duration_since(UNIX_EPOCH).unwrap_or_default()) / 1000,
            duration: micros(self.started.elapsed()),
            context: state.context,
            dockerfile: state.dockerfile,
            target: state.target,
            names: result.as_ref().map(|outcome| outcome.names.clone()).unwrap_or_default(),
            image: result.as_ref().ok().and_then(|outcome| outcome.config).map(|digest| digest.to_string()),
            error: result.as_ref().err().map(ToString::to_string),
            steps: steps.collect(),
            warnings: state.warnings,
        }
    }
}

impl EventSink for Recorder<'_> {
    fn event(&self, event: Event) {
        let now = micros(self.started.elapsed());
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take(&event, now);
        self.inner.event(event);
    }
}

impl State {
    fn take(&mut self, event: &Event, now: u64) {
        match event {
            Event::BuildDefined { context, dockerfile, target } => {
                self.context.clone_from(context);
                self.dockerfile.clone_from(dockerfile);
                self.target.clone_from(target);
            }
            Event::StepDefined { step, vertex, inputs, reads_context, instruction, line } => {
                let open = self.step(*step);
                open.vertex = Some(*vertex);
                open.inputs.clone_from(inputs);
                (open.record.line, open.record.reads_context) = (*line, *reads_context);
                open.record.instruction.clone_from(instruction);
            }
            Event::StepStarted { step, name, stage } => {
                let record = &mut self.step(*step).record;
                record.name.clone_from(name);
                record.stage.clone_from(stage);
                record.started = now;
            }
            Event::StepCached { step, name, stage, saved } => {
                let record = &mut self.step(*step).record;
                record.name.clone_from(name);
                record.stage.clone_from(stage);
                (record.started, record.duration) = (now, micros(saved.unwrap_or_default()));
                record.end = StepEnd::Cached;
            }
            Event::StepWhy { step, reason } => self.step(*step).record.reason = Some(reason.clone()),
            Event::StepMade { step, layer, same } => {
                let record = &mut self.step(*step).record;
                (record.layer, record.same) = (Some(layer.clone()), *same);
            }
            Event::StepAutoCache { step, commands, .. } => self.step(*step).record.auto_caches.clone_from(commands),
            Event::StepLog { step, data, .. } => self.step(*step).write(data),
            Event::StepProgress { step, item, current, .. } => self.step(*step).transferred(item, *current, now),
            Event::StepFinished { step, duration, error } => {
                let record = &mut self.step(*step).record;
                record.duration = micros(*duration);
                record.started = now.saturating_sub(record.duration).max(record.started);
                record.end = if error.is_some() { StepEnd::Failed } else { StepEnd::Ran };
                record.error.clone_from(error);
            }
            Event::Warning { message, .. } => self.warnings.push(message.clone()),
            Event::Planned { .. } | Event::Lint(_) => {}
        }
    }

    fn step(&mut self, id: StepId) -> &mut Open {
        let next = self.steps.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            let record = StepRecord { number: id.0, ..StepRecord::default() };
            self.steps.push(Open { record, vertex: None, inputs: Vec::new(), log: Vec::new() });
        }
        &mut self.steps[place]
    }
}

impl Open {
    fn write(&mut self, data: &[u8]) {
        self.log.extend_from_slice(data);
        // Cut now and then, not at every line.
        if self.log.len() > 2 * LOG {
            self.log.drain(..self.log.len() - LOG);
            self.record.log_cut = true;
        }
    }

    fn transferred(&mut self, item: &str, bytes: u64, now: u64) {
        let transfers = &mut self.record.transfers;
        match transfers.iter_mut().find(|transfer| transfer.item == item) {
            Some(transfer) => (transfer.bytes, transfer.finished) = (bytes, now),
            None => transfers.push(TransferRecord { item: item.to_owned(), bytes, started: now, finished: now }),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
