//! `kiln why`: why the steps of a build ran, from the root causes down, and what would have saved time.

mod step;
mod tree;

use super::history::{age, cached};
use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::{human, terminal};
use clap::Args;
use jiff::Timestamp;
use kiln_engine::{Advice, BuildRecord, EngineError, ErrorKind, HistoryId, StepEnd, StepRecord};
use serde_json::json;
use std::time::Duration;

/// Options of `kiln why`.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// Only this step, with everything that changed: its number (`4` or `#4`), its line in the Dockerfile (`:12`), or a part of
    /// its text
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// Another build than the last one: the start of an id that `kiln history` lists
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    build: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What saved less, in microseconds, is not worth a line.
const WORTH_TELLING: u64 = 100_000;

/// Lines for what saved most.
const MOST_SAVINGS: usize = 5;

/// Tells why steps ran.
pub(crate) fn execute(globals: &Globals, args: &WhyArgs) -> Result<ExitStatus, CliError> {
    let session = Session::open(globals)?;
    let (id, build) = session.engine.history()?.find(&args.build)?;
    let text = match (&args.step, args.json) {
        (None, false) => overview(id, &build, Timestamp::now()),
        (None, true) => format!("{:#}\n", json(id, &build, build.steps.iter())),
        (Some(wanted), as_json) => {
            let steps = step::find(&build, wanted);
            if steps.is_empty() {
                return Err(EngineError::new(ErrorKind::User, format!("the build has no step `{wanted}`"))
                    .with_hint("name it by number (`#4`), by line (`:12`), or by a part of its text; `kiln why` lists those that ran")
                    .into());
            }
            if as_json {
                format!("{:#}\n", json(id, &build, steps.into_iter()))
            } else {
                steps.into_iter().map(|step| step::render(&build, step)).collect::<Vec<_>>().join("\n")
            }
        }
    };
    terminal::print(&text)?;
    Ok(ExitStatus::SUCCESS)
}

fn overview(id: HistoryId, build: &BuildRecord, now: Timestamp) -> String {
    let (ran, cached) = (build.ran().count(), cached(build));
    let mut text = format!(
        "build {id} of {}, {}, {}: {} ran, {cached} cached{}\n",
        build.dockerfile,
        age(build, now),
        human::duration(Duration::from_micros(build.duration)),
        human::count(ran as u64, "step"),
        if build.error.is_some() { ", failed" } else { "" }
    );
    let causes = build.causes();
    if !causes.is_empty() {
        text.push('\n');
        text.push_str(&tree::render(&causes));
    }
    text.push_str(&savings(build));
    for advice in build.advice() {
        text.push_str(&format!("\n{}\n", said(&advice)));
    }
    text
}

/// What the cache saved, and the steps whose results saved most of it.
fn savings(build: &BuildRecord) -> String {
    let mut cached: Vec<&StepRecord> = build.steps.iter().filter(|step| step.end == StepEnd::Cached).collect();
    let saved: u64 = cached.iter().map(|step| step.duration).sum();
    if saved < WORTH_TELLING {
        return String::new();
    }
    let mut text = format!("\nthe cache saved {}\n", human::duration(Duration::from_micros(saved)));
    cached.sort_by_key(|step| std::cmp::Reverse(step.duration));
    for step in cached.into_iter().take(MOST_SAVINGS).filter(|step| step.duration >= WORTH_TELLING) {
        text.push_str(&format!("  {}", tree::line(step)));
    }
    text
}

fn said(advice: &Advice) -> String {
    format!("advice: {} and saved {}", advice.text, human::duration(advice.saving))
}

fn json<'a>(id: HistoryId, build: &BuildRecord, steps: impl Iterator<Item = &'a StepRecord>) -> serde_json::Value {
    let steps: Vec<_> = steps
        .map(|step| {
            json!({
                "number": step.number,
                "name": step.name,
                "instruction": step.instruction,
                "line": step.line,
                "end": step.end,
                "duration": Duration::from_micros(step.duration).as_secs_f64(),
                "why": step.reason.as_ref().map(ToString::to_string),
                "reason": step.reason,
                "because_of": build.blamed(step).map(|step| step.number),
                "made_the_same": step.same,
                "last_duration": step.last.map(|last| Duration::from_micros(last).as_secs_f64()),
            })
        })
        .collect();
    let advice: Vec<_> = build
        .advice()
        .into_iter()
        .map(|advice| json!({ "step": advice.step, "text": advice.text, "saving": advice.saving.as_secs_f64() }))
        .collect();
    json!({ "build": id.to_string(), "dockerfile": build.dockerfile, "steps": steps, "advice": advice })
}
