//! The steps of a build side by side: each in the first lane that is free while it runs. What was cached took no time and needs none.

use kiln_engine::{BuildRecord, StepEnd, StepKind, StepRecord};

/// What a step is in the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Ran,
    Cached,
    /// It brought in something.
    Pulled,
    Exported,
    Failed,
    /// It was stopped, or the build ended before it did.
    Cancelled,
}

impl Look {
    /// All of them, in the order of the legend.
    pub(super) const ALL: [Self; 6] =
        [Self::Ran, Self::Cached, Self::Pulled, Self::Exported, Self::Failed, Self::Cancelled];

    /// That of a step.
    pub(super) fn of(step: &StepRecord) -> Self {
        match (step.end, step.kind) {
            (StepEnd::Cached, _) => Self::Cached,
            (StepEnd::Failed, _) => Self::Failed,
            (StepEnd::Cancelled | StepEnd::Unfinished, _) => Self::Cancelled,
            (StepEnd::Ran, StepKind::Work) => Self::Ran,
            (StepEnd::Ran, StepKind::Source) => Self::Pulled,
            (StepEnd::Ran, StepKind::Export) => Self::Exported,
        }
    }

    /// What people are told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Pulled => "pulled",
            Self::Exported => "exported",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A step that took time. All times are microseconds from the build's start.
#[derive(Debug, PartialEq)]
pub(super) struct Bar<'a> {
    pub(super) step: &'a StepRecord,
    /// From 0.
    pub(super) lane: usize,
    /// When it began to wait or to run.
    pub(super) from: u64,
    /// When it was over.
    pub(super) to: u64,
}

/// A build's timeline.
#[derive(Debug, PartialEq)]
pub(super) struct Lanes<'a> {
    /// How many lanes there are.
    pub(super) count: usize,
    /// The steps that took time, by their beginning.
    pub(super) bars: Vec<Bar<'a>>,
    /// The steps whose results were there, in their order.
    pub(super) cached: Vec<&'a StepRecord>,
    /// When all was over; at least 1.
    pub(super) end: u64,
}

/// Puts the steps of a build into lanes.
pub(super) fn lanes(build: &BuildRecord) -> Lanes<'_> {
    let (cached, timed): (Vec<_>, Vec<_>) = build.steps.iter().partition(|step| step.end == StepEnd::Cached);
    let mut bars: Vec<Bar<'_>> = timed.into_iter().map(|step| bar(build, step)).collect();
    bars.sort_by_key(|bar| (bar.from, bar.step.number));
    let mut free: Vec<u64> = Vec::new();
    for bar in &mut bars {
        bar.lane = free.iter().position(|free| *free <= bar.from).unwrap_or(free.len());
        match free.get_mut(bar.lane) {
            Some(free) => *free = bar.to,
            None => free.push(bar.to),
        }
    }
    let end = bars.iter().map(|bar| bar.to).chain([build.duration, 1]).max().unwrap_or(1);
    Lanes { count: free.len(), bars, cached, end }
}

fn bar<'a>(build: &BuildRecord, step: &'a StepRecord) -> Bar<'a> {
    let waits = step.waits.iter();
    let (waited_from, waited_to) =
        waits.fold((u64::MAX, 0), |(from, to), wait| (from.min(wait.started), to.max(wait.finished)));
    // A step that never came further than waiting has no start of its own.
    let began = step.started > 0 || waited_to == 0;
    let from = if began { step.started.min(waited_from) } else { waited_from };
    let to = match step.end {
        StepEnd::Unfinished => build.duration,
        _ if began => step.started.saturating_add(step.duration).max(waited_to),
        _ => waited_to,
    };
    Bar { step, lane: 0, from, to: to.max(from) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::{Wait, WaitRecord};

    fn step(number: u32, started: u64, duration: u64) -> StepRecord {
        StepRecord { number, started, duration, end: StepEnd::Ran, ..StepRecord::default() }
    }

    #[test]
    fn steps_at_the_same_time_have_lanes_of_their_own() {
        let waiting =
            StepRecord { waits: vec![WaitRecord { on: Wait::Pull, started: 5, finished: 40 }], ..step(4, 40, 10) };
        let cached = StepRecord { end: StepEnd::Cached, ..step(5, 0, 1_000_000) };
        let unfinished = StepRecord { end: StepEnd::Unfinished, ..step(6, 60, 0) };
        let build = BuildRecord {
            duration: 100,
            steps: vec![step(1, 10, 20), step(2, 10, 50), step(3, 30, 10), waiting, cached, unfinished],
            ..BuildRecord::default()
        };
        let lanes = lanes(&build);
        let shape: Vec<_> = lanes.bars.iter().map(|bar| (bar.step.number, bar.lane, bar.from, bar.to)).collect();
        assert_eq!(shape, [(4, 0, 5, 50), (1, 1, 10, 30), (2, 2, 10, 60), (3, 1, 30, 40), (6, 0, 60, 100)]);
        assert_eq!((lanes.count, lanes.cached.len(), lanes.end), (3, 1, 100));
    }

    #[test]
    fn a_build_without_steps_has_a_timeline_too() {
        let build = BuildRecord::default();
        assert_eq!(lanes(&build), Lanes { count: 0, bars: vec![], cached: vec![], end: 1 });
    }
}
