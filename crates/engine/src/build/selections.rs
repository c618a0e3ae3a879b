//! What steps select from their inputs, digested: for a context by walking it, once per build; for a snapshot from memory where
//! an earlier build has looked, so that nothing is read.

use super::Build;
use crate::error::EngineError;
use crate::ops::file::{SelectError, Selection, everything, select};
use crate::snapshot::{Output, Snapshot};
use kiln_digest::{ContentDigest, Hasher};
use kiln_graph::Copy;
use kiln_layer::Tree;
use kiln_solver::FileListing;
use kiln_sources::local::LocalContext;
use kiln_store::Store;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Memos of the digests of paths in snapshots.
const MEMO_SELECTION: &str = "selection";
/// Memos of the files behind a digest.
const MEMO_LISTING: &str = "listing";

/// Digests of what steps select.
pub(crate) trait Selections {
    /// The digest of what a copy takes from an input.
    fn copy(&self, input: &Output, copy: &Copy) -> Result<ContentDigest, EngineError>;

    /// The digest of all that is at a path of an input.
    fn path(&self, input: &Output, path: &str) -> Result<ContentDigest, EngineError> {
        self.copy(input, &everything(path, matches!(input, Output::Context(_))))
    }
}

/// What this build has selected, by tree and copy, and by digest.
#[derive(Default)]
pub(crate) struct SelectionCache {
    by_key: Mutex<HashMap<ContentDigest, Arc<Selection>>>,
    by_digest: Mutex<HashMap<ContentDigest, Arc<Selection>>>,
    /// Digests of what was taken from snapshots, by tree and copy: whoever looks in a remote cache for what was built of it must not
    /// need the files.
    of_snapshots: Mutex<BTreeMap<ContentDigest, ContentDigest>>,
}

impl SelectionCache {
    /// The digests of what was taken from snapshots.
    pub(crate) fn of_snapshots(&self) -> Vec<(ContentDigest, ContentDigest)> {
        lock(&self.of_snapshots).iter().map(|(key, digest)| (*key, *digest)).collect()
    }
}

impl Build<'_> {
    /// What a copy takes from a context; walked and hashed once per build.
    pub(crate) fn select_from_context(&self, local: &LocalContext, copy: &Copy) -> Result<Arc<Selection>, EngineError> {
        let key = selection_key(local.path().as_os_str().as_encoded_bytes(), copy);
        if let Some(known) = lock(&self.selections.by_key).get(&key) {
            return Ok(Arc::clone(known));
        }
        let selection = Arc::new(select(local, copy, &self.cancel.flag()).map_err(|error| missing(local, error))?);
        lock(&self.selections.by_digest).insert(selection.digest, Arc::clone(&selection));
        Ok(Arc::clone(lock(&self.selections.by_key).entry(key).or_insert(selection)))
    }

    /// What a copy takes from a snapshot whose tree is open; walked and hashed once per build.
    pub(crate) fn select_from_snapshot(
        &self,
        snapshot: &Snapshot,
        tree: &dyn Tree,
        copy: &Copy,
    ) -> Result<Arc<Selection>, EngineError> {
        let key = selection_key(snapshot.content.as_bytes(), copy);
        if let Some(known) = lock(&self.selections.by_key).get(&key) {
            return Ok(Arc::clone(known));
        }
        let selection = Arc::new(select(tree, copy, &self.cancel.flag()).map_err(EngineError::select)?);
        lock(&self.selections.by_digest).insert(selection.digest, Arc::clone(&selection));
        Ok(Arc::clone(lock(&self.selections.by_key).entry(key).or_insert(selection)))
    }

    /// The files behind a digest, from this build or an earlier one.
    pub(crate) fn find_listing(&self, digest: &ContentDigest) -> Option<FileListing> {
        if let Some(selection) = lock(&self.selections.by_digest).get(digest) {
            return Some(selection.listing());
        }
        // A listing only helps to explain; without it the explanation is shorter.
        let bytes = self.engine.store().memo(MEMO_LISTING, digest.as_bytes()).ok()??;
        postcard::from_bytes(&bytes).ok()
    }

    /// Keeps the files behind a digest for later builds.
    pub(crate) fn keep_listing(&self, digest: &ContentDigest) {
        let selection = lock(&self.selections.by_digest).get(digest).cloned();
        if let Some(selection) = selection
            && let Ok(bytes) = postcard::to_stdvec(&selection.listing())
        {
            // A listing that is not kept only makes a later explanation shorter.
            let _ = self.engine.store().put_memo(MEMO_LISTING, digest.as_bytes(), &bytes);
        }
    }
}

/// Says of a path that the context does not have why that may be.
fn missing(local: &LocalContext, error: SelectError) -> EngineError {
    let hint = match &error {
        SelectError::NotFound { path, .. } => {
            let relative = Path::new(path.trim_start_matches('/'));
            if local.leaves_out(relative) {
                Some("the directory has it, but `.dockerignore` leaves it out".to_owned())
            } else {
                similar(local, relative).map(|similar| format!("did you mean `{similar}`?"))
            }
        }
        _ => None,
    };
    let wrong = EngineError::select(error);
    match hint {
        Some(hint) => wrong.with_hint(hint),
        None => wrong,
    }
}

/// The path of what is beside a missing path and is called much like it.
fn similar(local: &LocalContext, path: &Path) -> Option<String> {
    let directory = path.parent()?;
    let names: Vec<String> =
        local.children(directory).ok()?.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect();
    let nearest = kiln_dockerfile::nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(directory.join(nearest).display().to_string())
}

impl Selections for Build<'_> {
    fn copy(&self, input: &Output, copy: &Copy) -> Result<ContentDigest, EngineError> {
        let snapshot = match input {
            Output::Context(local) => return Ok(self.select_from_context(local, copy)?.digest),
            Output::Snapshot(snapshot) => snapshot,
        };
        let key = selection_key(snapshot.content.as_bytes(), copy);
        let digest = self.snapshot_selection(&key, snapshot, copy)?;
        lock(&self.selections.of_snapshots).insert(key, digest);
        Ok(digest)
    }
}

impl Build<'_> {
    fn snapshot_selection(
        &self,
        key: &ContentDigest,
        snapshot: &Snapshot,
        copy: &Copy,
    ) -> Result<ContentDigest, EngineError> {
        let store = self.engine.store();
        if let Some(value) = store.memo(MEMO_SELECTION, key.as_bytes()).map_err(EngineError::store)?
            && let Ok(bytes) = <[u8; 32]>::try_from(&value[..])
        {
            return Ok(ContentDigest::from_bytes(bytes));
        }
        // What another machine says is good for this build, as its records are, but is no memo: that would outlive the trust.
        if let Some(digest) = self.find_selection(key) {
            return Ok(digest);
        }
        let realized = self.realize(snapshot)?;
        let digest = self.select_from_snapshot(snapshot, realized.tree.as_ref(), copy)?.digest;
        store.put_memo(MEMO_SELECTION, key.as_bytes(), digest.as_bytes()).map_err(EngineError::store)?;
        Ok(digest)
    }
}

/// All digests of what was taken from snapshots that a store remembers, by tree and copy.
pub(crate) fn stored_selections(store: &Store) -> Result<Vec<(ContentDigest, ContentDigest)>, kiln_store::Error> {
    let digest = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok().map(ContentDigest::from_bytes);
    let memos = store.memos(MEMO_SELECTION)?;
    Ok(memos.iter().filter_map(|(key, value)| Some((digest(key)?, digest(value)?))).collect())
}

/// Makes a store remember such digests.
pub(crate) fn keep_selections(
    store: &Store,
    selections: impl IntoIterator<Item = (ContentDigest, ContentDigest)>,
) -> Result<(), kiln_store::Error> {
    store.put_memos(
        MEMO_SELECTION,
        selections.into_iter().map(|(key, digest)| (key.as_bytes().to_vec(), digest.as_bytes().to_vec())),
    )
}

/// What a selection depends on: the tree, and the part of the copy that selects.
fn selection_key(tree: &[u8], copy: &Copy) -> ContentDigest {
    let mut hasher = Hasher::new("kiln selection key v3");
    hasher.field(tree).number(u64::from(copy.from_context)).number(u64::from(copy.parents));
    for list in [&copy.sources, &copy.exclude] {
        hasher.number(list.len() as u64);
        for text in list {
            hasher.field(text.as_bytes());
        }
    }
    hasher.content()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
