//! The cache mounts of an export: those of the store, and where this machine has none, those that other caches have.

use super::export::{CacheExportError, Exporting};
use super::import::{Holdings, Import};
use super::with_causes;
use crate::event::Event;
use kiln_remote::{BlobRef, CachedMount, ExportError, Limits, Memo, Sent, export_mount, missing};
use kiln_store::{CacheMount, CacheMountKey, MountError};
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long an export waits for a mount that a step of another build is using.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cache mount as some cache has it, which the place may lack.
struct Carried {
    mount: CachedMount,
    /// Nothing for the cache that is replaced: its blobs are at the place, or nowhere.
    from: Option<Arc<Import>>,
}

impl Exporting<'_> {
    /// Makes the place have the cache mounts that were asked for.
    pub(super) fn mounts(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        others: &[(Arc<Import>, Arc<Holdings>)],
    ) -> Result<Vec<CachedMount>, CacheExportError> {
        let mut mounts = Vec::new();
        let mut carried = self.carried(wanted, others);
        for (key, used) in self.asked.store.cache_mount_keys()? {
            if !wanted(key.as_str()) {
                continue;
            }
            if let Some(mount) = self.mount(&key, used)? {
                carried.remove(key.as_str());
                mounts.push(mount);
            }
        }
        for candidates in carried.into_values() {
            mounts.extend(self.carry(candidates)?);
        }
        mounts.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(mounts)
    }

    /// What other caches have of the wanted mounts, by their keys: first the one that is replaced, then the others.
    fn carried(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        others: &[(Arc<Import>, Arc<Holdings>)],
    ) -> BTreeMap<String, Vec<Carried>> {
        let old = self.old_mounts.iter().map(|mount| (mount, None));
        let others =
            others.iter().flat_map(|(import, holdings)| holdings.mounts.iter().map(move |mount| (mount, Some(import))));
        let mut carried: BTreeMap<String, Vec<Carried>> = BTreeMap::new();
        for (mount, from) in old.chain(others).filter(|(mount, _)| wanted(&mount.key)) {
            let candidate = Carried { mount: mount.clone(), from: from.map(Arc::clone) };
            carried.entry(mount.key.clone()).or_default().push(candidate);
        }
        carried
    }

    /// Exports a mount of the store; nothing if it cannot be, which people are told.
    fn mount(&self, key: &CacheMountKey, used: SystemTime) -> Result<Option<CachedMount>, CacheExportError> {
        let given_up = Instant::now() + PATIENCE;
        let patient = || !self.asked.cancel.is_cancelled() && Instant::now() < given_up;
        let held = self.asked.store.hold_cache_mount(key, patient);
        let held = match held {
            Ok(Some(held)) => held,
            Ok(None) => return Ok(None),
            Err(MountError::Store(error)) => return Err(error.into()),
            Err(error) => {
                self.leave_out(key, &error);
                return Ok(None);
            }
        };
        let memo = self.memo(key, &held);
        let stop = self.asked.cancel.flag();
        let exported = match export_mount(held.path(), memo, &Limits::default(), self.remote, &stop) {
            Ok(exported) => exported,
            Err(ExportError::Remote(error)) => return Err(error.into()),
            Err(ExportError::Cancelled) => return Err(CacheExportError::Cancelled),
            Err(error) => {
                self.leave_out(key, &error);
                return Ok(None);
            }
        };
        // Without it the next export has more to read.
        let _ = held.keep_memo(&exported.memo.to_bytes());
        self.sent.fetch_add(exported.sent, Ordering::Relaxed);
        self.present.fetch_add(exported.total.saturating_sub(exported.sent), Ordering::Relaxed);
        let (step, item) = (self.asked.step, format!("cache mount {key}"));
        let (current, total) = (exported.sent, Some(exported.sent));
        self.asked.events.event(Event::StepProgress { step, item, current, total, done: true });
        let since = used.duration_since(UNIX_EPOCH).unwrap_or_default();
        let directory = held.metadata()?;
        Ok(Some(CachedMount {
            key: key.as_str().to_owned(),
            index: exported.index,
            packs: exported.packs,
            size: exported.size,
            used: since.as_secs(),
            mode: directory.mode() & 0o7777,
            uid: directory.uid(),
            gid: directory.gid(),
        }))
    }

    /// What is known of a mount, or can be learnt from the cache that is replaced.
    fn memo(&self, key: &CacheMountKey, held: &CacheMount) -> Memo {
        let mut memo = Memo::from_bytes(&held.memo());
        for mount in self.old_mounts.iter().filter(|mount| mount.key == key.as_str()) {
            memo.learn(&mount.index, self.remote, &self.asked.cancel.flag());
        }
        memo
    }

    fn leave_out(&self, key: &CacheMountKey, error: &(dyn std::error::Error + 'static)) {
        let message = format!("the cache mount `{key}` was not exported: {}", with_causes(error));
        self.asked.events.event(Event::Warning { message, span: None });
    }

    /// Makes the place have what the first of these caches has of a mount that has all of it. Nothing if none has, which people are told.
    fn carry(&self, candidates: Vec<Carried>) -> Result<Option<CachedMount>, CacheExportError> {
        let mut whys = Vec::new();
        for Carried { mount, from } in candidates {
            let blobs: Vec<BlobRef> = [mount.index].into_iter().chain(mount.packs.iter().copied()).collect();
            let missing: HashSet<BlobRef> =
                missing(self.remote, &blobs, &self.asked.cancel.flag())?.into_iter().collect();
            blobs.iter().filter(|blob| !missing.contains(blob)).for_each(|blob| self.count(blob, Sent::Present));
            match self.fetch(&missing, from.as_deref())? {
                Ok(()) => return Ok(Some(mount)),
                Err(why) => whys.push((mount.key, why)),
            }
        }
        for (key, why) in whys {
            let message = format!("the cache mount `{key}` was left out of the cache: {why}");
            self.asked.events.event(Event::Warning { message, span: None });
        }
        Ok(None)
    }

    /// Makes the place have blobs of another cache, or says why it does not give them.
    fn fetch(&self, missing: &HashSet<BlobRef>, from: Option<&Import>) -> Result<Result<(), String>, CacheExportError> {
        for blob in missing {
            let Some(from) = from else {
                return Ok(Err(format!("{} has lost blob `{}`", self.remote.name(), blob.digest)));
            };
            if let Err(why) = self.copy(blob, from)? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }
}
