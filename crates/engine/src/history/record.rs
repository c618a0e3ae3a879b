//! What is kept of a build. Plain data, as JSON in the store; a field that an older kiln did not write has a default.

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
    /// The steps, in the order in which they first appeared.
    pub steps: Vec<StepRecord>,
    /// What people should have known.
    #[serde(default)]
    pub warnings: Vec<String>,
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
    /// How it ended.
    pub end: StepEnd,
    /// Why it ran.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// When it started, in microseconds from the build's start.
    pub started: u64,
    /// How long it took, in microseconds; for a cached step, how long it took when it last ran.
    pub duration: u64,
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

/// How a step ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepEnd {
    /// Its result was there.
    Cached,
    /// It ran.
    Ran,
    /// It failed or was cancelled.
    Failed,
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
