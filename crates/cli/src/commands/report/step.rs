//! One step as the page tells it: what it is, why it ran, what it cost, what it printed.

use super::colours;
use super::lanes::{Bar, Look};
use super::page::{percent, place};
use crate::human;
use crate::text::message;
use kiln_engine::{BuildRecord, Change, Reason, StepRecord, Wait};
use std::time::Duration;

/// No more files of one change are listed; `kiln why` has all.
const MOST_FILES: usize = 100;

/// A step.
pub(super) struct StepView {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) look: &'static str,
    /// The short reason.
    pub(super) reason: Option<String>,
    pub(super) took: String,
    /// Where its bar is, as percentages of the whole build.
    pub(super) bar: Option<(String, String)>,
    pub(super) facts: Vec<Fact>,
    /// What changed, in full.
    pub(super) changes: Vec<String>,
    /// The steps that made it run, up to the root cause.
    pub(super) chain: Vec<Link>,
    pub(super) advice: Vec<String>,
    pub(super) transfers: Vec<TransferView>,
    pub(super) error: Option<String>,
    /// HTML.
    pub(super) log: String,
    pub(super) log_cut: bool,
}

/// Something that is known of a step.
pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) steps: Vec<Link>,
}

/// A step that is named elsewhere.
pub(super) struct Link {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) reason: String,
}

/// Something that a step transferred.
pub(super) struct TransferView {
    pub(super) item: String,
    pub(super) size: String,
    pub(super) took: String,
    pub(super) x: String,
    pub(super) width: String,
}

impl Link {
    /// To this step.
    pub(super) fn to(step: &StepRecord) -> Self {
        Self { number: step.number, name: message(&step.name), reason: reason(step).unwrap_or_default() }
    }
}

/// Why a step ran, in short.
pub(super) fn reason(step: &StepRecord) -> Option<String> {
    let of_source = || (Look::of(step) == Look::Pulled).then(|| "was not here".to_owned());
    step.reason.as_ref().map(|reason| message(&reason.to_string())).or_else(of_source)
}

/// A number of microseconds for people.
pub(super) fn micros(micros: u64) -> String {
    human::duration(Duration::from_micros(micros))
}

/// The view of a step; `bar` is its place in the timeline, if it took time.
pub(super) fn view(build: &BuildRecord, step: &StepRecord, bar: Option<&Bar<'_>>, end: u64) -> StepView {
    let look = Look::of(step);
    let chain = std::iter::successors(build.blamed(step), |step| build.blamed(step)).map(Link::to).collect();
    StepView {
        number: step.number,
        name: message(&step.name),
        look: look.name(),
        reason: reason(step),
        took: match (look, step.duration) {
            (Look::Cached, 0) => "cached".to_owned(),
            (Look::Cached, saved) => format!("saved {}", micros(saved)),
            (_, took) => micros(took),
        },
        bar: bar.map(|bar| place(bar.from, bar.to, end)),
        facts: facts(build, step),
        changes: changes(step),
        chain,
        advice: Vec::new(),
        transfers: step
            .transfers
            .iter()
            .map(|transfer| TransferView {
                item: message(&transfer.item),
                size: human::size(transfer.bytes),
                took: micros(transfer.finished.saturating_sub(transfer.started)),
                x: percent(transfer.started, end),
                width: percent(transfer.finished.saturating_sub(transfer.started), end),
            })
            .collect(),
        error: step.error.as_deref().map(message),
        log: colours::html(&step.log),
        log_cut: step.log_cut,
    }
}

fn facts(build: &BuildRecord, step: &StepRecord) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label, value| facts.push(Fact { label, value, steps: Vec::new() });
    let cached = Look::of(step) == Look::Cached;
    if let Some(line) = step.line {
        add("Place", format!("{}:{line}", message(&build.dockerfile)));
    }
    if !cached {
        let began = format!("{} after {}", micros(step.duration), micros(step.started));
        add("Took", began);
    } else if step.duration > 0 {
        add("Saved", format!("{}, which it took when it ran", micros(step.duration)));
    }
    if let Some(last) = step.last {
        let same = if step.same { ", and made the same as now" } else { "" };
        add("Last time", format!("{}{same}", micros(last)));
    }
    for wait in &step.waits {
        let on = match wait.on {
            Wait::OtherBuild => "another build that made the same",
            Wait::CacheMount => "a cache mount that another step used",
            Wait::Pull => "files to be pulled",
        };
        add("Waited", format!("{} for {on}", micros(wait.finished.saturating_sub(wait.started))));
    }
    if let Some(cpu) = step.cpu {
        let memory = step.memory.map(|bytes| format!(", {} of memory", human::size(bytes))).unwrap_or_default();
        let cores = cpu as f64 / step.duration.max(1) as f64;
        add("Processors", format!("{} in all, {cores:.1} busy on average{memory}", micros(cpu)));
    }
    if !step.auto_caches.is_empty() {
        add("Automatic caches", message(&step.auto_caches.join(", ")));
    }
    if let Some(layer) = &step.layer {
        let size = step.size.map(|size| format!("{}, ", human::size(size))).unwrap_or_default();
        add("Layer", format!("{size}{}", message(layer)));
    }
    let inputs: Vec<Link> =
        build.steps.iter().filter(|other| step.inputs.contains(&other.number)).map(Link::to).collect();
    if !inputs.is_empty() {
        facts.push(Fact { label: "Needs", value: String::new(), steps: inputs });
    }
    facts
}

/// Every change of a step's inputs, each as a line.
fn changes(step: &StepRecord) -> Vec<String> {
    let Some(Reason::Changed(changes)) = &step.reason else { return Vec::new() };
    let mut lines = Vec::new();
    for change in changes {
        match change {
            Change::Files { changed, added, removed, .. } => {
                for (paths, verb) in [(changed, "changed"), (added, "added"), (removed, "removed")] {
                    lines.extend(paths.iter().take(MOST_FILES).map(|path| format!("{verb}: {path}")));
                    if let Some(more) = paths.len().checked_sub(MOST_FILES).filter(|more| *more > 0) {
                        lines.push(format!("{verb}: {more} more; `kiln why '#{}'` lists all", step.number));
                    }
                }
            }
            Change::Text { part, before, after } => {
                for (value, verb) in [(before, "was"), (after, "is")] {
                    match value {
                        Some(value) => lines.push(format!("{part} {verb}: {value}")),
                        None => lines.push(format!("{part} {verb} not there")),
                    }
                }
            }
            change @ Change::Input { .. } => lines.push(change.to_string()),
        }
    }
    lines.iter().map(|line| message(line)).collect()
}
