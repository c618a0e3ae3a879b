//! The rules of kiln's own: what makes builds slower, or images larger, than they need be.
//!
//! They run in `kiln check` alone ([`Options::advice`](super::Options)), so that no build is noisier or fails because of them. Most ask
//! what steps do, which `lower` tells in [`StepFacts`](super::StepFacts); without that they find nothing. `lower`'s tests prove the
//! examples, and show what fixes make of many Dockerfiles.

pub(super) mod cache_mount_missing;
mod edits;

use super::{Finding, Report, Rule, Scope};
