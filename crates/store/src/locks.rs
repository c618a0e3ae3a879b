//! Locks of steps: two processes that need the same step at the same time do it once. The second waits, then finds the record.
//!
//! A lock is a file `locks/step-KEY`, held by flock. Its holder removes it before letting go, so files don't pile up; whoever then gets
//! the lock of a file that no path names any more starts over.

use crate::error::{Error, Result};
use crate::open::Store;
use crate::process::{claim, is_at};
use kiln_digest::CacheKey;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a step could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The caller did not want to wait any longer.
    #[error("cancelled while another process was executing the same step")]
    Cancelled,
    /// The disk.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Keeps every other holder of the same step out until it is dropped.
pub struct StepLock {
    path: PathBuf,
    _file: File,
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // The file is still locked here, so this removes no other holder's.
        let _ = fs::remove_file(&self.path);
    }
}

const PREFIX: &str = "step-";

impl Store {
    /// Locks a step. While somebody else holds it, `wait` is called every few milliseconds; false ends the wait.
    ///
    /// # Errors
    /// [`LockError::Cancelled`] when `wait` says false.
    pub fn lock_step(&self, key: &CacheKey, mut wait: impl FnMut() -> bool) -> Result<StepLock, LockError> {
        let path = self.root().join("locks").join(format!("{PREFIX}{key}"));
        let mut pause = Pause::default();
        loop {
            match claim(&path, true) {
                Ok(Some(file)) => return Ok(StepLock { path, _file: file }),
                Ok(None) => {}
                Err(error) => return Err(Error::io("lock", &path, error).into()),
            }
            if !wait() {
                return Err(LockError::Cancelled);
            }
            pause.take();
        }
    }
}

/// Naps between looks at a lock, from half a millisecond up to 20: a waiter must be able to be cancelled, and flock cannot.
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_micros(500))
    }
}

impl Pause {
    pub(crate) fn take(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 3 / 2).min(Duration::from_millis(20));
    }
}

/// Removes the lock files of processes that were killed.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    let directory = root.join("locks");
    let failed = |error| Error::io("list", &directory, error);
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let remove = || -> io::Result<()> {
            let file = File::open(&path)?;
            if file.try_lock().is_ok() && is_at(&file, &path)? {
                fs::remove_file(&path)?;
            }
            Ok(())
        };
        match remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &path, error)),
            _ => {}
        }
    }
    Ok(())
}
