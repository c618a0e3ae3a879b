//! The control group of one sandbox: made below a parent, limited, entered by the child, removed afterwards.
//!
//! ```text
//! MOUNT/PARENT/kiln-PID-N      one for each sandbox that has limits or a parent, in each hierarchy that they need
//! ```
//!
//! A group's directory is locked (`flock`) for as long as its sandbox lives, so that whoever comes next can tell those whose
//! maker was killed, and removes them. Version 1, version 2 and both at once (the hybrid layout) are served: a controller is
//! where the machine has mounted it.

mod hierarchy;
mod limits;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::SpawnError;
use crate::spec::{Cgroup, Limits};
use hierarchy::{Hierarchy, Version};

/// What the names of sandboxes' groups begin with.
const PREFIX: &str = "kiln-";
/// The parent where none is asked for.
const DEFAULT_PARENT: &str = "kiln";
/// How often removing a group is tried, for the kernel counts a process until it is wholly gone.
const ATTEMPTS: u32 = 50;

/// The groups of one sandbox. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Group {
    places: Vec<Place>,
}

/// A group in one hierarchy.
#[derive(Debug)]
struct Place {
    version: Version,
    memory: bool,
    path: PathBuf,
    /// Where a process writes `0` to enter.
    procs: File,
    _lock: File,
}

impl Group {
    /// Makes the groups that a spec asks for.
    pub(crate) fn make(spec: &Cgroup) -> Result<Self, SpawnError> {
        let hierarchies = hierarchy::mounted().map_err(|source| error("find the mounted hierarchies", source))?;
        let chosen = choose(&hierarchies, spec)?;
        let parent = spec.parent.as_deref().unwrap_or(DEFAULT_PARENT).trim_matches('/');
        let mut group = Self { places: Vec::new() };
        for (hierarchy, needed) in chosen {
            let parent = hierarchy.make_parent(parent, &needed)?;
            remove_abandoned(&parent);
            let place = Place::make(hierarchy, &parent)?;
            // In the list before anything else can fail, so that it is removed again.
            group.places.push(place);
            limits::apply(hierarchy, &group.places[group.places.len() - 1].path, &spec.limits, &needed)?;
        }
        Ok(group)
    }

    /// Where the child enters.
    pub(crate) fn entries(&self) -> Vec<RawFd> {
        self.places.iter().map(|place| place.procs.as_raw_fd()).collect()
    }

    /// Whether the kernel killed a process for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.places.iter().filter(|place| place.memory).any(|place| {
            let file = match place.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            let text = fs::read_to_string(place.path.join(file)).unwrap_or_default();
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            kills.is_some_and(|kills| kills.trim() != "0")
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for place in &self.places {
            for _ in 0..ATTEMPTS {
                match remove(&place.path) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    // What cannot be removed now is removed by the next sandbox.
                    _ => break,
                }
            }
        }
    }
}

/// The hierarchies that a spec needs, each with the controllers that must work there.
fn choose<'a>(
    hierarchies: &'a [Hierarchy],
    spec: &Cgroup,
) -> Result<Vec<(&'a Hierarchy, Vec<&'static str>)>, SpawnError> {
    let needed = spec.limits.controllers();
    let home = |controller: &str| hierarchies.iter().position(|hierarchy| hierarchy.has(controller));
    for controller in &needed {
        if home(controller).is_none() {
            return Err(SpawnError::NoController { controller });
        }
    }
    let chosen = hierarchies.iter().enumerate().filter_map(|(index, hierarchy)| {
        let here: Vec<_> = needed.iter().copied().filter(|controller| home(controller) == Some(index)).collect();
        (!here.is_empty() || spec.parent.is_some()).then_some((hierarchy, here))
    });
    let chosen: Vec<_> = chosen.collect();
    match chosen.is_empty() {
        true => Err(error("find the mounted hierarchies", io::ErrorKind::NotFound.into())),
        false => Ok(chosen),
    }
}

impl Place {
    fn make(hierarchy: &Hierarchy, parent: &Path) -> Result<Self, SpawnError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let failed = |source| error(format!("make the control group `{}`", path.display()), source);
            match fs::create_dir(&path) {
                // Of a process with the same number in another pid namespace, or one before this one.
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => continue,
                done => done.map_err(failed)?,
            }
            // Between the two, others may take it for abandoned.
            let Ok(Some(lock)) = lock(&path) else { continue };
            hierarchy.prepare(&path)?;
            let procs = OpenOptions::new().write(true).open(path.join("cgroup.procs")).map_err(failed)?;
            return Ok(Self { version: hierarchy.version, memory: hierarchy.has("memory"), path, procs, _lock: lock });
        }
    }
}

/// Locks a group; nothing if somebody else has, or if it is gone.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let directory = File::open(path)?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        done => done?,
    }
    let same = fs::metadata(path).is_ok_and(|now| directory.metadata().is_ok_and(|was| now.ino() == was.ino()));
    Ok(same.then_some(directory))
}

/// Removes groups whose makers are gone.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && let Ok(Some(_lock)) = lock(&entry.path())
        {
            // Whoever was killed may have left a process that has not ended yet.
            let _ = remove(&entry.path());
        }
    }
}

/// Removes a group with those that its processes made inside.
fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// An error about control groups.
fn error(doing: impl Into<String>, source: io::Error) -> SpawnError {
    SpawnError::Cgroup { doing: doing.into(), source }
}

impl Limits {
    /// The controllers that these limits are files of.
    fn controllers(&self) -> Vec<&'static str> {
        let mut needed = Vec::new();
        if self.memory.is_some() || self.memory_swap.is_some() {
            needed.push("memory");
        }
        if self.cpu_shares.is_some() || self.cpu_period.is_some() || self.cpu_quota.is_some() {
            needed.push("cpu");
        }
        if self.cpuset_cpus.is_some() || self.cpuset_mems.is_some() {
            needed.push("cpuset");
        }
        needed
    }
}
