//! What a build tells while it runs. Events are plain data; whoever renders them decides what people see.
//!
//! For each step the order is: [`Event::StepDefined`] if it comes from the Dockerfile, [`Event::StepStarted`] or
//! [`Event::StepCached`] (after any [`Event::StepWhy`]), then [`Event::StepAutoCache`], then logs,
//! transfers and warnings, then [`Event::StepFinished`]. [`Event::StepWaited`] may come wherever the step is defined and not
//! finished. Events of different steps interleave.

use crate::lint::Lint;
use kiln_solver::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The number of a step, in the order in which steps first appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StepId(pub u32);

/// Where events go. Called from many threads.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> EventSink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Something that happened in a build.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// What is built, once it is known.
    BuildDefined {
        /// The build context, as it was named.
        context: String,
        /// The Dockerfile's name, as messages have it.
        dockerfile: String,
        /// The stage asked for.
        target: Option<String>,
    },
    /// How many steps the build has, as far as is known now. May come again with more.
    Planned {
        /// Dockerfile steps that the target needs.
        steps: u32,
    },
    /// What a step is; comes once, before anything else of it.
    StepDefined {
        /// The step.
        step: StepId,
        /// Its vertex in the graph, by which others name it as an input.
        vertex: u32,
        /// The vertices that it needs.
        inputs: Vec<u32>,
        /// Whether it reads files from outside of the build: of a context, a URL, a repository.
        reads_context: bool,
        /// Whether it brings in something from elsewhere: an image, a file from a URL, a repository.
        is_source: bool,
        /// The instruction as written; empty for internal steps.
        instruction: String,
        /// Its line in the Dockerfile, from 1.
        line: Option<u32>,
    },
    /// A step runs now.
    StepStarted {
        /// The step.
        step: StepId,
        /// Its progress line, for instance `[builder 3/6] COPY go.mod .`.
        name: String,
        /// The stage it belongs to; absent for internal steps.
        stage: Option<String>,
    },
    /// The step's result was there already.
    StepCached {
        /// The step.
        step: StepId,
        /// Its progress line.
        name: String,
        /// The stage it belongs to.
        stage: Option<String>,
        /// How long it took when it last ran.
        saved: Option<Duration>,
        /// The remote cache that has it, for people; absent if it is in the store.
        from: Option<String>,
    },
    /// Why a step runs, for instance `main.go changed`.
    StepWhy {
        /// The step.
        step: StepId,
        /// The reason; as text, it is one short line.
        #[serde(serialize_with = "as_line")]
        reason: Reason,
    },
    /// What a step has made or found.
    StepMade {
        /// The step.
        step: StepId,
        /// The layer's id in the store.
        layer: String,
        /// Bytes of the layer's files, if known.
        size: Option<u64>,
        /// Whether it ran and made the same as the last time.
        same: bool,
        /// How long it took the last time, for a step that ran again.
        last: Option<Duration>,
    },
    /// The step did nothing, because it had to wait. Comes when that is over.
    StepWaited {
        /// The step.
        step: StepId,
        /// What for.
        on: Wait,
        /// How long.
        duration: Duration,
    },
    /// What the step's processes took of the machine.
    StepUsed {
        /// The step.
        step: StepId,
        /// Processor time, on all cores.
        cpu: Duration,
        /// Bytes of the largest process, if known.
        memory: Option<u64>,
    },
    /// The image of one platform is complete; no output is written yet.
    ImageMade {
        /// Its platform.
        platform: String,
        /// Its layers, the lowest first.
        layers: Vec<ImageLayer>,
    },
    /// The step got caches that its Dockerfile does not ask for.
    StepAutoCache {
        /// The step.
        step: StepId,
        /// The commands that they are for, for instance `go build`.
        commands: Vec<String>,
        /// How many.
        caches: u32,
    },
    /// Output of the step's process.
    StepLog {
        /// The step.
        step: StepId,
        /// Standard output or standard error.
        stream: Stream,
        /// The bytes, not cut at lines.
        #[serde(serialize_with = "as_text")]
        data: Vec<u8>,
    },
    /// Progress of something that is transferred or packed, below a step.
    StepProgress {
        /// The step.
        step: StepId,
        /// What, for instance `sha256:0123456789ab`, unique within the step.
        item: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
        /// Whether it is complete.
        done: bool,
    },
    /// The step is over.
    StepFinished {
        /// The step.
        step: StepId,
        /// How long it took.
        duration: Duration,
        /// The error, for a step that failed or was cancelled.
        error: Option<String>,
    },
    /// Something that the user should know and that did not stop the build.
    Warning {
        /// The message.
        message: String,
        /// Byte range in the Dockerfile.
        span: Option<(u32, u32)>,
    },
    /// A lint found something. All of them are in [`BuildOutcome::lints`](crate::BuildOutcome::lints) too.
    Lint(Lint),
}

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// Another build, which makes the same.
    OtherBuild,
    /// Another step, which uses the same cache mount.
    CacheMount,
    /// Files of an image or from elsewhere.
    Pull,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Its id in the store; for a layer of a base image that nobody has needed yet, its diff id.
    pub id: String,
    /// Bytes of its files, if it is in the store.
    pub size: Option<u64>,
    /// Whether it is the base image's.
    pub base: bool,
}

/// Which stream a log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

fn as_line<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

fn as_text<S: serde::Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(data))
}
