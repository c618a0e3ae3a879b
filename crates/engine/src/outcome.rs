//! What a build leaves: digests and names for scripts, counts for people.

use crate::lint::Lints;
use kiln_digest::Digest;
use kiln_exporters::Document;
use serde_json::Value;
use std::time::Duration;

/// A build that succeeded.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// Digest of the image's config: the image id. Absent for an index, and where no output is an image.
    pub config: Option<Digest>,
    /// The manifest or index, where an output made one (`oci`, `docker`, `image` for several platforms).
    pub manifest: Option<ManifestDescriptor>,
    /// Canonical names that were given to the image.
    pub names: Vec<String>,
    /// How the image of the first platform was made, if the user asked for provenance: the predicate of SLSA provenance v1.
    pub provenance: Option<Value>,
    /// Steps that ran, and steps whose result was there.
    pub steps: StepCounts,
    /// Wall-clock time.
    pub duration: Duration,
    /// What the lints found; `None` if nothing.
    pub lints: Option<Box<Lints>>,
}

/// A manifest or index that an output wrote.
#[derive(Debug, Clone)]
pub struct ManifestDescriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl ManifestDescriptor {
    pub(crate) fn of(document: &Document) -> Self {
        Self { media_type: document.media_type.to_owned(), digest: document.digest, size: document.bytes.len() as u64 }
    }
}

/// How many steps ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Steps that ran.
    pub ran: u32,
    /// Steps whose result was there.
    pub cached: u32,
}
