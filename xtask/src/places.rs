//! Where the tasks find and leave things.
//!
//! ```text
//! ROOT/                     the work tree
//! ROOT/target/              what this work tree builds; demo/, bench/ and compare/ below it
//! CACHE/                    $XDG_CACHE_HOME/kiln-xtask: outlives the work tree
//!   downloads/              packages as their registries gave them
//!   contexts/NAME/          contexts of the base images
//!   images/                 base images as OCI archives
//!   registry/               the storage of the local registry
//!   peers/docker-v2/        a root filesystem with Docker
//! ```
//!
//! What lies below CACHE is keyed by version in its name or by a stamp beside
//! it, and is made in full under another name before it gets its own.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// The folders of one run.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) cache: PathBuf,
}

impl Places {
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets this for `cargo run`, which is how the tasks are called.
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask lies in no work tree")?.to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => root.join(target),
            None => root.join("target"),
        };
        let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
            (_, Some(home)) => PathBuf::from(home).join(".cache"),
            _ => return Err(anyhow!("neither `XDG_CACHE_HOME` nor `HOME` is set")),
        };
        Ok(Self { root, target, cache: cache.join("kiln-xtask") })
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.cache.join("downloads")
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.cache.join("contexts")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    pub(crate) fn peers(&self) -> PathBuf {
        self.cache.join("peers")
    }
}

/// Makes `dir`, empty: whatever was there is removed first.
pub(crate) fn make_empty(dir: &Path) -> Result<()> {
    remove(dir)?;
    make(dir)
}

/// Makes `dir` and its parents where they are missing.
pub(crate) fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))
}

/// Removes `path` and everything below it, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.with_context(|| format!("cannot remove `{}`", path.display()))
}

/// Removes a kiln store, or a folder that holds one.
///
/// After a build kiln makes what it wrote durable in the background, for as long as the disk takes; until then a store
/// may refuse to go.
pub(crate) fn remove_store(path: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let removed = remove(path);
        if removed.is_ok() || Instant::now() > deadline {
            return removed;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Writes a file, the path in the error.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Reads a text file, the path in the error.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}
