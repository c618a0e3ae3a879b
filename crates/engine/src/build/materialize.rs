//! Files of a context as a layer, for bind mounts: a step sees the files that its key was made from, without the ignored ones,
//! whatever happens to the context meanwhile.

use super::StepContext;
use crate::error::EngineError;
use crate::ops::file::{Earlier, copy_into_layer, everything, keep};
use crate::snapshot::Realized;
use kiln_digest::Hasher;
use kiln_sources::local::LocalContext;
use kiln_store::{LayerId, NewLayer};
use std::path::PathBuf;

/// Memos of the layer that a context's path last became.
const MEMO: &str = "context-layer";

/// The layer of what is at `source`, and the path of it in there: empty for a directory, the name for a file.
pub(super) fn context(
    step: &StepContext<'_>,
    local: &LocalContext,
    source: &str,
) -> Result<(Realized, PathBuf), EngineError> {
    let store = step.store();
    let copy = everything(source, true);
    let selection = step.build.select_from_context(local, &copy)?;
    let digest = selection.digest;
    let subpath = selection.file_name();
    let key = Hasher::new("kiln context files v1").field(digest.as_bytes()).key();
    let lock = store.lock_step(&key, || !step.cancel().is_cancelled()).map_err(EngineError::store)?;
    if let Some(record) = store.record(&key).map_err(EngineError::store)?
        && let Some(layer) = record.layer
    {
        return Ok((Realized::new(store, vec![layer])?, subpath));
    }
    let place = format!("{}\n{source}", local.path().display());
    let earlier = store
        .memo(MEMO, place.as_bytes())
        .map_err(EngineError::store)?
        .and_then(|value| postcard::from_bytes::<LayerId>(&value).ok())
        .and_then(|layer| Earlier::find(store, layer));
    let temporary = step.temp_dir()?;
    let fs = temporary.path().join("fs");
    let built = copy_into_layer(&fs, local, &copy, &selection, earlier.as_ref(), step.cancel())?;
    let diff = built.diff;
    let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
    let layer = store.commit_layer(&fs, new).map_err(EngineError::store)?;
    store.put_record(&key, &[], Some(layer.id)).map_err(EngineError::store)?;
    keep(store, built);
    let value = postcard::to_stdvec(&layer.id).expect("an id is plain data");
    store.put_memo(MEMO, place.as_bytes(), &value).map_err(EngineError::store)?;
    drop(lock);
    Ok((Realized::new(store, vec![layer.id])?, subpath))
}
