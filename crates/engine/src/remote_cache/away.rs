//! Layers of a build that are in a remote cache: fetched when somebody needs their files, once a build.
//!
//! A layer that cannot be had is *lost*: people are warned, and the build begins again without it.

use super::document::RemoteStep;
use super::fetch::Fetching;
use super::import::Import;
use crate::build::Build;
use crate::error::{EngineError, ErrorKind};
use crate::snapshot::{OwnLayer, Snapshot};
use kiln_remote::CachedLayer;
use kiln_store::LayerId;
use std::sync::{Arc, Mutex, PoisonError};

/// The layer of a step that another machine made.
pub(crate) struct AwayLayer {
    pub(super) step: RemoteStep,
    pub(super) cached: CachedLayer,
    pub(super) import: Arc<Import>,
    /// Its name here, once it has been fetched.
    pub(super) here: Mutex<Option<LayerId>>,
}

/// A build that lost a layer of a remote cache begins again.
#[derive(Debug, thiserror::Error)]
#[error("a layer of a remote cache is lost")]
pub(crate) struct LayerLost;

impl AwayLayer {
    pub(super) fn new(step: RemoteStep, cached: CachedLayer, import: Arc<Import>) -> Self {
        Self { step, cached, import, here: Mutex::default() }
    }

    /// What is known of the step.
    pub(crate) fn step(&self) -> &RemoteStep {
        &self.step
    }

    /// The cache that has it, for people.
    pub(crate) fn place(&self) -> String {
        self.import.remote().name()
    }

    /// Its name here, if it has been fetched.
    pub(super) fn here(&self) -> Option<LayerId> {
        *self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Build<'_> {
    /// The layers that steps made of a snapshot, fetched where they are in a remote cache.
    pub(crate) fn own_layers(&self, snapshot: &Snapshot) -> Result<Vec<LayerId>, EngineError> {
        let away: Vec<&AwayLayer> = snapshot.own_layers().iter().filter_map(missing).collect();
        if !away.is_empty() {
            self.fetch_all(&away)?;
        }
        let id = |layer: &OwnLayer| match layer {
            OwnLayer::Here(id) => *id,
            OwnLayer::Away(away) => away.here().expect("fetched above"),
        };
        Ok(snapshot.own_layers().iter().map(id).collect())
    }

    fn fetch_all(&self, layers: &[&AwayLayer]) -> Result<(), EngineError> {
        let (store, step) = (self.engine.store(), self.next_internal_id());
        let fetching = Fetching { store, events: self.events, cancel: &self.cancel, step };
        fetching.all(layers, &|layer| {
            self.remote_caches.lose(&layer.cached.blob);
            Err(EngineError::of(ErrorKind::Network, LayerLost))
        })
    }
}

fn missing(layer: &OwnLayer) -> Option<&AwayLayer> {
    match layer {
        OwnLayer::Away(away) if away.here().is_none() => Some(away),
        OwnLayer::Away(_) | OwnLayer::Here(_) => None,
    }
}
