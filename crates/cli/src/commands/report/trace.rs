//! A build in the Trace Event Format, which chrome://tracing, Perfetto and Speedscope read: a complete event (`X`) for each step, in
//! the lane that it has on the page, with its waits and transfers within it or in lanes below.

use super::lanes::{Look, lanes};
use crate::text;
use kiln_engine::BuildRecord;
use serde_json::{Value, json};

/// The process of the steps.
const STEPS: u32 = 1;

/// The process of what they transferred, which overlaps.
const TRANSFERS: u32 = 2;

/// The trace as JSON.
pub(super) fn render(build: &BuildRecord) -> String {
    let lanes = lanes(build);
    let mut events = vec![
        named("process_name", STEPS, 0, &format!("kiln build {}", text::message(&build.dockerfile))),
        named("process_name", TRANSFERS, 0, "transfers"),
    ];
    events.extend((0..lanes.count).map(|lane| named("thread_name", STEPS, lane, &format!("lane {}", lane + 1))));
    // Events of one lane must not overlap; a context that was fetched came before the plan.
    if build.planned > 0 && lanes.bars.iter().all(|bar| bar.from >= build.planned) {
        events.push(complete(
            "read the Dockerfile, find the images",
            "prepare",
            (STEPS, 0),
            0,
            build.planned,
            json!({}),
        ));
    }
    for step in &lanes.cached {
        events.push(json!({
            "ph": "i", "s": "p", "name": text::message(&step.name), "cat": "cached", "pid": STEPS, "tid": 0,
            "ts": step.started, "args": { "step": step.number, "saved": step.duration },
        }));
    }
    let mut transfers = 0;
    for bar in &lanes.bars {
        let step = bar.step;
        let args = json!({
            "step": step.number,
            "stage": step.stage,
            "line": step.line,
            "why": step.reason.as_ref().map(ToString::to_string),
            "because_of": build.blamed(step).map(|step| step.number),
            "cpu": step.cpu,
            "memory": step.memory,
            "size": step.size,
            "error": step.error,
        });
        let name = text::message(&step.name);
        let place = (STEPS, bar.lane);
        events.push(complete(&name, Look::of(step).name(), place, bar.from, bar.to, args));
        for wait in &step.waits {
            events.push(complete("waited", "waited", place, wait.started, wait.finished, json!({ "on": wait.on })));
        }
        for transfer in &step.transfers {
            let args = json!({ "bytes": transfer.bytes, "step": step.number });
            let place = (TRANSFERS, transfers);
            transfers += 1;
            let item = text::message(&transfer.item);
            events.push(complete(&item, "transfer", place, transfer.started, transfer.finished, args));
        }
    }
    format!("{}\n", json!({ "traceEvents": events, "displayTimeUnit": "ms" }))
}

fn named(what: &str, process: u32, thread: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": process, "tid": thread, "args": { "name": name } })
}

fn complete(name: &str, category: &str, place: (u32, usize), from: u64, to: u64, args: Value) -> Value {
    let (process, thread) = place;
    json!({
        "ph": "X", "name": name, "cat": category, "pid": process, "tid": thread,
        "ts": from, "dur": to.saturating_sub(from), "args": args,
    })
}
