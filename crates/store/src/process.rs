//! Who is alive, and what belongs to whom.
//!
//! Each process has a file `tmp/PID-NONCE.lock` and holds a lock on it for as long as it lives; the kernel lets go of that lock however
//! the process ends. Beside it is the directory `tmp/PID-NONCE` with whatever the process is making, once it makes something: a fully
//! cached build makes nothing, and to remove a directory can take milliseconds. The lock appears before the directory and goes
//! after it. Whoever finds a lock that can be taken clears both. The process id in the name is for people.
//!
//! The lock file holds the digests of the blobs that its process relies on, 32 bytes each; see `blobs`.

use crate::error::{Error, Result};
use crate::remove::remove_tree;
use kiln_digest::Digest;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

const LOCK: &str = ".lock";

/// This process, as far as one open store is concerned.
pub(crate) struct Process {
    name: String,
    directory: PathBuf,
    made: Mutex<bool>,
    next: AtomicU64,
    lock: File,
    lock_path: PathBuf,
    remover: Mutex<Option<Remover>>,
}

/// A thread that deletes what it is sent.
struct Remover {
    paths: mpsc::Sender<PathBuf>,
    thread: JoinHandle<()>,
}

impl Process {
    /// Becomes alive in the eyes of every other process.
    pub(crate) fn start(tmp: &Path) -> Result<Self> {
        loop {
            let name = format!("{}-{:016x}", std::process::id(), nonce());
            let lock_path = tmp.join(format!("{name}{LOCK}"));
            // Another process may take the lock between its creation and here, as one that nobody holds. Then there is another name.
            let lock = claim(&lock_path, true).map_err(|error| Error::io("lock", &lock_path, error))?;
            let Some(lock) = lock else { continue };
            return Ok(Self {
                directory: tmp.join(&name),
                name,
                made: Mutex::new(false),
                next: AtomicU64::new(0),
                lock,
                lock_path,
                remover: Mutex::default(),
            });
        }
    }

    /// What stands for this process in the database.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path in this process's directory that nothing has.
    pub(crate) fn fresh_path(&self) -> Result<PathBuf> {
        let mut made = guard(&self.made);
        if !*made {
            make_dir(&self.directory)?;
            *made = true;
        }
        Ok(self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    /// Moves something into this process's directory, to be deleted from there. It is no error when there is nothing.
    pub(crate) fn discard(&self, path: &Path) -> Result<PathBuf> {
        let to = self.fresh_path()?;
        match fs::rename(path, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
            _ => Ok(to),
        }
    }

    /// Deletes what is in this process's directory in the background. Whatever fails goes with that directory.
    pub(crate) fn remove_later(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut remover = guard(&self.remover);
        for path in paths {
            let remover = remover.get_or_insert_with(Remover::start);
            // It ends only when it can get no more paths.
            let _ = remover.paths.send(path);
        }
    }

    /// Notes that this process relies on a blob. The caller keeps `prune` from reading meanwhile.
    pub(crate) fn note_claim(&self, blob: &Digest) -> Result<()> {
        (&self.lock).write_all(blob.as_bytes()).map_err(|error| Error::io("write", &self.lock_path, error))
    }
}

impl Remover {
    fn start() -> Self {
        let (paths, to_remove) = mpsc::channel::<PathBuf>();
        let thread = std::thread::spawn(move || {
            for path in to_remove {
                let _ = remove_tree(&path);
            }
        });
        Self { paths, thread }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(Remover { paths, thread }) = guard(&self.remover).take() {
            drop(paths);
            let _ = thread.join();
        }
        // Whatever cannot be removed is left to the next process.
        if *guard(&self.made) {
            let _ = remove_tree(&self.directory);
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The blobs that the processes of those names rely on. The caller holds `locks/blobs` exclusively, unless it only wants to know roughly.
pub(crate) fn claims<'a>(tmp: &Path, processes: impl IntoIterator<Item = &'a String>) -> Result<HashSet<Digest>> {
    let mut claims = HashSet::new();
    for process in processes {
        let path = tmp.join(format!("{process}{LOCK}"));
        match fs::read(&path) {
            Ok(bytes) => claims.extend(bytes.as_chunks::<32>().0.iter().map(|bytes| Digest::from_bytes(*bytes))),
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path, error)),
        }
    }
    Ok(claims)
}

/// The processes that have something below `tmp/`.
pub(crate) struct Survey {
    /// Names of those that live.
    pub(crate) live: HashSet<String>,
    /// Names of those that do not; the lock keeps others from clearing the same one.
    pub(crate) dead: Vec<(String, File)>,
}

impl Survey {
    /// Looks at each process's lock. One directory listing when this process is alone.
    pub(crate) fn take(tmp: &Path, own: &str) -> Result<Self> {
        let mut survey = Self { live: HashSet::from([own.to_owned()]), dead: Vec::new() };
        for (name, locked) in names(tmp)? {
            if name == own {
                continue;
            }
            // A directory without a lock is garbage, unless the listing has missed the lock: that is what making it finds out.
            match claim(&tmp.join(format!("{name}{LOCK}")), !locked) {
                Ok(Some(lock)) => survey.dead.push((name, lock)),
                // A process that ended between the listing and now is neither.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // What cannot be judged (another user's) is taken for alive.
                Ok(None) | Err(_) => {
                    survey.live.insert(name);
                }
            }
        }
        Ok(survey)
    }

    /// Removes what the dead have left: locks at once, directories by moving them into this process's. Gives what is to be deleted.
    pub(crate) fn clear(self, tmp: &Path, process: &Process) -> Vec<PathBuf> {
        let mut garbage = Vec::new();
        for (name, _lock) in self.dead {
            let directory = tmp.join(&name);
            if fs::symlink_metadata(&directory).is_ok() {
                // What cannot be moved stays dead, and does no harm.
                let Ok(moved) = process.discard(&directory) else { continue };
                garbage.push(moved);
            }
            let _ = fs::remove_file(tmp.join(format!("{name}{LOCK}")));
        }
        garbage
    }
}

/// The names of processes below `tmp/`, and whether a lock was listed.
fn names(tmp: &Path) -> Result<BTreeMap<String, bool>> {
    let failed = |error| Error::io("list", tmp, error);
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(tmp).map_err(failed)? {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        let (process, locked) = match name.strip_suffix(LOCK) {
            Some(process) => (process.to_owned(), true),
            None => (name, false),
        };
        *names.entry(process).or_default() |= locked;
    }
    Ok(names)
}

/// Locks a file, which is created if `create` says so. `None` when somebody else holds the lock, or has removed the file meanwhile.
pub(crate) fn claim(path: &Path, create: bool) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(is_at(&file, path)?.then_some(file))
}

/// Whether an open file is still the one that its path names.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory that only its owner may enter.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| Error::io("create", path, error))
}

/// A number that no other process has: the standard library seeds its hash tables from the operating system.
pub(crate) fn nonce() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::{entries, new_store};

    #[test]
    fn the_dead_are_cleared_and_the_living_are_not() {
        let (root, store) = new_store();
        let tmp = root.path().join("tmp");
        assert_eq!(entries(&store, "tmp"), 1, "a lock, and no directory yet");
        let directory = store.temp_dir().unwrap();
        for dead in ["1-dead", "2-without-lock"] {
            fs::create_dir_all(tmp.join(dead).join("half/made")).unwrap();
        }
        // The process id of a living process protects nothing.
        fs::write(tmp.join("1-dead.lock"), b"").unwrap();
        fs::write(tmp.join(format!("{}-without-directory.lock", std::process::id())), b"").unwrap();
        let other = Store::open(root.path()).unwrap();
        assert!(directory.path().exists());
        drop(other);
        assert_eq!(entries(&store, "tmp"), 2);
        drop((directory, store));
        assert_eq!(fs::read_dir(tmp).unwrap().count(), 0);
    }

    #[test]
    fn claims_are_read_from_the_living() {
        let (root, store) = new_store();
        let blob = store.put_blob(b"blob").unwrap();
        store.has_blob(&Digest::of_bytes(b"missing")).unwrap();
        let tmp = root.path().join("tmp");
        let live = Survey::take(&tmp, "nobody").unwrap().live;
        assert_eq!(live.len(), 2);
        assert_eq!(claims(&tmp, &live).unwrap(), HashSet::from([blob, Digest::of_bytes(b"missing")]));
    }
}
