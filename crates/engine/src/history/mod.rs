//! What is remembered of builds that are over: `kiln why` tells it, long after the progress is gone.
//!
//! A [`Recorder`] listens to the events of a build; at the end a [`BuildRecord`] goes to the store, which keeps the newest
//! [`KEPT`]. Nothing that a build does depends on one. The values of the build's secrets are in none: see [`Redaction`].

mod advice;
mod causes;
mod record;
mod recorder;
mod redaction;

pub use advice::Advice;
pub use causes::Cause;
pub use record::{BuildRecord, ImageRecord, StepEnd, StepKind, StepRecord, TransferRecord, WaitRecord};
pub(crate) use recorder::Recorder;
pub(crate) use redaction::{HIDDEN, Redaction};

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink};
use kiln_store::HistoryId;

/// Builds that are remembered.
const KEPT: usize = 100;

/// The builds of a store, the newest first.
pub struct History<'a> {
    engine: &'a Engine,
    ids: Vec<HistoryId>,
}

impl Engine {
    /// The builds that are remembered.
    ///
    /// # Errors
    /// Those of the store.
    pub fn history(&self) -> Result<History<'_>, EngineError> {
        Ok(History { engine: self, ids: self.store().history().map_err(EngineError::store)? })
    }

    /// Remembers a build. That it cannot is no reason for the build to fail.
    pub(crate) fn remember(&self, record: &BuildRecord, events: &dyn EventSink) {
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        if let Err(error) = self.store().put_history(&bytes, KEPT) {
            let message = format!("`kiln why` will not know of this build: {error}");
            events.event(Event::Warning { message, span: None });
        }
    }
}

impl History<'_> {
    /// The builds, the newest first. What an older or newer kiln wrote in another form is left out.
    pub fn builds(&self) -> impl Iterator<Item = (HistoryId, BuildRecord)> {
        self.ids.iter().filter_map(|id| Some((*id, self.read(*id)?)))
    }

    /// The build whose id starts with `prefix`; the newest if it is empty.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn find(&self, prefix: &str) -> Result<(HistoryId, BuildRecord), EngineError> {
        let user = |text: String| EngineError::new(ErrorKind::User, text);
        let found = || self.builds().filter(|(id, _)| id.to_string().starts_with(prefix));
        match (found().next(), prefix) {
            (None, "") => Err(user("no build is remembered yet".to_owned()).with_hint("build something first")),
            (None, _) => {
                Err(user(format!("no build `{prefix}` is remembered")).with_hint("`kiln history` lists the builds"))
            }
            (Some(build), "") => Ok(build),
            (Some(_), _) if found().nth(1).is_some() => {
                Err(user(format!("`{prefix}` is the start of several builds' ids")).with_hint("write more digits"))
            }
            (Some(build), _) => Ok(build),
        }
    }

    fn read(&self, id: HistoryId) -> Option<BuildRecord> {
        let bytes = self.engine.store().read_history(id).ok()??;
        serde_json::from_slice(&bytes).ok()
    }
}
