//! Solves a build graph: finds the result of each vertex by its cache key, has it made where there is none, in parallel
//! where the graph allows.
//!
//! - A vertex's key depends on what its inputs *are* ([`KeyParts`]), never on how they came to be. So a step that runs again
//!   and makes the same bytes does not invalidate what follows (early cutoff).
//! - A key is the hash of *named parts*; the parts of the last run are kept, so that a miss can say which part changed
//!   ([`explain`]).
//! - Identical steps run once: within a graph because they are one vertex, between processes because whoever makes a result
//!   holds the lock of its key, and the others look again when they get it.
//!
//! The solver knows no containers, layers or Dockerfiles: a [`Worker`] does the work and keeps the results.

mod content;
mod key;
mod schedule;
mod why;

pub use content::step_content;
pub use key::{FileListing, KeyParts, LastRun, Part, PartValue};
pub use schedule::{Prepared, Worker, solve};
pub use why::{Change, Reason, explain, or_none};
