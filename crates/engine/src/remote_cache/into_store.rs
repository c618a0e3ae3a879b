//! `kiln cache import`: all that a remote cache has and the store lacks. What is imported is believed from then on, as what a build
//! takes from a cache is.

use super::away::AwayLayer;
use super::export::from_remote;
use super::fetch::Fetching;
use super::import::{Holdings, Import, ImportError};
use super::mounts::Fetched;
use super::{access, with_causes};
use crate::build::{StepRecord, keep_selections};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink, StepId, Stream};
use kiln_remote::{CacheImport, CachedMount, connect};
use kiln_store::{CacheMountKey, Sharing};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What an import came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportedCache {
    /// Steps whose results are in the store now, and were not.
    pub steps: u64,
    /// Cache mounts that are in the store now, and were not.
    pub mounts: u64,
    /// Steps and cache mounts that were in the store.
    pub present: u64,
    /// Steps and cache mounts that could not be had. The sink was told why.
    pub lost: u64,
}

impl Engine {
    /// Fetches the steps and the cache mounts of a remote cache that the store lacks; nothing if there is no cache yet.
    ///
    /// # Errors
    /// When the cache cannot be read, and those of the store.
    pub fn import_cache(
        &self,
        import: &CacheImport,
        events: &dyn EventSink,
        cancel: &CancelToken,
    ) -> Result<Option<ImportedCache>, EngineError> {
        let (access, _forward) = access(self, cancel);
        let import = Import::begin(connect(&import.location, &access).map_err(from_remote)?);
        let importing = Importing { engine: self, import: &import, events, cancel };
        let read = importing.told(StepId(1), format!("reading {}", import.remote().name()), || {
            let holdings = import.wait(cancel).map_err(EngineError::from_cache_import)?;
            if cancel.is_cancelled() {
                return Err(EngineError::cancelled());
            }
            let summary = holdings.as_ref().map_or("there is no cache yet\n".to_owned(), |holdings| holdings.summary());
            Ok((holdings, summary))
        });
        match read? {
            Some(holdings) => importing.run(&holdings).map(Some),
            None => Ok(None),
        }
    }
}

struct Importing<'a> {
    engine: &'a Engine,
    import: &'a Arc<Import>,
    events: &'a dyn EventSink,
    cancel: &'a CancelToken,
}

impl Importing<'_> {
    fn run(&self, holdings: &Holdings) -> Result<ImportedCache, EngineError> {
        let mut imported = ImportedCache::default();
        self.steps(holdings, &mut imported)?;
        let selections = holdings.selections.iter().map(|(key, digest)| (*key, *digest));
        keep_selections(self.engine.store(), selections).map_err(EngineError::store)?;
        for (number, mount) in (3..).zip(&holdings.mounts) {
            self.mount(mount, StepId(number), &mut imported)?;
        }
        Ok(imported)
    }

    fn steps(&self, holdings: &Holdings, imported: &mut ImportedCache) -> Result<(), EngineError> {
        let store = self.engine.store();
        let mut away = Vec::new();
        for step in holdings.steps.values() {
            if StepRecord::find(store, &step.key).map_err(EngineError::store)?.is_some() {
                imported.present += 1;
                continue;
            }
            match holdings.layers.get(&step.diff_id) {
                Some(layer) => away.push(AwayLayer::new(step.clone(), layer.clone(), Arc::clone(self.import))),
                None => imported.lost += 1,
            }
        }
        let lost = AtomicU64::new(0);
        let fetching = Fetching { store, events: self.events, cancel: self.cancel, step: StepId(2) };
        fetching.all(&away.iter().collect::<Vec<_>>(), &|_| {
            lost.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })?;
        let lost = lost.into_inner();
        imported.lost += lost;
        imported.steps = away.len() as u64 - lost;
        Ok(())
    }

    fn mount(&self, mount: &CachedMount, step: StepId, imported: &mut ImportedCache) -> Result<(), EngineError> {
        let (store, key) = (self.engine.store(), CacheMountKey::new(&mount.key));
        if store.has_cache_mount(&key).map_err(EngineError::store)? {
            imported.present += 1;
            return Ok(());
        }
        let place = self.import.remote().name();
        let fetched = self.told(step, format!("importing cache mount `{key}` from {place}"), || {
            match Fetched::fetch(mount, self.import, store, &self.cancel.flag()) {
                Ok(fetched) => {
                    let summary = fetched.summary();
                    Ok((Some(fetched), summary))
                }
                Err(_) if self.cancel.is_cancelled() => Err(EngineError::cancelled()),
                Err(error) => {
                    let why = with_causes(&error);
                    let failed = EngineError::new(ErrorKind::Internal, "failed to import a cache mount");
                    let failed = failed.with_source(error);
                    if failed.is_full_disk() {
                        return Err(failed);
                    }
                    let message = format!("the cache mount `{key}` from {place} cannot be used: {why}");
                    self.events.event(Event::Warning { message, span: None });
                    Ok((None, String::new()))
                }
            }
        });
        let Some(fetched) = fetched? else {
            imported.lost += 1;
            return Ok(());
        };
        let prepare = |directory: &Path| {
            fetched.move_into(directory)?;
            std::fs::set_permissions(directory, PermissionsExt::from_mode(mount.mode & 0o1777))?;
            chown(directory, Some(mount.uid), Some(mount.gid))?;
            Ok(())
        };
        let made = store.acquire_cache_mount(&key, Sharing::Shared, prepare, || !self.cancel.is_cancelled());
        let made = made.map_err(|error| match self.cancel.is_cancelled() {
            true => EngineError::cancelled(),
            false => EngineError::store(error),
        })?;
        // Without it the next export has more to read.
        let _ = made.keep_memo(&fetched.memo().to_bytes());
        imported.mounts += 1;
        Ok(())
    }

    /// Does something as a step, which logs what the work says.
    fn told<T>(
        &self,
        step: StepId,
        name: String,
        work: impl FnOnce() -> Result<(T, String), EngineError>,
    ) -> Result<T, EngineError> {
        self.events.event(Event::StepStarted { step, name, stage: None });
        let started = Instant::now();
        let done = work();
        if let Ok((_, text)) = &done {
            self.events.event(Event::StepLog { step, stream: Stream::Stderr, data: text.clone().into_bytes() });
        }
        let error = done.as_ref().err().map(ToString::to_string);
        self.events.event(Event::StepFinished { step, duration: started.elapsed(), error });
        done.map(|(value, _)| value)
    }
}

impl EngineError {
    /// A cache that somebody wants to read and nothing else.
    pub(super) fn from_cache_import(error: ImportError) -> Self {
        match error {
            ImportError::Remote(error) => from_remote(error),
            error @ ImportError::Records { .. } => Self::of(ErrorKind::User, error),
        }
    }
}
