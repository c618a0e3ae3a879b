//! The build graph: what has to be made, from what, and nothing about how.
//!
//! A [`Graph`] is a list of vertices in which inputs stand before their users. Each [`Vertex`] has an [`Op`], its inputs, and
//! a [`Label`] for people. Two vertices with the same op and the same inputs are the same vertex: [`Graph::add`] returns the
//! one that is there, so identical steps run once.
//!
//! What a vertex makes is a *tree* (a snapshot, a context). Ops name their inputs by position ([`Port`]).
//!
//! This crate does no I/O and knows neither Dockerfiles nor containers.

mod exec;
mod file;
mod git;
mod graph;
mod http;
mod platform;
mod source;
mod variables;

pub use exec::{
    AutoCache, CacheDirectory, CachePurpose, CacheSharing, Exec, HostEntry, Mount, MountKind, Network, Resources,
    SecretTarget, Security, Ulimit, Unseen,
};
pub use file::{Action, Copy, Mkdir, Mkfile, Mode, Owner, Unpack, UserName};
pub use git::{GitAddress, GitTree, ParseGitError};
pub use graph::{Graph, Label, Vertex, VertexId};
pub use http::{HttpFile, without_credentials};
pub use platform::{ParsePlatformError, Platform};
pub use source::{Image, ImageLocation, Local, Source};
pub use variables::Variables;

use serde::{Deserialize, Serialize};

/// The position of an input among a vertex's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Port(pub u32);

/// What a vertex does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Brings in something from outside the build.
    Source(Source),
    /// Runs a process in a tree; the result is the tree with what the process changed.
    Exec(Box<Exec>),
    /// Copies, makes and removes files on top of a tree, without running anything.
    File(File),
}

/// File actions over an optional base tree, applied in order into one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The tree that the actions change; an empty one if absent.
    pub base: Option<Port>,
    /// What to do.
    pub actions: Vec<Action>,
}
