//! Bringing an image to registries: its blobs, several at once, then the manifests, then the index, so that nobody ever sees a part.
//!
//! A registry that has the image under another tag is asked one question. Requests run on threads of their own, which are left behind
//! when somebody says stop: a wait for the network cannot be ended otherwise. They hold nothing of the store's but paths, and end by
//! themselves.

use crate::assembly::{Assembly, Document};
use kiln_digest::Digest;
use kiln_registry::{BlobSource, Client, MediaType, Pushed, Reference, RegistryError, Repository, Upload, Watch};
use kiln_store::{BlobError, Store};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// As many blobs are sent at once.
const PARALLEL: usize = 4;
/// How often progress is told, and somebody who waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Where an image is pushed.
#[derive(Debug, Clone)]
pub struct PushTarget {
    /// The repository.
    pub repository: Repository,
    /// The names that it gets there; one without a tag is its digest.
    pub names: Vec<Reference>,
    /// Repositories of the same registry that may have a blob.
    pub mount_from: Vec<(Digest, String)>,
}

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A blob of the store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

/// Told of a blob: bytes sent, bytes in all, and how it came to be there, once it is.
pub type PushProgress<'a> = dyn Fn(&Digest, u64, u64, Option<Pushed>) + 'a;

/// Pushes an image, until `stop` is true.
///
/// # Errors
/// [`PushError`].
pub fn push(
    client: &Client,
    store: &Store,
    image: &Assembly,
    target: &PushTarget,
    progress: &PushProgress<'_>,
    stop: &AtomicBool,
) -> Result<(), PushError> {
    let stopped = Arc::new(AtomicBool::new(false));
    let uploads = uploads(store, image, target, &stopped)?;
    let watches: Vec<_> = uploads.iter().map(|upload| (upload.digest, upload.size, upload.watch.clone())).collect();
    let (root, children) = documents(image);
    let job = Job {
        client: client.clone(),
        repository: target.repository.clone(),
        names: target.names.clone(),
        pushed: uploads.iter().map(|_| OnceLock::new()).collect(),
        uploads,
        root,
        children,
    };
    let job = Arc::new(job);
    let working = Arc::clone(&job);
    let (sender, result) = sync_channel(1);
    let worker = thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(working.run());
    });
    let mut told = vec![(0, None); watches.len()];
    let mut tell = |ended: bool| {
        for (number, (digest, size, watch)) in watches.iter().enumerate() {
            // What nobody had to ask for is there since the image is.
            let pushed = job.pushed[number].get().copied().or(ended.then_some(Pushed::Existed));
            let sent = if pushed.is_some() { *size } else { watch.sent().min(*size) };
            if told[number] != (sent, pushed) {
                told[number] = (sent, pushed);
                progress(digest, sent, *size, pushed);
            }
        }
    };
    let outcome = wait(&result, &mut tell, stop);
    match outcome {
        Some(outcome) => {
            if outcome.is_ok() {
                tell(true);
            }
            outcome.map_err(PushError::Registry)
        }
        None if worker.is_finished() => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(PushError::Cancelled),
        },
        None => {
            stopped.store(true, Ordering::Relaxed);
            Err(PushError::Cancelled)
        }
    }
}

/// Waits for the result; nothing if it is not wanted any more, or never comes.
fn wait<T>(result: &Receiver<T>, tell: &mut dyn FnMut(bool), stop: &AtomicBool) -> Option<T> {
    loop {
        match result.recv_timeout(LOOK) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) if !stop.load(Ordering::Relaxed) => tell(false),
            Err(_) => return None,
        }
    }
}

/// The document that stands for the image, and those that it refers to.
fn documents(image: &Assembly) -> (Document, Vec<Document>) {
    let children = match &image.index {
        Some(_) => {
            let images = image.images.iter().map(|image| &image.manifest);
            images.chain(image.attestations.iter().map(|attestation| &attestation.manifest)).cloned().collect()
        }
        None => Vec::new(),
    };
    (image.root().clone(), children)
}

/// All blobs, each once.
fn uploads(
    store: &Store,
    image: &Assembly,
    target: &PushTarget,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<Upload>, PushError> {
    let mut seen = HashSet::new();
    let mut uploads = Vec::new();
    let of_bytes = |bytes: &[u8]| Upload { watch: Watch::stopped_by(Arc::clone(stop)), ..Upload::of_bytes(bytes) };
    for attestation in &image.attestations {
        for blob in [&attestation.config].into_iter().chain(&attestation.statements) {
            if seen.insert(blob.digest) {
                uploads.push(of_bytes(&blob.bytes));
            }
        }
    }
    for image in &image.images {
        for layer in image.layers.iter().filter(|layer| seen.insert(layer.digest)) {
            // Claims it, so that it stays for as long as this process lives.
            store.open_blob(&layer.digest)?;
            let mount_from = target.mount_from.iter().filter(|(digest, _)| *digest == layer.digest);
            uploads.push(Upload {
                digest: layer.digest,
                size: layer.size,
                source: BlobSource::File(store.blob_path(&layer.digest)),
                mount_from: mount_from.map(|(_, repository)| repository.clone()).collect(),
                watch: Watch::stopped_by(Arc::clone(stop)),
            });
        }
        if seen.insert(image.config_digest) {
            uploads.push(of_bytes(&image.config));
        }
    }
    Ok(uploads)
}

/// All that is to be done in one repository.
struct Job {
    client: Client,
    repository: Repository,
    names: Vec<Reference>,
    uploads: Vec<Upload>,
    /// How those of them came to be there that are.
    pushed: Vec<OnceLock<Pushed>>,
    root: Document,
    children: Vec<Document>,
}

impl Job {
    fn run(&self) -> Result<(), RegistryError> {
        if self.client.has_manifest(&self.repository, &self.root.digest)? {
            match self.name() {
                // It has lost some of what it needs.
                Err(RegistryError::Server { status: 400..=499, .. } | RegistryError::NotFound { .. }) => {}
                done => return done,
            }
        }
        self.blobs()?;
        for child in &self.children {
            self.manifest(&self.repository.with_digest(child.digest), child)?;
        }
        self.name()
    }

    fn blobs(&self) -> Result<(), RegistryError> {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            while let number = next.fetch_add(1, Ordering::SeqCst)
                && let Some(upload) = self.uploads.get(number)
            {
                match self.client.push_blob(&self.repository, upload) {
                    Ok(pushed) => {
                        let _once = self.pushed[number].set(pushed);
                    }
                    Err(error) => {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        next.store(self.uploads.len(), Ordering::SeqCst);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..PARALLEL.min(self.uploads.len()) {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Puts the image under its names.
    fn name(&self) -> Result<(), RegistryError> {
        self.names.iter().try_for_each(|name| self.manifest(name, &self.root))
    }

    fn manifest(&self, reference: &Reference, document: &Document) -> Result<(), RegistryError> {
        self.client.push_manifest(reference, &MediaType::from(document.media_type), &document.bytes).map(drop)
    }
}
