//! Making snapshots real in a build: base images are pulled when first needed, told under their own step.

use super::Build;
use super::step::stage;
use crate::error::{EngineError, ErrorKind, network_hint};
use crate::event::{Event, StepId, Stream};
use crate::snapshot::{Bottom, Realized, Snapshot};
use kiln_digest::Digest;
use kiln_graph::VertexId;
use kiln_sources::Progress;
use kiln_sources::image::{BaseImage, ImageError, PullError, PullProgress};
use kiln_store::LayerId;
use std::sync::Once;
use std::time::Instant;

impl Build<'_> {
    /// Pulls what is missing of a snapshot and keeps all its layers from being pruned.
    pub(crate) fn realize(&self, snapshot: &Snapshot) -> Result<Realized, EngineError> {
        let mut layers = self.base_layers_of(snapshot)?;
        layers.extend(self.own_layers(snapshot)?);
        Realized::new(self.engine.store(), layers)
    }

    /// The layers at the bottom, pulled or fetched if need be.
    pub(crate) fn base_layers_of(&self, snapshot: &Snapshot) -> Result<Vec<LayerId>, EngineError> {
        match snapshot.bottom() {
            Bottom::Empty => Ok(Vec::new()),
            Bottom::Image(image, vertex) => self.base_layers(image, *vertex),
            Bottom::Remote(remote, vertex) => {
                let fetch = |told: &Told<'_>| remote.layer(told);
                Ok(vec![self.told(*vertex, fetch)?])
            }
        }
    }

    /// Fetches something, which becomes a step of its own when the first bytes come.
    pub(super) fn told<T>(
        &self,
        vertex: VertexId,
        fetch: impl FnOnce(&Told<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let told = Told { build: self, vertex, started: Once::new(), since: Instant::now() };
        let fetched = fetch(&told);
        told.finish(fetched.as_ref().err().map(ToString::to_string));
        fetched.map_err(|error| {
            let error = if self.cancel.is_cancelled() { EngineError::cancelled() } else { error };
            self.place(vertex, error)
        })
    }

    fn base_layers(&self, image: &BaseImage, vertex: VertexId) -> Result<Vec<LayerId>, EngineError> {
        // An error is told at its FROM, not at the step that happens to need the image first.
        self.told(vertex, |told| {
            image.layers(told).map_err(|error| EngineError::from_pull(error, self.cancel.is_cancelled()))
        })
    }
}

/// Tells of a pull or a fetch as a step, from the first byte on.
pub(super) struct Told<'a> {
    build: &'a Build<'a>,
    vertex: VertexId,
    started: Once,
    since: Instant,
}

impl Told<'_> {
    fn step(&self) -> StepId {
        self.build.steps.id(self.vertex)
    }

    /// Whether anything was told.
    pub(super) fn has_started(&self) -> bool {
        self.started.is_completed()
    }

    fn start(&self) -> StepId {
        let step = self.step();
        // Layers are pulled side by side: nobody goes on before the step's beginning is told.
        self.started.call_once(|| {
            let vertex = self.build.graph.vertex(self.vertex);
            if !vertex.label.internal {
                self.build.steps.count_ran();
            }
            self.build.define(self.vertex);
            self.build.events.event(Event::StepStarted { step, name: vertex.label.name.clone(), stage: stage(vertex) });
        });
        step
    }

    fn finish(&self, error: Option<String>) {
        if self.has_started() {
            self.build.events.event(Event::StepFinished { step: self.step(), duration: self.since.elapsed(), error });
        }
    }
}

impl PullProgress for Told<'_> {
    fn layer(&self, digest: &Digest, current: u64, total: u64, done: bool) {
        self.bytes(&format!("sha256:{}", digest.short()), current, Some(total), done);
    }

    fn is_cancelled(&self) -> bool {
        self.build.cancel.is_cancelled()
    }
}

impl Progress for Told<'_> {
    fn bytes(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        let step = self.start();
        self.build.events.event(Event::StepProgress { step, item: item.to_owned(), current, total, done });
    }

    fn log(&self, text: &str) {
        let step = self.start();
        let data = format!("{text}\n").into_bytes();
        self.build.events.event(Event::StepLog { step, stream: Stream::Stderr, data });
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
