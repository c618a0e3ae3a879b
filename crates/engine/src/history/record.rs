//! What is kept of a build. Plain data, as JSON in the store; a field that an older kiln did not write has a default.

use crate::event::{ImageLayer, Wait};
use kiln_solver::Reason;
use serde::{Deserialize, Serialize};

/// A build that is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// When it started, in milliseconds since 1970.
    pub started: u64,
    /// How long it took, in microseconds.
    pub duration: u64,
    /// The build context, as it was named.
    pub context: String,
    /// The Dockerfile's name, as messages have it.
    pub dockerfile: String,
    /// The stage asked for.
    #[serde(default)]
    pub target: Option<String>,
    /// Names given to the image.
    #[serde(default)]
    pub names: Vec<String>,
    /// Digest of the image's config.
    #[serde(default)]
    pub image: Option<String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether the user ended it.
    #[serde(default)]
    pub cancelled: bool,
    /// When it was known what to build, in microseconds from the start; 0 if it never was.
    #[serde(default)]
    pub planned: u64,
    /// Processors that it could use; 0 if that is not known.
    #[serde(default)]
    pub cores: u32,
    /// The image of each platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageRecord>,
    /// The steps, in the order in which they first appeared.
    pub steps: Vec<StepRecord>,
    /// What people should have known.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What an image is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its platform.
    pub platform: String,
    /// Its layers, the lowest first.
    pub layers: Vec<ImageLayer>,
}

/// One step of a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its number in the progress.
    pub number: u32,
    /// Its progress line.
    pub name: String,
    /// The stage it belongs to; absent for internal steps.
    #[serde(default)]
    pub stage: Option<String>,
    /// The instruction as written; empty for internal steps.
    #[serde(default)]
    pub instruction: String,
    /// The line of the Dockerfile, from 1.
    #[serde(default)]
    pub line: Option<u32>,
    /// Numbers of the steps that it needs.
    #[serde(default)]
    pub inputs: Vec<u32>,
    /// Whether it reads files from outside of the build: of a context, a URL, a repository.
    #[serde(default)]
    pub reads_context: bool,
    /// What it is about.
    #[serde(default)]
    pub kind: StepKind,
    /// How it ended.
    pub end: StepEnd,
    /// Why it ran.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// When it started, in microseconds from the build's start.
    pub started: u64,
    /// How long it took, in microseconds; for a cached step, how long it took when it last ran.
    pub duration: u64,
    /// How long it took when it ran before, in microseconds, for a step that ran again.
    #[serde(default)]
    pub last: Option<u64>,
    /// When it did nothing but wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<WaitRecord>,
    /// Processor time of its processes on all cores, in microseconds.
    #[serde(default)]
    pub cpu: Option<u64>,
    /// Bytes of its largest process.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Whether it ran and made the same as the last time.
    #[serde(default)]
    pub same: bool,
    /// The commands that it got automatic caches for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auto_caches: Vec<String>,
    /// The remote cache that had its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The layer that it made or found in the store.
    #[serde(default)]
    pub layer: Option<String>,
    /// Bytes of that layer's files.
    #[serde(default)]
    pub size: Option<u64>,
    /// The error, if it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// Whether the output had more before that.
    #[serde(default)]
    pub log_cut: bool,
    /// What it transferred or packed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<TransferRecord>,
}

/// What a step is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// An instruction is carried out.
    #[default]
    Work,
    /// Something is brought in from elsewhere.
    Source,
    /// A result is written.
    Export,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepEnd {
    /// Its result was there.
    Cached,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It was stopped: by the user, or because another step failed.
    Cancelled,
    /// The build ended before it did.
    #[default]
    Unfinished,
}

/// Something that a step transferred or packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRecord {
    /// What: a digest, a file.
    pub item: String,
    /// Bytes done.
    pub bytes: u64,
    /// When it was first and last heard of, in microseconds from the build's start.
    pub started: u64,
    /// See `started`.
    pub finished: u64,
}

/// A time in which a step waited, in microseconds from the build's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitRecord {
    /// What for.
    pub on: Wait,
    /// From when.
    pub started: u64,
    /// Until when.
    pub finished: u64,
}
