//! A local directory as a build context: its files without the ignored ones, their digests remembered between builds.
//!
//! The context is read where it is; nothing is copied until a step asks for it. It may change while it is read: whoever copies
//! a file hashes the bytes that it copies and compares.

mod ignore;
mod pattern;
mod stat_cache;

pub use ignore::{IgnoreError, IgnoreRules, Verdict};
pub use pattern::{BadPattern, Pattern};

use kiln_digest::ContentDigest;
use kiln_layer::{Directory, Entry, FileContent, Kind, Tree, TreeError};
use stat_cache::StatCache;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// A directory of the user's as a [`Tree`].
#[derive(Debug)]
pub struct LocalContext {
    path: PathBuf,
    directory: Directory,
    ignore: IgnoreRules,
    digests: StatCache,
}

/// Why a context cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The directory cannot be read.
    #[error("failed to open the build context `{path}`")]
    Open {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: Box<TreeError>,
    },
    /// The ignore file cannot be read.
    #[error("failed to read `{path}`")]
    ReadIgnore {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The ignore file has a malformed pattern.
    #[error("bad pattern in `{path}`: {source}")]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Line and cause.
        source: IgnoreError,
    },
}

impl LocalContext {
    /// Opens a directory. `digests` is the file in which is remembered what its files hold.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn open(path: &Path, ignore: IgnoreRules, digests: Option<PathBuf>) -> Result<Self, ContextError> {
        let directory = Directory::new(path)
            .map_err(|source| ContextError::Open { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Self { path: path.to_owned(), directory, ignore, digests: StatCache::new(digests) })
    }

    /// The directory's path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is left out of it.
    pub fn ignore_rules(&self) -> &IgnoreRules {
        &self.ignore
    }

    /// Whether a path is in the directory, and only the ignore file keeps it out of the context.
    pub fn leaves_out(&self, path: &Path) -> bool {
        self.ignore.judge_from_root(path).is_ignored() && self.directory.entry(path).is_ok_and(|entry| entry.is_some())
    }

    /// Gives the file in which digests are remembered, and what is to be in it for the next build, to `write`; unless that is
    /// there already.
    ///
    /// # Errors
    /// What `write` gives.
    pub fn save_digests<E>(&self, write: impl FnOnce(&Path, &[u8]) -> Result<(), E>) -> Result<(), E> {
        self.digests.save(write)
    }

    fn keeps_something(&self, path: &Path, verdict: &Verdict) -> Result<bool, TreeError> {
        if !self.ignore.may_keep_below(path) {
            return Ok(false);
        }
        for (name, entry) in self.directory.children(path)? {
            let child = path.join(name);
            let judged = self.ignore.judge(&child, verdict);
            if !judged.is_ignored() || (entry.is_directory() && self.keeps_something(&child, &judged)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn visible(&self, path: &Path, entry: &Entry, verdict: &Verdict) -> Result<bool, TreeError> {
        if matches!(entry.kind, Kind::Socket) {
            return Ok(false);
        }
        Ok(!verdict.is_ignored() || (entry.is_directory() && self.keeps_something(path, verdict)?))
    }

    /// A visible file as the build sees it: without its bytes where they stay behind.
    fn shown(entry: Entry, verdict: &Verdict) -> Entry {
        let emptied = entry.kind == Kind::File && verdict.is_withheld();
        if emptied { Entry { size: 0, nlink: 1, ..entry } } else { entry }
    }
}

/// What is opened of a file whose bytes stay behind.
fn empty_file(path: &Path) -> Result<File, TreeError> {
    let file = rustix::fs::memfd_create("empty", rustix::fs::MemfdFlags::CLOEXEC);
    file.map(File::from).map_err(|error| TreeError::Io {
        action: "make an empty file for",
        path: path.to_owned(),
        source: error.into(),
    })
}

impl Tree for LocalContext {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError> {
        let Some(entry) = self.directory.entry(path)? else { return Ok(None) };
        if self.ignore.is_empty() {
            return Ok(Some(entry));
        }
        let verdict = self.ignore.judge_from_root(path);
        Ok(self.visible(path, &entry, &verdict)?.then(|| Self::shown(entry, &verdict)))
    }

    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError> {
        let children = self.directory.children(path)?;
        if self.ignore.is_empty() {
            return Ok(children.into_iter().filter(|(_, entry)| entry.kind != Kind::Socket).collect());
        }
        let verdict = self.ignore.judge_from_root(path);
        let mut visible = Vec::with_capacity(children.len());
        for (name, entry) in children {
            let child = path.join(&name);
            let judged = self.ignore.judge(&child, &verdict);
            if self.visible(&child, &entry, &judged)? {
                visible.push((name, Self::shown(entry, &judged)));
            }
        }
        Ok(visible)
    }

    fn open(&self, path: &Path) -> Result<File, TreeError> {
        let emptied = !self.ignore.is_empty() && self.ignore.judge_from_root(path).is_withheld();
        if emptied { empty_file(path) } else { self.directory.open(path) }
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError> {
        self.directory.xattrs(path)
    }

    fn content(&self, path: &Path, entry: &Entry, stop: &AtomicBool) -> Result<FileContent, TreeError> {
        if entry.size == 0 && self.ignore.judge_from_root(path).is_withheld() {
            return Ok(FileContent { digest: ContentDigest::of_bytes(b""), xattrs: self.xattrs(path)? });
        }
        if let Some(content) = self.digests.get(path, entry) {
            return Ok(content);
        }
        let since = SystemTime::now();
        let content = self.directory.content(path, entry, stop)?;
        self.digests.put(path, entry, &content, since);
        Ok(content)
    }
}

/// Reads the ignore file that goes with a Dockerfile: `NAME.dockerignore` beside it, else `.dockerignore` in the context.
///
/// # Errors
/// If it is there and cannot be read, or has a malformed pattern.
pub fn read_ignore_rules(context: &Path, dockerfile: Option<&Path>) -> Result<IgnoreRules, ContextError> {
    let specific = dockerfile.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in specific.into_iter().chain([context.join(".dockerignore")]) {
        match std::fs::read(&path) {
            Ok(bytes) => {
                return IgnoreRules::parse(&String::from_utf8_lossy(&bytes))
                    .map_err(|source| ContextError::Ignore { path, source });
            }
            // As with Docker, a directory of that name is none of this.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
            Err(source) => return Err(ContextError::ReadIgnore { path, source }),
        }
    }
    Ok(IgnoreRules::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(context: &LocalContext, path: &str) -> Vec<String> {
        let children = context.children(Path::new(path)).unwrap();
        children.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
    }

    #[test]
    fn ignored_files_do_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["keep/a", "vendor/keep/x", "vendor/y", "main.go"] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(directory.path().join(".dockerignore"), "vendor\n!vendor/keep\n.dockerignore\n").unwrap();
        let rules = read_ignore_rules(directory.path(), None).unwrap();
        let context = LocalContext::open(directory.path(), rules, None).unwrap();
        assert_eq!(names(&context, ""), ["keep", "main.go", "vendor"]);
        assert_eq!(names(&context, "vendor"), ["keep"]);
        assert!(context.entry(Path::new("vendor/y")).unwrap().is_none());
        assert!(context.entry(Path::new("vendor/keep/x")).unwrap().is_some());
    }

    #[test]
    fn bytes_that_stay_behind_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["src/a.go", "vendor/b.go"] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "bytes").unwrap();
        }
        let rules = IgnoreRules::parse("*\n!**/*.go\nvendor\n").unwrap();
        let context = LocalContext::open(directory.path(), rules, None).unwrap();
        for (path, bytes) in [("src/a.go", "bytes"), ("vendor/b.go", "")] {
            let path = Path::new(path);
            let entry = context.entry(path).unwrap().unwrap();
            let listed = context.children(path.parent().unwrap()).unwrap().remove(0).1;
            assert_eq!((entry.size, listed.size), (bytes.len() as u64, bytes.len() as u64), "{path:?}");
            let content = context.content(path, &entry, &AtomicBool::new(false)).unwrap();
            assert_eq!(content.digest, ContentDigest::of_bytes(bytes.as_bytes()), "{path:?}");
            assert_eq!(io::read_to_string(context.open(path).unwrap()).unwrap(), bytes, "{path:?}");
        }
    }

    #[test]
    fn digests_survive_and_notice_changes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        std::fs::write(&file, "one").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let cache = directory.path().join("cache");
        let open = || LocalContext::open(directory.path(), IgnoreRules::default(), Some(cache.clone())).unwrap();
        let digest = |context: &LocalContext| {
            let entry = context.entry(Path::new("f")).unwrap().unwrap();
            context.content(Path::new("f"), &entry, &AtomicBool::new(false)).unwrap().digest
        };
        let first = open();
        assert_eq!(digest(&first), ContentDigest::of_bytes(b"one"));
        first.save_digests(|path, bytes| std::fs::write(path, bytes)).unwrap();
        let second = open();
        let entry = second.entry(Path::new("f")).unwrap().unwrap();
        assert_eq!(second.digests.get(Path::new("f"), &entry).unwrap().digest, ContentDigest::of_bytes(b"one"));
        std::fs::write(&file, "two").unwrap();
        assert_eq!(digest(&open()), ContentDigest::of_bytes(b"two"));
    }
}
