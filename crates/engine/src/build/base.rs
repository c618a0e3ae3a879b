//! Making snapshots real in a build: base images are pulled when first needed, told under their own step.

use super::Build;
use super::step::stage;
use crate::error::{EngineError, ErrorKind, network_hint};
use crate::event::{Event, StepId};
use crate::snapshot::{Realized, Snapshot};
use kiln_digest::Digest;
use kiln_graph::VertexId;
use kiln_sources::image::{BaseImage, ImageError, PullError, PullProgress};
use kiln_store::LayerId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl Build<'_> {
    /// Pulls what is missing of a snapshot and keeps all its layers from being pruned.
    pub(crate) fn realize(&self, snapshot: &Snapshot) -> Result<Realized, EngineError> {
        let mut layers = self.base_layers_of(snapshot)?;
        layers.extend(snapshot.own_layers());
        Realized::new(self.engine.store(), layers)
    }

    /// The layers of the image at the bottom, pulled if need be.
    pub(crate) fn base_layers_of(&self, snapshot: &Snapshot) -> Result<Vec<LayerId>, EngineError> {
        snapshot.base().map_or(Ok(Vec::new()), |(image, vertex)| self.base_layers(image, *vertex))
    }

    fn base_layers(&self, image: &BaseImage, vertex: VertexId) -> Result<Vec<LayerId>, EngineError> {
        let progress = Told { build: self, vertex, started: AtomicBool::new(false), since: Instant::now() };
        let layers = image.layers(&progress);
        progress.finish(layers.as_ref().err().map(ToString::to_string));
        // At its FROM, not at the step that happens to need it first.
        layers.map_err(|error| self.place(vertex, EngineError::from_pull(error, self.cancel.is_cancelled())))
    }
}

/// Tells of a pull as a step, from the first byte on.
struct Told<'a> {
    build: &'a Build<'a>,
    vertex: VertexId,
    started: AtomicBool,
    since: Instant,
}

impl Told<'_> {
    fn step(&self) -> StepId {
        self.build.steps.id(self.vertex)
    }

    fn finish(&self, error: Option<String>) {
        if self.started.load(Ordering::SeqCst) {
            self.build.events.event(Event::StepFinished { step: self.step(), duration: self.since.elapsed(), error });
        }
    }
}

impl PullProgress for Told<'_> {
    fn layer(&self, digest: &Digest, current: u64, total: u64, done: bool) {
        let step = self.step();
        if !self.started.swap(true, Ordering::SeqCst) {
            let vertex = self.build.graph.vertex(self.vertex);
            self.build.steps.count_ran();
            self.build.events.event(Event::StepStarted { step, name: vertex.label.name.clone(), stage: stage(vertex) });
        }
        let item = format!("sha256:{}", digest.short());
        self.build.events.event(Event::StepProgress { step, item, current, total: Some(total), done });
    }

    fn is_cancelled(&self) -> bool {
        self.build.cancel.is_cancelled()
    }
}

impl EngineError {
    pub(crate) fn from_pull(error: PullError, cancelled: bool) -> Self {
        if cancelled || matches!(error, PullError::Cancelled) {
            return Self::cancelled();
        }
        let kind = match &error {
            PullError::Fetch { .. } | PullError::Read { .. } | PullError::Image(_) => ErrorKind::Network,
            PullError::Store(_) | PullError::Tree(_) => ErrorKind::Internal,
            _ => ErrorKind::User,
        };
        let hint = match &error {
            PullError::Fetch { source, .. } => network_hint(source),
            PullError::Image(ImageError::Fetch(source)) => network_hint(source),
            _ => None,
        };
        let mut wrong = Self::of(kind, error);
        wrong.hint = wrong.hint.or(hint);
        wrong
    }
}
