//! What the store keeps under a step's key, beside the step's layer.

use super::step::Ran;
use kiln_digest::{CacheKey, ContentDigest};
use kiln_graph::CacheDirectory;
use kiln_store::{LayerId, RecordError, Store};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The result of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// The digest of what the layer changes.
    pub(crate) diff: ContentDigest,
    /// How long the step took.
    pub(crate) duration: Duration,
    /// The automatic caches that the step had. The layer may lack these directories.
    pub(crate) injected: Vec<CacheDirectory>,
    /// What the next run may go on from; nothing for what another machine made.
    pub(crate) ran: Option<Ran>,
}

impl StepRecord {
    /// What is kept under a key, with the layer. A record without a layer, or of another form, is none.
    pub(crate) fn find(store: &Store, key: &CacheKey) -> Result<Option<(LayerId, Self)>, kiln_store::Error> {
        let Some(record) = store.record(key)? else { return Ok(None) };
        Ok(record.layer.zip(Self::read(&record.value)))
    }

    /// What the store keeps as a record's value, if it is one of a step.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        postcard::from_bytes(value).ok()
    }

    /// Keeps it, with the layer that is in the store.
    pub(crate) fn keep(&self, store: &Store, key: &CacheKey, layer: LayerId) -> Result<(), RecordError> {
        let value = postcard::to_stdvec(self).expect("a record is plain data");
        store.put_record(key, &value, Some(layer))
    }
}
