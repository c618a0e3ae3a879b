//! One step in full: every change, and the chain of steps that leads to its root cause.

use super::{said, tree};
use crate::{human, text};
use kiln_engine::{BuildRecord, Change, Reason, StepEnd, StepRecord, or_none};
use std::time::Duration;

/// The steps that a user means: by number, by line, or by text.
pub(super) fn find<'a>(build: &'a BuildRecord, wanted: &str) -> Vec<&'a StepRecord> {
    let by =
        |matches: &dyn Fn(&StepRecord) -> bool| build.steps.iter().filter(|step| matches(step)).collect::<Vec<_>>();
    if let Ok(number) = wanted.strip_prefix('#').unwrap_or(wanted).parse::<u32>() {
        return by(&|step| step.number == number);
    }
    if let Some(Ok(line)) = wanted.strip_prefix(':').map(str::parse::<u32>) {
        return by(&|step| step.line == Some(line));
    }
    let wanted = wanted.to_lowercase();
    by(&|step| step.name.to_lowercase().contains(&wanted))
}

/// Everything about a step.
pub(super) fn render(build: &BuildRecord, step: &StepRecord) -> String {
    let mut out = format!("#{} {}", step.number, tree::line(step));
    match (step.end, &step.reason) {
        (StepEnd::Cached, _) => {
            let from = step.from.iter().map(|place| format!(" from {}", text::message(place))).collect::<String>();
            let duration = human::duration(Duration::from_micros(step.duration));
            out.push_str(&format!("  cached{from}; running it takes {duration}\n"));
        }
        (_, Some(Reason::Changed(changes))) => changes.iter().for_each(|change| all(change, &mut out)),
        (_, Some(reason)) => out.push_str(&format!("  {reason}\n")),
        (_, None) => {}
    }
    let chain = std::iter::successors(build.blamed(step), |step| build.blamed(step));
    for (depth, cause) in chain.enumerate() {
        let indent = "  ".repeat(depth + 1);
        let why = cause.reason.as_ref().map_or_else(|| "pulled".to_owned(), ToString::to_string);
        out.push_str(&format!("{indent}because of #{} {}", cause.number, tree::line(cause)));
        out.push_str(&format!("{indent}  {}\n", text::message(&why)));
    }
    if let Some(last) = step.last {
        let same = if step.same { ", and made the same" } else { "" };
        out.push_str(&format!("  the last time it took {}{same}\n", human::duration(Duration::from_micros(last))));
    }
    for advice in build.advice().iter().filter(|advice| advice.step == step.number) {
        out.push_str(&format!("  {}\n", said(advice)));
    }
    out
}

/// A change with all its files.
fn all(change: &Change, out: &mut String) {
    match change {
        Change::Files { changed, added, removed, .. }
            if !(changed.is_empty() && added.is_empty() && removed.is_empty()) =>
        {
            for (paths, verb) in [(changed, "changed"), (added, "added"), (removed, "removed")] {
                for path in paths {
                    out.push_str(&format!("  {verb}: {}\n", text::message(path)));
                }
            }
        }
        Change::Text { part, before, after } => {
            for (value, verb) in [(before, "was"), (after, "is")] {
                match value {
                    Some(value) => out.push_str(&format!("  {part} {verb}: {}\n", text::message(or_none(value)))),
                    None => out.push_str(&format!("  {part} {verb} not there\n")),
                }
            }
        }
        change => out.push_str(&format!("  {}\n", text::message(&change.to_string()))),
    }
}
