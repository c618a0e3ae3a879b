//! A bare repository with the objects of one commit, and the copies of such repositories that stay between builds.
//!
//! ```text
//! contexts/git-HASH/       by the hash of the remote's address
//!   objects/pack/…         what was fetched so far, shared by links
//!   refs/kiln/COMMIT       each commit that was fetched whole
//!   shallow
//! ```
//!
//! Git only ever works on a copy in the process's own directory, whose packs are links to those that are kept; the copy replaces what
//! is kept by a rename when the fetch is done. So nobody finds half a repository, whoever is killed, even while a git that outlives
//! its kiln still writes. What is kept is only there to be fetched less: whenever something is wrong with it, it is left aside.

use super::program::{Git, Reach};
use super::refs::Found;
use super::{GitError, io};
use kiln_digest::Hasher;
use kiln_store::Store;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// With more packs than this, it is better to start again.
const MOST_PACKS: usize = 40;

/// A bare repository that has a commit.
pub(super) struct Repository {
    pub(super) path: PathBuf,
}

impl Repository {
    /// Makes one in `directory`, from what is kept and what has to be fetched.
    pub(super) fn fetch(store: &Store, git: &Git<'_>, found: &Found, directory: &Path) -> Result<Self, GitError> {
        let kept = kept(store, git.address);
        let repository = Self { path: directory.join("kept.git") };
        // Somebody may remove what is kept at any moment.
        let mut used = true;
        let complete = repository.make(git, found, Some(&kept)).and_then(|has_kept| {
            used = has_kept;
            repository.complete(git, found)
        });
        match complete {
            Ok(fetched) => {
                if fetched {
                    repository.keep(store, git, &kept);
                } else {
                    // What is used stays; that it is not noted costs a fetch some day.
                    let _ = fs::File::open(&kept).and_then(|kept| kept.set_modified(SystemTime::now()));
                }
                Ok(repository)
            }
            Err(GitError::Cancelled) => Err(GitError::Cancelled),
            Err(error) if !used || error.is_of_the_remote() => Err(error),
            Err(_) => {
                let repository = Self { path: directory.join("new.git") };
                repository.make(git, found, None)?;
                repository.complete(git, found)?;
                repository.keep(store, git, &kept);
                Ok(repository)
            }
        }
    }

    /// Makes an empty repository, or one with the objects of `kept`, and says whether it has them.
    fn make(&self, git: &Git<'_>, found: &Found, kept: Option<&Path>) -> Result<bool, GitError> {
        fs::create_dir(&self.path).map_err(io("create", &self.path))?;
        git.run(&self.path, Reach::Nothing, ["init", "--quiet", "--bare", "--template=", found.object_format(), "."])?;
        let Some(kept) = kept.filter(|kept| kept.exists()) else { return Ok(false) };
        let pack = kept.join("objects/pack");
        let files: Vec<PathBuf> = list(&pack)?;
        if files.iter().filter(|file| file.extension().is_some_and(|end| end == "pack")).count() > MOST_PACKS {
            return Ok(false);
        }
        link_all(&files, &self.path.join("objects/pack"))?;
        link_all(&list(&kept.join("refs/kiln"))?, &self.path.join("refs/kiln"))?;
        let shallow = kept.join("shallow");
        if shallow.exists() {
            fs::copy(&shallow, self.path.join("shallow")).map_err(io("copy", &shallow))?;
        }
        Ok(true)
    }

    /// Fetches the commit unless it is here; says whether it was fetched.
    fn complete(&self, git: &Git<'_>, found: &Found) -> Result<bool, GitError> {
        let reference = format!("refs/kiln/{}", found.commit);
        if self.path.join(&reference).exists() {
            self.check_whole(git, &found.commit)?;
            return Ok(false);
        }
        git.progress.log(&format!("fetching {}", found.commit));
        // The very object, which is what the key was made from; servers may refuse to give what no reference names.
        let first = self.fetch_one(git, &found.object);
        if let (Err(error), Some(name)) = (&first, &found.name)
            && !matches!(error, GitError::Cancelled)
        {
            // It may have moved on meanwhile.
            self.fetch_one(git, name).or_else(GitError::unless_cancelled)?;
        }
        if !self.has(git, &found.commit)? {
            if let Err(GitError::Cancelled) = first {
                return Err(GitError::Cancelled);
            }
            let all = ["+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"];
            let mut arguments = vec!["fetch", "--progress", "--no-write-fetch-head"];
            if self.path.join("shallow").exists() {
                arguments.push("--unshallow");
            }
            arguments.extend(["--", &git.remote]);
            git.run(&self.path, Reach::Network, arguments.into_iter().chain(all))?;
        }
        if !self.has(git, &found.commit)? {
            first?;
            return Err(GitError::NoCommit {
                remote: kiln_graph::without_credentials(&git.remote),
                commit: found.commit.clone(),
            });
        }
        self.check_whole(git, &found.commit)?;
        git.run(&self.path, Reach::Nothing, ["update-ref", &reference, &found.commit])?;
        Ok(true)
    }

    /// Fetches one object or reference without its history, or with it where the server can do no other.
    fn fetch_one(&self, git: &Git<'_>, what: &str) -> Result<(), GitError> {
        let fetch = |depth: Option<&'static str>| {
            let arguments = ["fetch", "--progress", "--no-tags", "--no-write-fetch-head"].into_iter().chain(depth);
            git.run(&self.path, Reach::Network, arguments.chain(["--", &git.remote, what])).map(drop)
        };
        match fetch(Some("--depth=1")) {
            Err(GitError::Refused { reason, .. }) if reason.contains("shallow") || reason.contains("depth") => {
                fetch(None)
            }
            done => done,
        }
    }

    fn has(&self, git: &Git<'_>, commit: &str) -> Result<bool, GitError> {
        let tree = format!("{commit}^{{tree}}");
        match git.run(&self.path, Reach::Nothing, ["cat-file", "-e", &tree]) {
            Ok(_) => Ok(true),
            Err(GitError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fails unless all that the commit's files are made of is here.
    fn check_whole(&self, git: &Git<'_>, commit: &str) -> Result<(), GitError> {
        let walk = ["rev-list", "--objects", "--quiet", "--max-count=1", commit];
        git.run(&self.path, Reach::Nothing, walk).map(drop)
    }

    /// Whether there are objects outside of packs, as a server that only serves files gives them.
    fn has_loose_objects(&self) -> Result<bool, GitError> {
        let is_loose = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 2);
        Ok(list(&self.path.join("objects"))?.iter().any(is_loose))
    }

    /// Keeps a copy for the next build. Whatever goes wrong costs it a fetch.
    fn keep(&self, store: &Store, git: &Git<'_>, kept: &Path) {
        let _ = self.try_keep(store, git, kept);
    }

    fn try_keep(&self, store: &Store, git: &Git<'_>, kept: &Path) -> Result<(), GitError> {
        // Only packs are kept.
        if self.has_loose_objects()? {
            git.run(&self.path, Reach::Nothing, ["repack", "-a", "-d", "-q"])?;
        }
        let temporary = store.temp_dir()?;
        let (new, old) = (temporary.path().join("new"), temporary.path().join("old"));
        link_all(&list(&self.path.join("objects/pack"))?, &new.join("objects/pack"))?;
        link_all(&list(&self.path.join("refs/kiln"))?, &new.join("refs/kiln"))?;
        let shallow = self.path.join("shallow");
        if shallow.exists() {
            fs::copy(&shallow, new.join("shallow")).map_err(io("copy", &shallow))?;
        }
        match fs::rename(kept, &old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("move", kept)(error)),
            _ => {}
        }
        fs::rename(&new, kept).map_err(io("move", &new))
    }
}

/// Where the copy of a remote is kept. Who comes with other credentials finds another one.
fn kept(store: &Store, address: &str) -> PathBuf {
    let name = Hasher::new("kiln git remote v1").field(address.as_bytes()).content();
    store.contexts_dir().join(format!("git-{}", name.to_hex()))
}

/// The files of a directory; none if it is not there.
fn list(directory: &Path) -> Result<Vec<PathBuf>, GitError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io("list", directory))?,
    };
    entries.map(|entry| Ok(entry.map_err(io("list", directory))?.path())).collect()
}

/// Links files into a directory, which is made. Nothing changes a file of a repository once it is there.
fn link_all(files: &[PathBuf], into: &Path) -> Result<(), GitError> {
    fs::create_dir_all(into).map_err(io("create", into))?;
    for file in files {
        let Some(name) = file.file_name() else { continue };
        fs::hard_link(file, into.join(name)).map_err(io("link", file))?;
    }
    Ok(())
}
