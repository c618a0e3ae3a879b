//! Cache mounts from other machines: a mount that this store does not have starts as what a remote cache has of it.
//!
//! Once a step is about to run, the mounts of this and all later steps are fetched in the background; the step that needs one waits for it,
//! or fetches it itself. A mount is fetched into a directory of its own, and becomes the store's when a step takes it. What cannot be
//! fetched whole is dropped.

use super::import::Import;
use super::with_causes;
use crate::build::Build;
use crate::event::{Event, Stream};
use crate::ops::exec::cache_key;
use kiln_graph::{CachePurpose, Exec, MountKind, Op, VertexId};
use kiln_remote::{BlobRef, CachedMount, ImportError, Imported, Limits, Memo, import_mount};
use kiln_store::{CacheMountKey, Store, TempDir};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// The cache mounts that a build has fetched, or is fetching.
#[derive(Default)]
pub(crate) struct RemoteMounts {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// Steps whose mounts are being fetched.
    looked_at: Mutex<HashSet<VertexId>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
}

/// One cache mount.
struct Slot {
    mount: CachedMount,
    import: Arc<Import>,
    state: Mutex<State>,
}

enum State {
    Away,
    Here(Fetched),
    Failed(FetchError),
    /// A step has it, or knows that there is none.
    Taken,
}

/// A cache mount that is nobody's yet.
pub(crate) struct Fetched {
    directory: TempDir,
    imported: Imported,
}

/// Why a cache mount could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    #[error("failed to make a directory")]
    Make(#[source] io::Error),
}

impl Drop for RemoteMounts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner)) {
            // What a thread did not bring is not missed any more.
            let _ = thread.join();
        }
    }
}

impl RemoteMounts {
    /// Blobs because of which mounts could not be fetched, whether or not a step wanted these in the end.
    pub(super) fn broken(&self) -> Vec<BlobRef> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is still being fetched tells nothing yet.
        let states = slots.values().filter_map(|slot| slot.state.try_lock().ok());
        states.filter_map(|state| if let State::Failed(error) = &*state { error.broken() } else { None }).collect()
    }
}

impl FetchError {
    /// The blob that is not what it should be.
    fn broken(&self) -> Option<BlobRef> {
        match self {
            Self::Import(error) => error.broken().copied(),
            Self::Store(_) | Self::Make(_) => None,
        }
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the mount, unless somebody has. Others wait meanwhile.
    fn fetch(&self, store: &Store, stop: &AtomicBool) {
        let mut state = self.state();
        if matches!(*state, State::Away) {
            *state = match Fetched::fetch(&self.mount, &self.import, store, stop) {
                Ok(fetched) => State::Here(fetched),
                Err(error) => State::Failed(error),
            };
        }
    }
}

impl Fetched {
    pub(super) fn fetch(
        mount: &CachedMount,
        import: &Import,
        store: &Store,
        stop: &AtomicBool,
    ) -> Result<Self, FetchError> {
        let directory = store.temp_dir()?;
        let files = directory.path().join("fs");
        std::fs::create_dir(&files).map_err(FetchError::Make)?;
        let imported = import_mount(&mount.index, &files, Limits::MAX_SIZE, import.remote(), stop)?;
        Ok(Self { directory, imported })
    }

    /// What it came to, for people.
    pub(super) fn summary(&self) -> String {
        let Imported { files, size, fetched, .. } = &self.imported;
        format!("{files} files of {size} bytes, {fetched} bytes fetched\n")
    }

    /// Moves the files into a directory that is empty.
    pub(crate) fn move_into(&self, directory: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(self.directory.path().join("fs"))? {
            let entry = entry?;
            std::fs::rename(entry.path(), directory.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// What is known of them.
    pub(crate) fn memo(&self) -> &Memo {
        &self.imported.memo
    }
}

impl Build<'_> {
    /// Begins to fetch the cache mounts that a step and those after it may need, and that are not here.
    pub(crate) fn fetch_mounts_after(&self, vertex: VertexId) {
        if !self.takes_remote_mounts() {
            return;
        }
        for id in self.graph.dependents(vertex) {
            let Op::Exec(exec) = &self.graph.vertex(id).op else { continue };
            let new = self.remote_mounts.looked_at.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            if new {
                ids(exec).iter().for_each(|id| self.fetch_mounts_of(id));
            }
        }
    }

    fn takes_remote_mounts(&self) -> bool {
        // A mount that is to be empty does not start as another machine's.
        !self.remote_caches.imports.is_empty() && self.cleared_mounts.is_none()
    }

    /// Begins to fetch the cache mounts with an id, whatever else their keys say.
    fn fetch_mounts_of(&self, id: &str) {
        for import in &self.remote_caches.imports {
            let Some(holdings) = self.holdings(import) else { continue };
            for mount in holdings.mounts.iter().filter(|mount| cache_key::is_of(&mount.key, id)) {
                // What cannot be told is told by the step that needs it.
                if self.engine.store().has_cache_mount(&CacheMountKey::new(&mount.key)).unwrap_or(true) {
                    continue;
                }
                let slot = self.slot(mount, import);
                let (store, stop) = (self.engine.store().clone(), Arc::clone(&self.remote_mounts.stop));
                let thread = std::thread::spawn(move || slot.fetch(&store, &stop));
                self.remote_mounts.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            }
        }
    }

    /// The place of a mount: of several caches that have it, the first counts.
    fn slot(&self, mount: &CachedMount, import: &Arc<Import>) -> Arc<Slot> {
        let mut slots = self.remote_mounts.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (mount, import) = (mount.clone(), Arc::clone(import));
            Arc::new(Slot { mount, import, state: Mutex::new(State::Away) })
        };
        Arc::clone(slots.entry(mount.key.clone()).or_insert_with(new))
    }

    /// What a new cache mount starts as, if a remote cache has it. Comes once.
    pub(crate) fn remote_mount(&self, key: &CacheMountKey) -> Option<Fetched> {
        if !self.takes_remote_mounts() {
            return None;
        }
        let slot = self.remote_caches.imports.iter().find_map(|import| {
            let holdings = self.holdings(import)?;
            let mount = holdings.mounts.iter().find(|mount| mount.key == key.as_str())?;
            Some(self.slot(mount, import))
        })?;
        if matches!(*slot.state(), State::Taken) {
            return None;
        }
        let (step, started) = (self.next_internal_id(), Instant::now());
        let place = slot.import.remote().name();
        let name = format!("importing cache mount `{key}` from {place}");
        self.events.event(Event::StepStarted { step, name, stage: None });
        let stop = Arc::clone(&self.remote_mounts.stop);
        let _forward = self.cancel.on_cancel(move || stop.store(true, Ordering::SeqCst));
        slot.fetch(self.engine.store(), &self.remote_mounts.stop);
        let taken = std::mem::replace(&mut *slot.state(), State::Taken);
        let fetched = match taken {
            State::Here(fetched) => {
                let data = fetched.summary().into_bytes();
                self.events.event(Event::StepLog { step, stream: Stream::Stderr, data });
                Some(fetched)
            }
            State::Failed(error) if !self.cancel.is_cancelled() => {
                if let Some(blob) = error.broken() {
                    self.remote_caches.lose(&blob);
                }
                let message = format!("the cache mount `{key}` from {place} cannot be used: {}", with_causes(&error));
                self.events.event(Event::Warning { message, span: None });
                None
            }
            State::Failed(_) | State::Away | State::Taken => None,
        };
        let error = self.cancel.is_cancelled().then(|| "cancelled".to_owned());
        self.events.event(Event::StepFinished { step, duration: started.elapsed(), error });
        fetched
    }
}

/// The ids of the cache mounts that a step may have.
pub(super) fn ids(exec: &Exec) -> Vec<String> {
    let explicit = exec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Cache { id, .. } => Some(cache_key::explicit(id)),
        _ => None,
    });
    let automatic = exec.auto_caches.iter().filter(|cache| cache.purpose == CachePurpose::Pure);
    explicit.chain(automatic.map(|cache| cache_key::automatic(&cache.id))).collect()
}
