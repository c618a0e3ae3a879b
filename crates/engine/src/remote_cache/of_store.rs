//! `kiln cache export`: all that the store has goes into a remote cache, whichever builds made it.

use super::access;
use super::document::RemoteStep;
use super::export::{self, Asked, CacheExportError, Contents, Source};
use super::of_build::with_ids;
use crate::build::{StepRecord, stored_selections};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{EventSink, StepId};
use kiln_remote::{CacheExport, Mounts, connect};
use kiln_store::{Lease, LeaseError, Store};
use std::collections::BTreeMap;

impl Engine {
    /// Writes the steps, layers and cache mounts of the store to a remote cache, which then holds these alone. The export's mode says
    /// nothing: there is no image.
    ///
    /// # Errors
    /// Those of the store and of the place.
    pub fn export_cache(
        &self,
        export: &CacheExport,
        events: &dyn EventSink,
        cancel: &CancelToken,
    ) -> Result<(), EngineError> {
        let (access, _forward) = access(self, cancel);
        connect(&export.location, &access).map_err(|error| EngineError::from_cache_export(error.into()))?;
        let asked = Asked { store: self.store(), events, cancel, access: &access, step: StepId(1) };
        let mut leases = Vec::new();
        export::export(asked, export, || contents(self.store(), &export.options.mounts, cancel, &mut leases))
    }
}

/// What goes there, leased until the export is over.
fn contents(
    store: &Store,
    mounts: &Mounts,
    cancel: &CancelToken,
    leases: &mut Vec<Lease>,
) -> Result<Contents, CacheExportError> {
    let (mut steps, mut sources) = (Vec::new(), BTreeMap::new());
    for (key, kept) in store.records_with_layers()? {
        let (Some(layer), Some(record)) = (kept.layer, StepRecord::read(&kept.value)) else { continue };
        match store.lease(&[layer]) {
            Ok(lease) => leases.push(lease),
            // Pruned meanwhile.
            Err(LeaseError::Missing(_)) => continue,
            Err(LeaseError::Store(error)) => return Err(error.into()),
        }
        let Some(known) = store.layer(layer)? else { continue };
        let diff_id = kiln_exporters::diff_id(store, layer, &cancel.flag())?;
        steps.push(RemoteStep::new(key, &record, diff_id, known.created).used_at(kept.used));
        sources.entry(diff_id).or_insert(Source::Store(layer));
    }
    let wants_mount: Box<dyn Fn(&str) -> bool> = match mounts {
        Mounts::None => Box::new(|_| false),
        Mounts::Ids(ids) => with_ids(ids.clone()),
        Mounts::Used | Mounts::All => Box::new(|_| true),
    };
    let selections = stored_selections(store)?;
    Ok(Contents { steps, sources, selections, wants_mount, other_mounts: Vec::new() })
}
