//! Images from a registry into the store.

use super::{STEP, told};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, EventSink};
use kiln_digest::Digest;
use kiln_graph::Platform;
use kiln_registry::Reference;
use kiln_sources::image::PullProgress;

/// An image that was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Its canonical name.
    pub name: String,
    /// Its id: the digest of its config.
    pub id: Digest,
    /// The digest of its manifest.
    pub digest: Digest,
}

impl Engine {
    /// Pulls the image of one platform, or makes sure that it is what its registry has.
    ///
    /// # Errors
    /// The registry's, and those of unpacking.
    pub fn pull_image(
        &self,
        name: &str,
        platform: &Platform,
        events: &dyn EventSink,
        cancel: &CancelToken,
    ) -> Result<Pulled, EngineError> {
        let name = Reference::parse(name).map_err(EngineError::user)?.to_string();
        told(events, format!("pulling {name}"), || {
            let stop = || cancel.is_cancelled();
            let resolved = self.registry().resolve(&name, platform, true, &stop);
            let resolution = resolved.map_err(|error| match cancel.is_cancelled() {
                true => EngineError::cancelled(),
                false => EngineError::from_image(error),
            })?;
            self.registry()
                .pull(&resolution, &Told { events, cancel })
                .map_err(|error| EngineError::from_pull(error, cancel.is_cancelled()))?;
            Ok(Pulled { name: name.clone(), id: resolution.config_digest, digest: resolution.digest })
        })
    }
}

struct Told<'a> {
    events: &'a dyn EventSink,
    cancel: &'a CancelToken,
}

impl PullProgress for Told<'_> {
    fn layer(&self, digest: &Digest, current: u64, total: u64, done: bool) {
        let item = format!("sha256:{}", digest.short());
        self.events.event(Event::StepProgress { step: STEP, item, current, total: Some(total), done });
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
