//! `--progress=tty`: what is over scrolls by, what is going on is redrawn below it.
//!
//! ```text
//!  => CACHED [builder 2/6] WORKDIR /app
//!  => [builder 3/6] COPY . .                                   0.0s
//!     why: main.go changed
//!     auto-cache: go build (1 cache)
//! [+] Building 3.2s (4/9)
//!  => [builder 4/6] RUN go build                               3.1s
//!  => => compiling
//! ```
//!
//! Only the part from `[+]` on is ever drawn over, and it always fits the screen, so nothing is lost in the scroll-back. The
//! cursor is hidden only within one write, so that a process that ends at any moment leaves a sane terminal.

mod frame;
#[cfg(test)]
mod tests;

use super::lines::Lines;
use super::{Renderer, Shown};
use crate::terminal::{Paint, Size};
use crate::{human, text};
use kiln_engine::{Event, StepId};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Lines of a running step's output that are kept in case it fails.
const KEPT: usize = 200;
/// Bytes kept of one line.
const KEPT_OF_LINE: usize = 4 << 10;

/// The renderer.
pub(super) struct Tty {
    paint: Paint,
    planned: u32,
    /// Dockerfile steps that are over.
    done: u32,
    /// What was told of steps before they began.
    notes: HashMap<StepId, Vec<String>>,
    /// In the order in which they began.
    running: Vec<Running>,
    /// What is over and not printed yet.
    over: Vec<Over>,
    /// The widths of the lines that are drawn and to be drawn over.
    drawn: Vec<usize>,
    shown: Shown,
}

/// A step that runs.
struct Running {
    id: StepId,
    name: String,
    /// Whether it is a step of the Dockerfile.
    counts: bool,
    start: Duration,
    notes: Vec<String>,
    lines: Lines,
    log: VecDeque<Vec<u8>>,
    /// Lines that were dropped from the log's beginning.
    dropped: usize,
    transfers: Vec<Transfer>,
}

/// Something that is transferred.
struct Transfer {
    item: String,
    current: u64,
    total: Option<u64>,
}

/// What stays on the screen.
enum Over {
    Cached { name: String },
    Done { name: String, duration: Duration, notes: Vec<String> },
    Failed { name: String, duration: Duration, error: String, log: Vec<Vec<u8>>, dropped: usize },
    Warning { message: String },
}

impl Tty {
    /// A renderer that has seen nothing.
    pub(super) fn new(paint: Paint) -> Self {
        Self {
            paint,
            planned: 0,
            done: 0,
            notes: HashMap::new(),
            running: Vec::new(),
            over: Vec::new(),
            drawn: Vec::new(),
            shown: Shown::default(),
        }
    }

    fn running(&mut self, id: StepId) -> Option<&mut Running> {
        self.running.iter_mut().find(|step| step.id == id)
    }

    fn note(&mut self, id: StepId, text: String) {
        match self.running(id) {
            Some(running) => running.notes.push(text),
            None => self.notes.entry(id).or_default().push(text),
        }
    }

    fn finished(&mut self, id: StepId, duration: Duration, error: Option<&str>) {
        let Some(at) = self.running.iter().position(|step| step.id == id) else {
            return;
        };
        let mut step = self.running.remove(at);
        let Some(error) = error else {
            self.done += u32::from(step.counts);
            self.over.push(Over::Done { name: step.name, duration, notes: step.notes });
            return;
        };
        let Running { lines, log, dropped, .. } = &mut step;
        lines.flush(|line| keep(log, dropped, line));
        let cancelled = error == "cancelled";
        self.shown.failed_log |= !cancelled && !step.log.is_empty();
        self.over.push(Over::Failed {
            name: step.name,
            duration,
            error: error.to_owned(),
            log: if cancelled { Vec::new() } else { step.log.into() },
            dropped: step.dropped,
        });
    }
}

impl Renderer for Tty {
    fn event(&mut self, at: Duration, event: &Event, _out: &mut Vec<u8>) {
        match event {
            Event::Planned { steps } => self.planned = *steps,
            Event::StepStarted { step, name, stage } => {
                let notes = self.notes.remove(step).unwrap_or_default();
                self.running.push(Running {
                    id: *step,
                    name: one_line(name),
                    counts: stage.is_some(),
                    start: at,
                    notes,
                    lines: Lines::default(),
                    log: VecDeque::new(),
                    dropped: 0,
                    transfers: Vec::new(),
                });
            }
            Event::StepCached { name, stage, .. } => {
                self.done += u32::from(stage.is_some());
                self.over.push(Over::Cached { name: one_line(name) });
            }
            Event::StepWhy { step, reason } => self.note(*step, format!("why: {}", one_line(&reason.to_string()))),
            Event::StepAutoCache { step, commands, caches } => {
                self.note(*step, one_line(&human::auto_cache(commands, *caches)));
            }
            Event::StepLog { step, stream, data } => {
                if let Some(Running { lines, log, dropped, .. }) = self.running(*step) {
                    lines.push(*stream, data, |line| keep(log, dropped, line));
                }
            }
            Event::StepProgress { step, item, current, total, done } => {
                let Some(running) = self.running(*step) else {
                    return;
                };
                let known = running.transfers.iter().position(|transfer| transfer.item == *item);
                match known {
                    Some(at) if *done => drop(running.transfers.remove(at)),
                    Some(at) => {
                        running.transfers[at] = Transfer { item: item.clone(), current: *current, total: *total }
                    }
                    None if *done => {}
                    None => running.transfers.push(Transfer { item: item.clone(), current: *current, total: *total }),
                }
            }
            Event::StepFinished { step, duration, error } => self.finished(*step, *duration, error.as_deref()),
            // Findings are told when the build is over; the rest is for `kiln why`.
            Event::BuildDefined { .. }
            | Event::StepDefined { .. }
            | Event::StepMade { .. }
            | Event::StepWaited { .. }
            | Event::StepUsed { .. }
            | Event::ImageMade { .. }
            | Event::Lint(_) => {}
            Event::Warning { message, .. } => self.over.push(Over::Warning { message: text::message(message) }),
        }
    }

    fn frame(&mut self, at: Duration, size: Size, out: &mut Vec<u8>) {
        let live = frame::live(self, at, size);
        frame::draw(self, size, &live, out);
    }

    fn finish(&mut self, size: Size, out: &mut Vec<u8>) -> Shown {
        frame::draw(self, size, &[], out);
        self.shown
    }
}

fn keep(log: &mut VecDeque<Vec<u8>>, dropped: &mut usize, line: &[u8]) {
    if log.len() == KEPT {
        log.pop_front();
        *dropped += 1;
    }
    log.push_back(line[..line.len().min(KEPT_OF_LINE)].to_vec());
}

fn one_line(text: &str) -> String {
    text::message(text).replace('\n', " ")
}
