//! What a workload is: a context, and rows measured on it one after the other.

use std::path::Path;

use anyhow::Result;

use crate::peers::{Output, Place};

/// A context and what to measure on it.
pub(super) struct Workload {
    /// The name on the command line.
    pub(super) name: &'static str,
    /// Fills an empty folder with the context and its Dockerfile.
    pub(super) prepare: fn(&Path) -> Result<()>,
    pub(super) dockerfile: &'static str,
    /// Whether `kiln check --fix` mends the Dockerfile before all else.
    pub(super) mended: bool,
    /// Whether plain `go build` can do this work too.
    pub(super) plain_go: bool,
    pub(super) rows: Vec<Row>,
}

/// One line of the report.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) start: Start,
    /// Changes the context before a round; its argument differs in every call
    /// of a run.
    pub(super) change: fn(&Path, u32) -> Result<()>,
    pub(super) output: Output,
    pub(super) no_cache: bool,
    pub(super) rounds: u32,
    /// What a measured time is divided by: the number of equal parts it has.
    pub(super) parts: u32,
    pub(super) budget: Budget,
}

impl Row {
    /// A row that measures the build of what is there, five times, with nothing
    /// changed and nothing exported.
    pub(super) fn new(title: &'static str, budget: Budget) -> Self {
        Self {
            title,
            start: Start::Warm,
            change: |_, _| Ok(()),
            output: Output::Cache,
            no_cache: false,
            rounds: 5,
            parts: 1,
            budget,
        }
    }
}

/// In which state a builder is when the clock starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It has built the context as it was before the row's changes, then once as measured, with a change of its own.
    Warm,
    /// It has built nothing and pulled nothing.
    Empty,
    /// It has built this very context, but not exported it.
    Built,
    /// It has the base images and nothing else. Another machine has built the context as it was before the row's changes, and left its
    /// cache at this place.
    Elsewhere(Place),
    /// It has built the context as it was before the row's changes, pushed the image, and left its cache beside it, as it does each time.
    Pushed,
}

/// What kiln must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Budget {
    /// At most so many seconds.
    Seconds(f64),
    /// At most this part of BuildKit's time.
    OfBuildKit(f64),
    /// At most these parts of BuildKit's time and of plain `go build`'s.
    OfBuildKitAndGo(f64, f64),
    /// At most so many seconds, and at most this part of BuildKit's time.
    SecondsAndOfBuildKit(f64, f64),
    /// At most this part of kiln's own time in the row of that title, and of BuildKit's in this one.
    OfRowAndBuildKit(f64, &'static str, f64),
    /// At most this part of BuildKit's time in the row of that title, and BuildKit's own time in this one too.
    BothOfBuildKitInRow(f64, &'static str),
    /// Exports of the cache that send at most this part of what the first one sent.
    OfFirstExport(f64),
}
