//! Images on their own: pulled, pushed, named, and looked into, without a build.

mod inspect;
mod pull;
mod push;
mod standing;
mod tag;

pub use inspect::{ImageDetails, PlatformDetails};
pub use pull::Pulled;
pub use push::PushRequest;

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink, StepId};
use kiln_registry::Reference;
use kiln_store::Image;
use std::collections::BTreeSet;
use std::time::Instant;

/// The only step of such a command.
const STEP: StepId = StepId(1);

/// Does something as a step.
fn told<T>(
    events: &dyn EventSink,
    name: String,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    events.event(Event::StepStarted { step: STEP, name, stage: None });
    let started = Instant::now();
    let done = work();
    let error = done.as_ref().err().map(ToString::to_string);
    events.event(Event::StepFinished { step: STEP, duration: started.elapsed(), error });
    done
}

impl Engine {
    /// The images of a name, of every platform, or of the start of an id; none if there is no such image.
    fn find_images(&self, name_or_id: &str) -> Result<Vec<Image>, EngineError> {
        let images = self.store().images().map_err(EngineError::store)?;
        if let Ok(reference) = Reference::parse(name_or_id) {
            let name = reference.to_string();
            let named: Vec<Image> = images.iter().filter(|image| image.name == name).cloned().collect();
            if !named.is_empty() {
                return Ok(named);
            }
        }
        let digits = name_or_id.strip_prefix("sha256:").unwrap_or(name_or_id);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let found: Vec<_> =
            images.into_iter().filter_map(|image| Some((image.id_starting_with(digits)?, image))).collect();
        let ids: BTreeSet<_> = found.iter().map(|(id, _)| *id).collect();
        if ids.len() > 1 {
            let text = format!("`{name_or_id}` is the start of {} image ids", ids.len());
            return Err(EngineError::new(ErrorKind::User, text).with_hint("give more digits"));
        }
        // One image under several names is one image.
        let mut seen = BTreeSet::new();
        Ok(found.into_iter().map(|(_, image)| image).filter(|image| seen.insert(image.platform.clone())).collect())
    }

    /// The same, where there must be one.
    fn images_of(&self, name_or_id: &str) -> Result<Vec<Image>, EngineError> {
        let images = self.find_images(name_or_id)?;
        if images.is_empty() {
            return Err(EngineError::new(ErrorKind::User, format!("there is no image `{name_or_id}`"))
                .with_hint("`kiln images` lists what there is"));
        }
        Ok(images)
    }
}
