//! The records of a remote cache: what steps made, by their keys, and what later steps selected of that.
//!
//! ```json
//! {"version":1,
//!  "steps":[{"key":"…","diff":"…","diff_id":"sha256:…","duration":1234,"created":1790000000000,"used":1790000000000,
//!            "injected":[]}],
//!  "selections":[["…","…"]]}
//! ```
//!
//! Keys depend on contents alone, so a record is true on any machine. Whoever can write a cache can say what a step made, as with any
//! cache; what the layers hold is verified against `diff` and `diff_id` when they are unpacked.

use crate::build::StepRecord;
use kiln_digest::{CacheKey, ContentDigest, Digest};
use kiln_graph::CacheDirectory;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The version of the document that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Most bytes of the document that are read.
pub(super) const MOST_BYTES: u64 = 32 << 20;

/// What steps made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document {
    version: u32,
    pub(super) steps: Vec<RemoteStep>,
    /// Digests of what copies and mounts take from trees, by the tree and what they take.
    pub(super) selections: Vec<(ContentDigest, ContentDigest)>,
}

/// What a step made on some machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteStep {
    pub(crate) key: CacheKey,
    /// The digest of what its layer changes.
    pub(crate) diff: ContentDigest,
    /// The digest of its layer as an uncompressed tar.
    pub(crate) diff_id: Digest,
    /// How long it took, in microseconds.
    duration: u64,
    /// When it was made, in milliseconds since 1970.
    created: u64,
    /// When a build last had it, in milliseconds since 1970.
    used: u64,
    /// The automatic caches that it had.
    pub(crate) injected: Vec<CacheDirectory>,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("its records are a malformed document")]
    Json(#[from] serde_json::Error),
    #[error("its records are of version {0}, and this kiln reads version {VERSION}")]
    Version(u32),
    #[error("its records have {0} bytes, more than {MOST_BYTES}")]
    TooLarge(u64),
    #[error("its records cannot be read")]
    Read(#[from] std::io::Error),
}

impl Document {
    pub(super) fn new(steps: Vec<RemoteStep>, selections: Vec<(ContentDigest, ContentDigest)>) -> Self {
        Self { version: VERSION, steps, selections }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the document has no keys but strings")
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        // Another version may well be of another form, and should be told as such.
        let Version { version } = serde_json::from_slice(bytes)?;
        if version != VERSION { Err(DocumentError::Version(version)) } else { Ok(serde_json::from_slice(bytes)?) }
    }
}

impl RemoteStep {
    /// What the store of this machine has under a key, for others.
    pub(super) fn new(key: CacheKey, record: &StepRecord, diff_id: Digest, created: SystemTime) -> Self {
        Self {
            key,
            diff: record.diff,
            diff_id,
            duration: u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
            created: milliseconds(created),
            used: milliseconds(created),
            injected: record.injected.clone(),
        }
    }

    /// The same, last had by a build at that time.
    pub(super) fn used_at(&self, used: SystemTime) -> Self {
        Self { used: milliseconds(used), ..self.clone() }
    }

    /// When a build last had it.
    pub(super) fn used(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.used)).unwrap_or(UNIX_EPOCH)
    }

    /// The record as this machine's store keeps it.
    pub(crate) fn record(&self) -> StepRecord {
        StepRecord { diff: self.diff, duration: self.duration(), injected: self.injected.clone(), ran: None }
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_micros(self.duration)
    }

    /// When its layer was made, which images tell.
    pub(super) fn created(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.created)).unwrap_or(UNIX_EPOCH)
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_digest::Hasher;

    #[test]
    fn the_document_round_trips() {
        let key = Hasher::new("test").key();
        let record = StepRecord {
            diff: ContentDigest::of_bytes(b"diff"),
            duration: Duration::from_micros(1234),
            injected: vec![CacheDirectory::Home(".cache".to_owned())],
            ran: None,
        };
        let created = UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
        let step = RemoteStep::new(key, &record, Digest::of_bytes(b"tar"), created);
        assert_eq!((step.created(), step.duration()), (created, record.duration));
        let selections = vec![(ContentDigest::of_bytes(b"a"), ContentDigest::of_bytes(b"b"))];
        let document = Document::new(vec![step.clone()], selections.clone());
        let read = Document::from_json(&document.to_json()).unwrap();
        assert_eq!((read.steps, read.selections), (vec![step], selections));
    }

    #[test]
    fn what_is_no_document_is_told() {
        for (bytes, expected) in [
            (&b"{}"[..], "malformed"),
            (br#"{"version":2,"other":1}"#, "version 2"),
            (br#"{"version":1,"steps":3}"#, "malformed"),
            (b"\xff", "malformed"),
        ] {
            let error = Document::from_json(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        // A time from the end of all times does no harm.
        let json = format!(
            r#"{{"version":1,"steps":[{{"key":"{0}","diff":"{0}","diff_id":"sha256:{0}","duration":{1},"created":{1},"used":{1},"injected":[]}}],"selections":[]}}"#,
            "0".repeat(64),
            u64::MAX
        );
        let read = Document::from_json(json.as_bytes()).unwrap();
        assert!(read.steps[0].created() >= UNIX_EPOCH);
    }
}
