//! One cache that a build may look in: what it holds is read in the background from the build's beginning, and waited for when a step
//! is not in the store.
//!
//! The thread that reads is not waited for when the build ends: a build that needs nothing of the cache must not be kept by it. It
//! holds nothing but its own connection, and ends soon after `stop` is set.

use super::document::{Document, DocumentError, MOST_BYTES, RemoteStep};
use crate::cancel::CancelToken;
use kiln_digest::{CacheKey, ContentDigest, Digest};
use kiln_remote::{BlobRef, CacheManifest, CachedLayer, CachedMount, Remote, RemoteError};
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A cache to look in.
pub(crate) struct Import {
    remote: Box<dyn Remote>,
    state: Mutex<State>,
    is_read: Condvar,
    /// Whether people know what came of reading it.
    pub(super) told: Mutex<bool>,
}

enum State {
    Reading,
    Read(Option<Arc<Holdings>>),
    /// The reason, until it is told.
    Failed(Option<ImportError>),
}

/// What a cache holds.
pub(crate) struct Holdings {
    /// When it was written.
    pub(super) created: SystemTime,
    pub(super) steps: HashMap<CacheKey, RemoteStep>,
    pub(super) selections: HashMap<ContentDigest, ContentDigest>,
    pub(super) layers: HashMap<Digest, CachedLayer>,
    pub(super) mounts: Vec<CachedMount>,
}

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("the cache in {place} cannot be used: {source}")]
    Records { place: String, source: DocumentError },
}

impl Import {
    /// Begins to read what a cache holds.
    pub(super) fn begin(remote: Box<dyn Remote>) -> Arc<Self> {
        let (state, is_read) = (Mutex::new(State::Reading), Condvar::new());
        let import = Arc::new(Self { remote, state, is_read, told: Mutex::new(false) });
        let reader = Arc::clone(&import);
        std::thread::spawn(move || {
            let state = match read(reader.remote.as_ref()) {
                Ok(holdings) => State::Read(holdings.map(Arc::new)),
                Err(error) => State::Failed(Some(error)),
            };
            *reader.state() = state;
            reader.is_read.notify_all();
        });
        import
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache itself.
    pub(crate) fn remote(&self) -> &dyn Remote {
        self.remote.as_ref()
    }

    /// What it holds, once that is known: nothing if there is no cache yet, if it cannot be used, or when cancelled. The error comes
    /// once.
    pub(super) fn wait(&self, cancel: &CancelToken) -> Result<Option<Arc<Holdings>>, ImportError> {
        let mut state = self.state();
        loop {
            match &mut *state {
                State::Read(holdings) => return Ok(holdings.clone()),
                State::Failed(error) => return error.take().map_or(Ok(None), Err),
                State::Reading if cancel.is_cancelled() => return Ok(None),
                State::Reading => {}
            }
            state = self.is_read.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How soon a cancelled build gives up waiting.
const PAUSE: Duration = Duration::from_millis(50);

/// What a cache holds.
pub(super) fn read(remote: &dyn Remote) -> Result<Option<Holdings>, ImportError> {
    Ok(documents(remote)?.map(|(manifest, document)| Holdings::new(manifest, document)))
}

/// The documents of a cache.
pub(super) fn documents(remote: &dyn Remote) -> Result<Option<(CacheManifest, Document)>, ImportError> {
    let Some(manifest) = remote.manifest()? else { return Ok(None) };
    let unusable = |source| ImportError::Records { place: remote.name(), source };
    let bytes = records(remote, &manifest.records).map_err(|error| match error {
        RecordsError::Remote(error) => ImportError::Remote(error),
        RecordsError::Document(error) => unusable(error),
    })?;
    let document = Document::from_json(&bytes).map_err(unusable)?;
    Ok(Some((manifest, document)))
}

enum RecordsError {
    Remote(RemoteError),
    Document(DocumentError),
}

fn records(remote: &dyn Remote, blob: &BlobRef) -> Result<Vec<u8>, RecordsError> {
    if blob.size > MOST_BYTES {
        return Err(RecordsError::Document(DocumentError::TooLarge(blob.size)));
    }
    let mut bytes = Vec::new();
    let mut reader = remote.read(blob).map_err(RecordsError::Remote)?;
    reader.read_to_end(&mut bytes).map_err(|error| RecordsError::Document(error.into()))?;
    Ok(bytes)
}

impl Holdings {
    fn new(manifest: CacheManifest, document: Document) -> Self {
        Self {
            created: UNIX_EPOCH.checked_add(Duration::from_secs(manifest.created)).unwrap_or(UNIX_EPOCH),
            steps: document.steps.into_iter().map(|step| (step.key, step)).collect(),
            selections: document.selections.into_iter().collect(),
            layers: manifest.layers.into_iter().map(|layer| (layer.diff_id, layer)).collect(),
            mounts: manifest.mounts,
        }
    }
}
