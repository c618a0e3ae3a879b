//! The engine: a store, a registry client, and what can be done with them.

use crate::build;
use crate::cancel::CancelToken;
use crate::error::{EngineError, ErrorKind};
use crate::event::EventSink;
use crate::history::{BuildRecord, Recorder, Redaction};
use crate::outcome::BuildOutcome;
use crate::request::BuildRequest;
use kiln_digest::Digest;
use kiln_exporters::Replaced;
use kiln_registry::{Client, Config, Credentials};
use kiln_sources::http::HttpFiles;
use kiln_sources::image::{Images, Resolution};
use kiln_store::Store;
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What an engine needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of the store.
    pub root: PathBuf,
    /// How registries are reached: the `registry` table of `config.toml`.
    pub registries: Config,
}

/// Builds and runs images. Opening one costs about a millisecond; no connection is made until one is needed.
pub struct Engine {
    store: Store,
    images: Images,
    http: HttpFiles,
    client: Client,
    resolved: Mutex<HashMap<(Digest, String), Resolution>>,
    replaced: Mutex<Replaced>,
}

impl Engine {
    /// Opens the store, making it if need be.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn open(settings: Settings) -> Result<Self, EngineError> {
        let store = Store::open(&settings.root).map_err(|error| {
            let mut wrong = EngineError::store(error);
            wrong.hint.get_or_insert_with(|| "`--root DIR` or `KILN_ROOT` says where the store is".to_owned());
            wrong
        })?;
        let client = Client::new(settings.registries, Credentials::docker());
        let images = Images::new(store.clone(), client.clone());
        let http = HttpFiles::new(store.clone());
        Ok(Self { store, images, client, http, resolved: Mutex::default(), replaced: Mutex::default() })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where images come from.
    pub(crate) fn registry(&self) -> &Images {
        &self.images
    }

    /// Where files from URLs come from.
    pub(crate) fn http(&self) -> &HttpFiles {
        &self.http
    }

    /// Who speaks to registries.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Builds an image. Returns when all that it started has ended, also after an error or a cancellation.
    ///
    /// # Errors
    /// [`EngineError`], with its kind and, where there is one, its place in the Dockerfile.
    pub fn build(
        &self,
        request: &BuildRequest,
        events: &dyn EventSink,
        cancel: &CancelToken,
    ) -> Result<BuildOutcome, EngineError> {
        self.build_and_tell(request, events, cancel).0
    }

    /// [`Self::build`], with what can be told of it afterwards, whatever became of it.
    pub fn build_and_tell(
        &self,
        request: &BuildRequest,
        events: &dyn EventSink,
        cancel: &CancelToken,
    ) -> (Result<BuildOutcome, EngineError>, BuildRecord) {
        let redaction = Redaction::new(&request.secrets);
        let recorder = Recorder::new(events, &redaction);
        let result = build::run(self, request, &recorder, &redaction, cancel);
        let record = recorder.finish(&result);
        self.remember(&record, events);
        (result, record)
    }

    /// Whether something was written that has not reached the disk yet.
    pub fn needs_sync(&self) -> bool {
        // An unreadable store is told of by the next one who uses it.
        self.store.needs_sync().unwrap_or(false)
    }

    /// Waits until all that was written has reached the disk, and notes it. A store that is never synced loses what a crash of
    /// the machine takes, nothing else.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync(&self) -> Result<(), EngineError> {
        self.store.sync().map_err(EngineError::internal("failed to sync the store"))
    }

    /// Keeps open what an output replaced.
    pub(crate) fn keep_replaced(&self, replaced: Replaced) {
        *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = replaced;
    }

    /// The file that the last output replaced. It has no name any more, and whoever closes it last waits for its disk space to be
    /// freed.
    pub fn take_replaced(&self) -> Option<File> {
        std::mem::take(&mut *self.replaced.lock().unwrap_or_else(PoisonError::into_inner)).into_file()
    }

    /// Remembers what an image was resolved to, for as long as the engine lives.
    pub(crate) fn keep_resolved(&self, resolution: &Resolution) {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.insert((resolution.digest, resolution.reference.clone()), resolution.clone());
    }

    /// What was remembered of an image.
    pub(crate) fn resolved(&self, digest: Digest, reference: &str) -> Option<Resolution> {
        let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.get(&(digest, reference.to_owned())).cloned()
    }
}

impl EngineError {
    /// A name that the store does not know.
    pub(crate) fn from_store_image(error: kiln_store::ImageError) -> Self {
        let kind = match &error {
            kiln_store::ImageError::NotFound(_) | kiln_store::ImageError::Ambiguous { .. } => ErrorKind::User,
            _ => ErrorKind::Internal,
        };
        Self::of(kind, error)
    }
}
