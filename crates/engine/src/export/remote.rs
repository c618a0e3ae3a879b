//! Images that leave this machine's store for a registry or a daemon, with their progress.

use super::Exporter;
use crate::error::{EngineError, ErrorKind, registry_hint};
use crate::event::{Event, EventSink, StepId, Stream};
use crate::output::ImageOptions;
use kiln_digest::Digest;
use kiln_exporters::{Assembly, DaemonAddress, DaemonError, ImageBlobs, Loaded, PushError, PushTarget};
use kiln_registry::{Pushed, Reference, RegistryError, Repository};
use std::collections::{BTreeMap, BTreeSet};

/// A daemon is told of in steps of so many bytes.
const TOLD_BYTES: u64 = 1 << 20;

impl Exporter<'_> {
    /// Pushes an image to the repositories of its names, `insecure` if any certificate of their registries will do, or none.
    pub(super) fn push(
        &mut self,
        image: &Assembly,
        names: &[Reference],
        insecure: bool,
        step: StepId,
    ) -> Result<(), EngineError> {
        let engine = self.build.engine;
        let layers: BTreeSet<Digest> =
            image.images.iter().flat_map(|image| &image.layers).map(|layer| layer.digest).collect();
        for (repository, names) in by_repository(names) {
            let registry = repository.registry();
            let mut mount_from: Vec<_> = self.images.iter().flat_map(|image| image.mounts(registry)).collect();
            mount_from.retain(|(_, name)| name != repository.name());
            // What another of its repositories got just now need not be sent again.
            for earlier in self.exported.pushed.iter().filter(|earlier| earlier.registry() == registry) {
                mount_from.extend(layers.iter().map(|layer| (*layer, earlier.name().to_owned())));
            }
            let client = match insecure {
                true => engine.client().insecure_at(registry),
                false => engine.client().clone(),
            };
            let target = PushTarget { repository: repository.clone(), names, mount_from };
            let told = told(self.build.events, step);
            kiln_exporters::push(&client, engine.store(), image, &target, &told, &self.build.cancel.flag())
                .map_err(EngineError::from_push)?;
            self.exported.pushed.push(repository);
        }
        Ok(())
    }

    /// Loads the image of one platform into a daemon.
    pub(super) fn load(
        &mut self,
        daemon: &DaemonAddress,
        options: &ImageOptions,
        names: &[Reference],
        step: StepId,
    ) -> Result<ImageBlobs, EngineError> {
        let (store, stop) = (self.build.engine.store(), self.build.cancel.flag());
        let events = self.build.events;
        let item = format!("sending to {daemon}");
        let last = std::cell::Cell::new(0);
        let event = |current: u64, total: Option<u64>, done: bool| {
            events.event(Event::StepProgress { step, item: item.clone(), current, total, done });
        };
        let progress = |sent: u64| {
            if sent >= last.get() + TOLD_BYTES {
                last.set(sent);
                event(sent, None, false);
            }
        };
        let packed = options.compression.is_some() || options.rewrite_timestamp;
        let (image, loaded) = match packed {
            false => {
                let plain = self.images[0].plain(options)?;
                let loaded = kiln_exporters::load_plain(store, daemon, &plain, names, &progress, &stop);
                (plain.image, loaded)
            }
            true => {
                let packed = self.images[0].pack(options, step)?;
                let loaded = kiln_exporters::load_packed(store, daemon, &packed, names, &progress, &stop);
                (packed, loaded)
            }
        };
        let Loaded { sent, .. } = loaded.map_err(EngineError::from_daemon)?;
        event(sent, Some(sent), true);
        Ok(image)
    }
}

/// Tells of blobs as they are pushed. Of one that is not sent there is no progress to tell.
pub(crate) fn told(events: &dyn EventSink, step: StepId) -> impl Fn(&Digest, u64, u64, Option<Pushed>) {
    move |digest, current, total, pushed| {
        let digest = digest.short();
        let why_not = match pushed {
            None | Some(Pushed::Sent) => {
                let (item, done) = (format!("pushing sha256:{digest}"), pushed.is_some());
                return events.event(Event::StepProgress { step, item, current, total: Some(total), done });
            }
            Some(Pushed::Existed) => "is there already",
            Some(Pushed::Mounted) => "is there already, in another repository",
        };
        let data = format!("sha256:{digest} {why_not}\n").into_bytes();
        events.event(Event::StepLog { step, stream: Stream::Stderr, data });
    }
}

/// Names by their repositories.
pub(crate) fn by_repository(names: &[Reference]) -> BTreeMap<Repository, Vec<Reference>> {
    let mut repositories: BTreeMap<Repository, Vec<Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.repository().clone()).or_default().push(name.clone());
    }
    repositories
}

impl EngineError {
    /// What a registry answers to whoever asks for a document.
    pub(crate) fn from_registry(error: RegistryError) -> Self {
        match error {
            RegistryError::Cancelled { .. } => Self::cancelled(),
            error => {
                let hint = registry_hint(&error);
                let mut wrong = Self::of(ErrorKind::Network, error);
                wrong.hint = wrong.hint.or(hint);
                wrong
            }
        }
    }

    pub(crate) fn from_push(error: PushError) -> Self {
        match error {
            PushError::Cancelled | PushError::Registry(RegistryError::Cancelled { .. }) => Self::cancelled(),
            PushError::Registry(RegistryError::Source { .. }) | PushError::Blob(_) => Self::store(error),
            PushError::Registry(_) => Self::of(ErrorKind::Network, error),
        }
    }

    fn from_daemon(error: DaemonError) -> Self {
        match error {
            DaemonError::Cancelled => Self::cancelled(),
            DaemonError::Archive(error) => Self::export(error),
            error => Self::of(ErrorKind::Network, error),
        }
    }
}
