//! The page: everything that is told of a build, in one file that needs no network.
//!
//! All of it can be read without its script, which only searches and opens; a policy (Content-Security-Policy, Level 3) in the page
//! allows that script and that style and nothing else, so that no text of the build could become more than text. Times are
//! places along the width, as percentages, so that the page fits every screen.

use super::chart::{Load, load};
use super::lanes::{Bar, Lanes, Look, lanes};
use super::step::{self, Link, StepView, micros};
use crate::commands::history::cached;
use crate::commands::images::familiar;
use crate::human;
use crate::text::message;
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kiln_digest::Digest;
use kiln_engine::{BuildRecord, Cause, ImageRecord, Reason, StepEnd, StepRecord};
use std::collections::HashMap;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The height of a lane in pixels, where its bars have names.
const LANE: usize = 26;

/// The height of a lane where there are so many that names would only be noise.
const NARROW_LANE: usize = 9;

/// More lanes are narrow ones.
const WIDE_LANES: usize = 16;

/// The height of what is above the lanes: the times.
const AXIS: usize = 24;

/// The cached steps that saved most are listed, so many at most.
const MOST_SAVED: usize = 10;

/// So many steps of one reason are named.
const MOST_ALIKE: usize = 24;

/// With fewer processors busy there is no curve to see.
const LEAST_LOAD: f64 = 0.1;

#[derive(Template)]
#[template(path = "commands/report/page.html")]
struct Page {
    style: &'static str,
    script: &'static str,
    policy: String,
    version: &'static str,
    title: String,
    status: &'static str,
    outcome: String,
    about: Vec<(&'static str, String)>,
    tiles: Vec<(String, &'static str)>,
    error: Option<String>,
    failed: Vec<Link>,
    timeline: Timeline,
    load: Option<Load>,
    cores: u32,
    causes: Vec<CauseRow>,
    /// Steps that have a cause in common which is none of this build's: they were never built before, or somebody wanted them again.
    alike: Vec<Alike>,
    advice: Vec<(u32, String)>,
    saved: Vec<Share>,
    saved_total: String,
    images: Vec<ImageView>,
    steps: Vec<StepView>,
    looks: Vec<(&'static str, usize)>,
    warnings: Vec<String>,
}

/// The steps along the time.
struct Timeline {
    height: usize,
    axis: usize,
    ticks: Vec<Tick>,
    bars: Vec<BarView>,
    /// Places of cached steps.
    cached: Vec<(String, Link)>,
    cached_at: usize,
    lane: usize,
    named: bool,
    waits: bool,
    /// When the build was planned.
    planned: Option<String>,
}

struct Tick {
    x: String,
    label: String,
    last: bool,
}

struct BarView {
    link: Link,
    look: &'static str,
    label: String,
    /// Where the label starts: after the waits.
    label_at: String,
    x: String,
    width: String,
    y: usize,
    took: String,
    waits: Vec<(String, String)>,
}

/// A step that ran, so far below its root cause.
struct CauseRow {
    depth: usize,
    link: Link,
    look: &'static str,
    took: String,
}

/// Steps that ran for the same reason, which no other step has to do with.
struct Alike {
    reason: String,
    count: usize,
    /// The first of them.
    links: Vec<Link>,
}

/// A part of a sum.
struct Share {
    step: Option<u32>,
    name: String,
    value: String,
    width: String,
}

struct ImageView {
    title: String,
    total: String,
    layers: Vec<Share>,
}

/// The page for a build.
pub(super) fn render(build: &BuildRecord) -> String {
    let lanes = lanes(build);
    let bars: HashMap<u32, &Bar<'_>> = lanes.bars.iter().map(|bar| (bar.step.number, bar)).collect();
    let mut steps: Vec<StepView> =
        build.steps.iter().map(|step| step::view(build, step, bars.get(&step.number).copied(), lanes.end)).collect();
    let advice: Vec<_> = build
        .advice()
        .into_iter()
        .map(|advice| (advice.step, message(&format!("{} and saved {}", advice.text, human::duration(advice.saving)))))
        .collect();
    for (step, text) in &advice {
        steps.iter_mut().filter(|view| view.number == *step).for_each(|view| view.advice.push(text.clone()));
    }
    steps.sort_by_key(|step| step.number);
    let (causes, alike) = causes(build);
    let saved: u64 = lanes.cached.iter().map(|step| step.duration).sum();
    let (status, outcome) = match (&build.error, build.cancelled) {
        (None, _) => ("ran", format!("built in {}", micros(build.duration))),
        (Some(_), true) => ("cancelled", format!("cancelled after {}", micros(build.duration))),
        (Some(_), false) => ("failed", format!("failed after {}", micros(build.duration))),
    };
    let count = |look| build.steps.iter().filter(|step| Look::of(step) == look).count();
    let looks = Look::ALL.map(|look| (look.name(), count(look))).into_iter().filter(|(_, count)| *count > 0).collect();
    let page = Page {
        style: STYLE,
        script: SCRIPT,
        policy: policy(),
        version: env!("CARGO_PKG_VERSION"),
        title: title(build),
        status,
        outcome,
        about: about(build),
        tiles: tiles(build, saved),
        error: build.error.as_deref().filter(|_| !build.cancelled).map(message),
        failed: build.steps.iter().filter(|step| step.end == StepEnd::Failed).map(Link::to).collect(),
        load: load(&lanes, build.cores).filter(|load| load.average >= LEAST_LOAD),
        cores: build.cores,
        timeline: timeline(build, &lanes),
        causes,
        alike,
        advice,
        saved: savings(&lanes.cached),
        saved_total: micros(saved),
        images: build.images.iter().map(|image| image_view(build, image)).collect(),
        steps,
        looks,
        warnings: build.warnings.iter().map(|warning| message(warning)).collect(),
    };
    page.render().expect("writing to a string cannot fail")
}

/// What the page may do: run its script and have its style.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Digest::of_bytes(text.as_bytes()).as_bytes());
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn title(build: &BuildRecord) -> String {
    match build.names.first() {
        Some(name) => message(&familiar(name)),
        None if build.dockerfile.is_empty() => "a build".to_owned(),
        None => message(&build.dockerfile),
    }
}

fn about(build: &BuildRecord) -> Vec<(&'static str, String)> {
    let started = i64::try_from(build.started).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let started = started.map(|time| time.strftime("%-d %B %Y, %H:%M:%S UTC").to_string());
    let others = build.names.iter().skip(1).map(|name| familiar(name)).collect::<Vec<_>>().join(" ");
    [
        ("Started", started.unwrap_or_default()),
        ("Context", build.context.clone()),
        ("Dockerfile", build.dockerfile.clone()),
        ("Target", build.target.clone().unwrap_or_default()),
        ("Image", build.image.clone().unwrap_or_default()),
        ("Other names", others),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(label, value)| (label, message(&value)))
    .collect()
}

fn tiles(build: &BuildRecord, saved: u64) -> Vec<(String, &'static str)> {
    let mut tiles = vec![
        (micros(build.duration), "in all"),
        (build.ran().count().to_string(), "steps ran"),
        (cached(build).to_string(), "steps cached"),
    ];
    if saved > 0 {
        tiles.push((micros(saved), "saved by the cache"));
    }
    let moved: u64 = build.steps.iter().flat_map(|step| &step.transfers).map(|transfer| transfer.bytes).sum();
    if moved > 0 {
        tiles.push((human::size(moved), "transferred and packed"));
    }
    if let [image] = &build.images[..]
        && image.layers.iter().all(|layer| layer.size.is_some())
    {
        tiles.push((human::size(image.layers.iter().filter_map(|layer| layer.size).sum()), "in the image"));
    }
    tiles
}

fn timeline(build: &BuildRecord, lanes: &Lanes<'_>) -> Timeline {
    let named = lanes.count <= WIDE_LANES;
    let lane = if named { LANE } else { NARROW_LANE };
    let cached_lane = if lanes.cached.is_empty() { 0 } else { LANE / 2 };
    let bars: Vec<BarView> = lanes
        .bars
        .iter()
        .map(|bar| {
            let (x, width) = place(bar.from, bar.to, lanes.end);
            let (step, wide) = (bar.step, bar.to - bar.from);
            let waits = || step.waits.iter().map(|wait| (wait.started - bar.from, wait.finished - bar.from));
            BarView {
                link: Link::to(step),
                look: Look::of(step).name(),
                label: message(if step.instruction.is_empty() { &step.name } else { &step.instruction }),
                label_at: percent(waits().map(|(_, to)| to).max().unwrap_or(0), wide),
                x,
                width,
                y: AXIS + cached_lane + bar.lane * lane,
                took: micros(step.duration),
                waits: waits().map(|(from, to)| place(from, to, wide)).collect(),
            }
        })
        .collect();
    Timeline {
        height: AXIS + cached_lane + lanes.count * lane,
        axis: AXIS,
        ticks: ticks(lanes.end),
        cached: lanes.cached.iter().map(|step| (percent(step.started, lanes.end), Link::to(step))).collect(),
        cached_at: AXIS,
        lane: lane - 3,
        named,
        waits: bars.iter().any(|bar| !bar.waits.is_empty()),
        bars,
        planned: (build.planned > 0).then(|| percent(build.planned, lanes.end)),
    }
}

/// Round times, seven at most.
fn ticks(end: u64) -> Vec<Tick> {
    let seconds =
        [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800].map(|second| second * 1_000_000);
    let distance = (0..7)
        .flat_map(|exponent| [1, 2, 5].map(|digit| digit * 10_u64.pow(exponent)))
        .chain(seconds)
        .find(|distance| end / distance <= 6)
        .unwrap_or_else(|| (end / 6).max(1));
    let times = (0..=end / distance).map(|number| number * distance);
    times
        .map(|time| Tick { x: percent(time, end), label: tick_label(time, distance), last: time > end / 100 * 92 })
        .collect()
}

fn tick_label(time: u64, distance: u64) -> String {
    match (time, distance) {
        (0, _) => "0".to_owned(),
        (time, ..1000) => format!("{:.1}ms", time as f64 / 1000.0),
        (time, ..1_000_000) if time < 1_000_000 => format!("{}ms", time / 1000),
        (time, ..1_000_000) => format!("{:.1}s", time as f64 / 1e6),
        (time, _) if time < 60_000_000 => format!("{}s", time / 1_000_000),
        (time, _) => micros(time),
    }
}

/// The steps whose results saved most time.
fn savings(cached: &[&StepRecord]) -> Vec<Share> {
    let mut steps: Vec<_> = cached.iter().filter(|step| step.duration > 0).collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.duration));
    let most = steps.first().map_or(1, |step| step.duration);
    steps
        .into_iter()
        .take(MOST_SAVED)
        .map(|step| Share {
            step: Some(step.number),
            name: message(&step.name),
            value: micros(step.duration),
            width: percent(step.duration, most),
        })
        .collect()
}

fn image_view(build: &BuildRecord, image: &ImageRecord) -> ImageView {
    let most = image.layers.iter().filter_map(|layer| layer.size).max().unwrap_or(1).max(1);
    let layers = image.layers.iter().map(|layer| {
        let made = |step: &&StepRecord| !layer.base && step.layer.as_deref() == Some(&layer.id);
        // Of steps that made the same, the last is the one of the image's own stage.
        let step = build.steps.iter().rev().find(made);
        let name = match step {
            Some(step) => message(&step.name),
            None if layer.base => format!("base image, {}", short(&layer.id)),
            None => short(&layer.id),
        };
        Share {
            step: step.map(|step| step.number),
            name,
            value: layer.size.map_or_else(|| "not here".to_owned(), human::size),
            width: percent(layer.size.unwrap_or(0), most),
        }
    });
    ImageView {
        title: message(&image.platform),
        total: human::size(image.layers.iter().filter_map(|layer| layer.size).sum()),
        layers: layers.collect(),
    }
}

fn short(id: &str) -> String {
    message(id).rsplit(':').next().unwrap_or_default().chars().take(12).collect()
}

/// The root causes with what follows from them, and the steps that have nothing in common but one and the same reason.
fn causes(build: &BuildRecord) -> (Vec<CauseRow>, Vec<Alike>) {
    let mut rows = Vec::new();
    let mut alike: Vec<Alike> = Vec::new();
    for cause in build.causes() {
        let link = Link::to(cause.step);
        let alone = cause.consequences.is_empty() && !matches!(cause.step.reason, Some(Reason::Changed(_)));
        match alike.iter_mut().find(|alike| alike.reason == link.reason) {
            Some(alike) if alone => {
                alike.count += 1;
                if alike.links.len() < MOST_ALIKE {
                    alike.links.push(link);
                }
            }
            None if alone => alike.push(Alike { reason: link.reason.clone(), count: 1, links: vec![link] }),
            _ => flatten(&cause, 0, &mut rows),
        }
    }
    (rows, alike)
}

fn flatten(cause: &Cause<'_>, depth: usize, rows: &mut Vec<CauseRow>) {
    let step = cause.step;
    rows.push(CauseRow {
        // Deeper ones would leave no room for their names.
        depth: depth.min(8),
        link: Link::to(step),
        look: Look::of(step).name(),
        took: micros(step.duration),
    });
    cause.consequences.iter().for_each(|cause| flatten(cause, depth + 1, rows));
}

/// A part of a whole as a percentage.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.3}%", (part as f64 / whole.max(1) as f64 * 100.0).min(100.0))
}

/// Place and width of a stretch of time.
pub(super) fn place(from: u64, to: u64, whole: u64) -> (String, String) {
    (percent(from, whole), percent(to.saturating_sub(from), whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        for (end, labels) in [
            (1, "0 0.0ms"),
            (900, "0 0.2ms 0.4ms 0.6ms 0.8ms"),
            (14_000, "0 5ms 10ms"),
            (1_300_000, "0 200ms 400ms 600ms 800ms 1.0s 1.2s"),
            (12_000_000, "0 2s 4s 6s 8s 10s 12s"),
            (190_000_000, "0 30s 1m00s 1m30s 2m00s 2m30s 3m00s"),
        ] {
            let told: Vec<String> = ticks(end).into_iter().map(|tick| tick.label).collect();
            assert_eq!(told.join(" "), labels, "{end}");
        }
        assert!(ticks(u64::MAX).len() <= 8);
    }
}
