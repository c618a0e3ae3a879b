//! An event sink that passes every event on and keeps what will be told of the build afterwards.

use super::record::{BuildRecord, ImageRecord, StepEnd, StepKind, StepRecord, TransferRecord, WaitRecord};
use super::redaction::Redaction;
use crate::error::{CANCELLED, EngineError, ErrorKind};
use crate::event::{Event, EventSink, StepId};
use crate::outcome::BuildOutcome;
use kiln_solver::{Change, Reason};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The end of a step's output that is kept, in bytes.
const LOG: usize = 256 << 10;

/// The output of a whole build that is kept, in bytes.
const LOGS: usize = 4 << 20;

/// Passes events on, and remembers.
pub(crate) struct Recorder<'a> {
    inner: &'a dyn EventSink,
    redaction: &'a Redaction,
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
    planned: u64,
    images: Vec<ImageRecord>,
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
    pub(crate) fn new(inner: &'a dyn EventSink, redaction: &'a Redaction) -> Self {
        Self { inner, redaction, started: Instant::now(), wall: SystemTime::now(), state: Mutex::default() }
    }

    /// What is kept of the build: no more than [`LOG`] of each step's output and [`LOGS`] of all, and no secret.
    pub(crate) fn finish(self, result: &Result<BuildOutcome, EngineError>) -> BuildRecord {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let numbers: HashMap<u32, u32> =
            state.steps.iter().filter_map(|step| Some((step.vertex?, step.record.number))).collect();
        let hide = |text: String| self.redaction.text(text);
        let mut steps: Vec<StepRecord> = state
            .steps
            .into_iter()
            .map(|step| {
                let log = self.redaction.bytes(step.log);
                let (log, cut) = end_of(String::from_utf8_lossy(&log).into_owned());
                StepRecord {
                    inputs: step.inputs.iter().filter_map(|vertex| numbers.get(vertex).copied()).collect(),
                    log,
                    log_cut: step.record.log_cut || cut,
                    name: hide(step.record.name),
                    instruction: hide(step.record.instruction),
                    reason: step.record.reason.map(|reason| without_secrets(reason, self.redaction)),
                    error: step.record.error.map(hide),
                    ..step.record
                }
            })
            .collect();
        drop_oldest_logs(&mut steps);
        BuildRecord {
            started: micros(self.wall.duration_since(UNIX_EPOCH).unwrap_or_default()) / 1000,
            duration: micros(self.started.elapsed()),
            context: state.context,
            dockerfile: state.dockerfile,
            target: state.target,
            names: result.as_ref().map(|outcome| outcome.names.clone()).unwrap_or_default(),
            image: result.as_ref().ok().and_then(|outcome| outcome.config).map(|digest| digest.to_string()),
            error: result.as_ref().err().map(|error| hide(error.to_string())),
            cancelled: result.as_ref().is_err_and(|error| error.kind == ErrorKind::Cancelled),
            planned: state.planned,
            cores: std::thread::available_parallelism().map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(0)),
            images: state.images,
            steps,
            warnings: state.warnings.into_iter().map(hide).collect(),
        }
    }
}

/// A reason as it may be kept. Secrets are no part of a key, but somebody may have written one where it does not belong.
fn without_secrets(reason: Reason, redaction: &Redaction) -> Reason {
    let hide = |text: String| redaction.text(text);
    match reason {
        Reason::Changed(changes) => Reason::Changed(
            changes
                .into_iter()
                .map(|change| match change {
                    Change::Text { part, before, after } => {
                        Change::Text { part, before: before.map(hide), after: after.map(hide) }
                    }
                    Change::Input { part, said } => Change::Input { part, said: hide(said) },
                    files @ Change::Files { .. } => files,
                })
                .collect(),
        ),
        Reason::Unusable(why) => Reason::Unusable(hide(why)),
        reason @ (Reason::FirstBuild | Reason::Asked | Reason::Pruned { .. }) => reason,
    }
}

/// The last [`LOG`] bytes of a text, or somewhat less, and whether there was more.
fn end_of(text: String) -> (String, bool) {
    match text.len().checked_sub(LOG) {
        None | Some(0) => (text, false),
        Some(more) => {
            let start = (more..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            (text[start..].to_owned(), true)
        }
    }
}

/// Drops the output of the oldest steps until no more than [`LOGS`] is left.
fn drop_oldest_logs(steps: &mut [StepRecord]) {
    let mut kept = 0;
    for step in steps.iter_mut().rev() {
        kept += step.log.len();
        if kept > LOGS && !step.log.is_empty() {
            step.log = String::new();
            step.log_cut = true;
        }
    }
}

impl EventSink for Recorder<'_> {
    fn event(&self, event: Event) {
        let now = micros(self.started.elapsed());
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take(&event, now, self.redaction);
        self.inner.event(event);
    }
}

impl State {
    fn take(&mut self, event: &Event, now: u64, redaction: &Redaction) {
        match event {
            Event::BuildDefined { context, dockerfile, target } => {
                self.context.clone_from(context);
                self.dockerfile.clone_from(dockerfile);
                self.target.clone_from(target);
            }
            Event::StepDefined { step, vertex, inputs, reads_context, is_source, instruction, line } => {
                let open = self.step(*step);
                open.vertex = Some(*vertex);
                open.record.kind = if *is_source { StepKind::Source } else { StepKind::Work };
                open.inputs.clone_from(inputs);
                (open.record.line, open.record.reads_context) = (*line, *reads_context);
                open.record.instruction.clone_from(instruction);
            }
            Event::StepStarted { step, name, stage } => {
                let open = self.step(*step);
                // What comes from a remote cache is in no Dockerfile either.
                if open.vertex.is_none() && name.starts_with("fetching ") {
                    open.record.kind = StepKind::Source;
                }
                let record = &mut open.record;
                record.name.clone_from(name);
                record.stage.clone_from(stage);
                record.started = now;
            }
            Event::StepCached { step, name, stage, saved, from } => {
                let record = &mut self.step(*step).record;
                record.name.clone_from(name);
                record.stage.clone_from(stage);
                (record.started, record.duration) = (now, micros(saved.unwrap_or_default()));
                record.end = StepEnd::Cached;
                record.from.clone_from(from);
            }
            Event::StepWhy { step, reason } => self.step(*step).record.reason = Some(reason.clone()),
            Event::StepMade { step, layer, size, same, last } => {
                let record = &mut self.step(*step).record;
                (record.layer, record.size, record.same) = (Some(layer.clone()), *size, *same);
                record.last = last.map(micros);
            }
            Event::StepWaited { step, on, duration } => {
                let started = now.saturating_sub(micros(*duration));
                self.step(*step).record.waits.push(WaitRecord { on: *on, started, finished: now });
            }
            Event::StepUsed { step, cpu, memory } => {
                let record = &mut self.step(*step).record;
                (record.cpu, record.memory) = (Some(micros(*cpu)), *memory);
            }
            Event::ImageMade { platform, layers } => {
                self.images.push(ImageRecord { platform: platform.clone(), layers: layers.clone() });
            }
            Event::Planned { .. } => self.planned = self.planned.max(now),
            Event::StepAutoCache { step, commands, .. } => self.step(*step).record.auto_caches.clone_from(commands),
            Event::StepLog { step, data, .. } => self.step(*step).write(data, redaction),
            Event::StepProgress { step, item, current, .. } => self.step(*step).transferred(item, *current, now),
            Event::StepFinished { step, duration, error } => {
                let record = &mut self.step(*step).record;
                record.duration = micros(*duration);
                record.started = now.saturating_sub(record.duration).max(record.started);
                record.end = match error.as_deref() {
                    None => StepEnd::Ran,
                    Some(CANCELLED) => StepEnd::Cancelled,
                    Some(_) => StepEnd::Failed,
                };
                record.error.clone_from(error);
            }
            Event::Warning { message, .. } => self.warnings.push(message.clone()),
            Event::Lint(_) => {}
        }
    }

    fn step(&mut self, id: StepId) -> &mut Open {
        let next = self.steps.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            // What is in no Dockerfile brings in the context, before anything is planned, or writes results.
            let kind = if self.planned == 0 { StepKind::Source } else { StepKind::Export };
            let record = StepRecord { number: id.0, kind, ..StepRecord::default() };
            self.steps.push(Open { record, vertex: None, inputs: Vec::new(), log: Vec::new() });
        }
        &mut self.steps[place]
    }
}

impl Open {
    fn write(&mut self, data: &[u8], redaction: &Redaction) {
        self.log.extend_from_slice(data);
        // Cut now and then, not at every line.
        if self.log.len() > 2 * LOG {
            // First without the secrets, or half of one might stay.
            self.log = redaction.bytes(std::mem::take(&mut self.log));
            let more = self.log.len().saturating_sub(LOG);
            self.log.drain(..more);
            self.record.log_cut |= more > 0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stream;

    #[test]
    fn logs_are_bounded_and_hold_no_secret() {
        let redaction = Redaction::default();
        redaction.add(b"hunter2");
        let ignore = |_: Event| {};
        let recorder = Recorder::new(&ignore, &redaction);
        let log = |step, data: &[u8]| {
            recorder.event(Event::StepLog { step: StepId(step), stream: Stream::Stdout, data: data.to_vec() });
        };
        log(0, b"first");
        // The chunks end within a secret.
        for step in 1..20 {
            log(step, "xä hunter2\n".repeat(50_000).as_bytes());
            log(step, "xä hun".as_bytes());
            log(step, b"ter2\n");
        }
        log(20, "ä".repeat(LOG / 2 + 100).as_bytes());
        let record = recorder.finish(&Err(EngineError::cancelled()));
        assert!(record.steps.iter().all(|step| step.log.len() <= LOG && !step.log.contains("hunt")));
        assert!(record.steps.iter().map(|step| step.log.len()).sum::<usize>() <= LOGS);
        assert!(record.steps.iter().all(|step| step.log_cut));
        assert!(record.steps[0].log.is_empty() && record.steps[1].log.is_empty());
        assert!(record.steps[19].log.ends_with("\nxä ****\n") && record.steps[20].log.starts_with('ä'));
    }
}
