//! `--progress=plain`: a line for each thing that happens, beginning with the number of its step, as BuildKit's users know it.
//!
//! ```text
//! #7 [builder 3/6] COPY go.mod .
//! #7 why: go.mod changed
//! #7 auto-cache: go build (1 cache)
//! #7 0.234 a line of the step's output, with the seconds since the step began
//! #7 sha256:0123456789ab 12.3MB / 40MB
//! #7 DONE 0.3s
//! ```
//!
//! Steps are numbered from 1 in the order in which they first appear here.

#[cfg(test)]
mod tests;

use super::lines::Lines;
use super::{Renderer, Shown};
use crate::human;
use crate::terminal::{Look, Paint, Size};
use crate::text::{self, Escapes};
use kiln_engine::{Event, StepId};
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

/// Time between two lines about one transfer.
const TRANSFER: Duration = Duration::from_secs(5);

/// The renderer.
pub(super) struct Plain {
    paint: Paint,
    steps: HashMap<StepId, Step>,
    started: usize,
}

#[derive(Default)]
struct Step {
    /// Given when the step starts.
    number: usize,
    cached: bool,
    start: Duration,
    why: Vec<String>,
    lines: Lines,
    /// When something was last printed about an item.
    items: HashMap<String, Duration>,
}

impl Plain {
    /// A renderer that has seen nothing.
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, steps: HashMap::new(), started: 0 }
    }

    /// The step's first lines.
    fn begin(&mut self, id: StepId, at: Duration, name: &str, out: &mut Vec<u8>) -> &mut Step {
        let step = self.steps.entry(id).or_default();
        if step.number == 0 {
            self.started += 1;
            step.number = self.started;
            step.start = at;
            if step.number > 1 {
                out.push(b'\n');
            }
            print(out, step.number, &text::message(name).replace('\n', " "));
            for reason in std::mem::take(&mut step.why) {
                print(out, step.number, &why(self.paint, &reason));
            }
        }
        step
    }
}

impl Renderer for Plain {
    fn event(&mut self, at: Duration, event: &Event, out: &mut Vec<u8>) {
        match event {
            // For the history.
            Event::BuildDefined { .. }
            | Event::Planned { .. }
            | Event::StepDefined { .. }
            | Event::StepMade { .. }
            | Event::StepWaited { .. }
            | Event::StepUsed { .. }
            | Event::ImageMade { .. } => {}
            Event::StepStarted { step, name, .. } => {
                self.begin(*step, at, name, out);
            }
            Event::StepCached { step, name, from, .. } => {
                let paint = self.paint;
                let step = self.begin(*step, at, name, out);
                step.cached = true;
                let from = from.iter().map(|place| format!(" from {}", text::message(place)));
                print(out, step.number, &paint.paint(Look::Cached, &format!("CACHED{}", from.collect::<String>())));
            }
            Event::StepWhy { step, reason } => {
                let step = self.steps.entry(*step).or_default();
                match step.number {
                    0 => step.why.push(reason.to_string()),
                    number => print(out, number, &why(self.paint, &reason.to_string())),
                }
            }
            Event::StepAutoCache { step, commands, caches } => {
                let number = self.steps.entry(*step).or_default().number;
                let text = text::message(&human::auto_cache(commands, *caches)).replace('\n', " ");
                print(out, number, &self.paint.paint(Look::Dim, &text));
            }
            Event::StepLog { step, stream, data } => {
                let step = self.steps.entry(*step).or_default();
                let (number, since) = (step.number, at.saturating_sub(step.start));
                step.lines.push(*stream, data, |line| log(out, number, since, line));
            }
            Event::StepProgress { step, item, current, total, done } => {
                let step = self.steps.entry(*step).or_default();
                let last = step.items.get(item);
                if *done || last.is_none_or(|last| at.saturating_sub(*last) >= TRANSFER) {
                    step.items.insert(item.clone(), at);
                    print(out, step.number, &transfer(item, *current, *total, *done));
                }
            }
            Event::StepFinished { step, duration, error } => {
                let step = self.steps.entry(*step).or_default();
                let (number, since) = (step.number, at.saturating_sub(step.start));
                step.lines.flush(|line| log(out, number, since, line));
                step.items = HashMap::new();
                match error.as_deref() {
                    None if step.cached => {}
                    None => print(
                        out,
                        number,
                        &self.paint.paint(Look::Done, &format!("DONE {:.1}s", duration.as_secs_f64())),
                    ),
                    Some("cancelled") => print(out, number, &self.paint.paint(Look::Failed, "CANCELLED")),
                    Some(error) => {
                        let error = text::message(error).replace('\n', " ");
                        print(out, number, &self.paint.paint(Look::Failed, &format!("ERROR: {error}")));
                    }
                }
            }
            // Findings are told when the build is over.
            Event::Lint(_) => {}
            Event::Warning { message, .. } => {
                let warning = self.paint.paint(Look::Warning, "warning");
                out.extend_from_slice(format!("{warning}: {}\n", text::message(message)).as_bytes());
            }
        }
    }

    fn finish(&mut self, _size: Size, out: &mut Vec<u8>) -> Shown {
        if self.started > 0 {
            out.push(b'\n');
        }
        Shown::default()
    }
}

fn print(out: &mut Vec<u8>, number: usize, text: &str) {
    let _a_vec_takes_everything = writeln!(out, "#{number} {text}");
}

fn log(out: &mut Vec<u8>, number: usize, since: Duration, line: &[u8]) {
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let line = text::line(line, Escapes::Colours);
    let _a_vec_takes_everything = writeln!(out, "#{number} {seconds}.{millis:03} {line}");
}

fn why(paint: Paint, reason: &str) -> String {
    format!("{} {}", paint.paint(Look::Dim, "why:"), text::message(reason).replace('\n', " "))
}

fn transfer(item: &str, current: u64, total: Option<u64>, done: bool) -> String {
    let of = total.filter(|_| !done).map(|total| format!(" / {}", human::size(total))).unwrap_or_default();
    let done = if done { " done" } else { "" };
    format!("{} {}{of}{done}", text::line(item.as_bytes(), Escapes::None), human::size(current))
}
