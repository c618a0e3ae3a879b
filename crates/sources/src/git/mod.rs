//! Trees of git repositories (`ADD https://….git`, contexts), by the `git` program.
//!
//! A tree is known by the id of its commit and by what of the commit is wanted. Which commit that is, the repository is asked without
//! fetching anything ([`refs`]); its objects are fetched when somebody needs the files, without their history and beside those that
//! earlier builds fetched ([`repository`]); then they are checked out ([`checkout`]) and become a layer under a record of the tree.

mod checkout;
mod credentials;
mod listen;
mod program;
mod refs;
mod repository;

pub use program::GitAccess;

use crate::progress::Progress;
use credentials::Credentials;
use kiln_digest::{CacheKey, ContentDigest, Hasher};
use kiln_graph::GitTree;
use kiln_layer::{TreeError, diff_digest};
use kiln_store::{LayerId, LockError, NewLayer, RecordError, Store};
use program::Git;
use refs::Found;
use repository::Repository;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a tree of a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git`.
    #[error("there is no program `git`\nhint: install git, which kiln runs to fetch repositories")]
    NoProgram,
    /// The program could not be run.
    #[error("failed to run `git`")]
    Spawn(#[source] std::io::Error),
    /// The program failed.
    #[error("git failed for `{remote}`: {reason}")]
    Refused {
        /// The repository.
        remote: String,
        /// What it said.
        reason: String,
    },
    /// The program got nothing for a long time.
    #[error("`{remote}` has given nothing for {} seconds", patience.as_secs())]
    Silent {
        /// The repository.
        remote: String,
        /// How long that was waited for.
        patience: Duration,
    },
    /// The program wrote more than anybody needs.
    #[error("git wrote more than {limit} bytes for `{remote}`")]
    TooMuch {
        /// The repository.
        remote: String,
        /// As much is read.
        limit: usize,
    },
    /// The repository has no such reference.
    #[error("`{remote}` has no branch or tag `{reference}`")]
    NoReference {
        /// The repository.
        remote: String,
        /// The reference.
        reference: String,
    },
    /// The repository has no such commit.
    #[error("`{remote}` has no commit `{commit}`")]
    NoCommit {
        /// The repository.
        remote: String,
        /// The commit.
        commit: String,
    },
    /// The commit has no such directory.
    #[error("`{remote}` has no directory `{subdir}`")]
    NoDirectory {
        /// The repository.
        remote: String,
        /// The directory.
        subdir: String,
    },
    /// The reference leads to another commit than it must.
    #[error("`{reference}` of `{remote}` is the commit `{actual}`, but `{expected}` is expected")]
    Checksum {
        /// The repository.
        remote: String,
        /// The reference.
        reference: String,
        /// What the commit's id must begin with.
        expected: String,
        /// The commit.
        actual: String,
    },
    /// A file of the store could not be read or written.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The files could not be read.
    #[error("failed to read the files of the repository")]
    Tree(#[from] TreeError),
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The layer was removed meanwhile.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

impl GitError {
    /// Whether the server or the way to it is to blame, by what git says.
    fn is_of_the_remote(&self) -> bool {
        let words = ["unable to access", "unable to connect", "Could not read from remote", "could not read "];
        match self {
            Self::Silent { .. } => true,
            Self::Refused { reason, .. } => words.iter().any(|words| reason.contains(words)),
            _ => false,
        }
    }

    /// `Ok` for all but a cancellation, for what there is another way to do.
    fn unless_cancelled(self) -> Result<(), Self> {
        if matches!(self, Self::Cancelled) { Err(self) } else { Ok(()) }
    }
}

impl From<LockError> for GitError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Cancelled => Self::Cancelled,
            LockError::Store(error) => Self::Store(error),
        }
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> GitError {
    move |source| GitError::Io { action, path: path.to_owned(), source }
}

/// A tree whose commit is known, and whose files may not be here yet.
#[derive(Clone)]
pub struct GitSource {
    store: Store,
    tree: GitTree,
    access: GitAccess,
    found: Found,
}

impl GitSource {
    /// Finds the commit.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn resolve(
        store: &Store,
        tree: &GitTree,
        access: &GitAccess,
        progress: &dyn Progress,
    ) -> Result<Self, GitError> {
        let found = refs::find(&Git::new(&tree.remote, access, progress), tree)?;
        Ok(Self { store: store.clone(), tree: tree.clone(), access: access.clone(), found })
    }

    /// The commit's id.
    pub fn commit(&self) -> &str {
        &self.found.commit
    }

    /// What the tree is.
    pub fn content(&self) -> ContentDigest {
        self.hasher("kiln git tree v1").content()
    }

    /// The layer, if it is in the store.
    ///
    /// # Errors
    /// The store's.
    pub fn layer_if_here(&self) -> Result<Option<LayerId>, kiln_store::Error> {
        Ok(self.store.record(&self.key())?.and_then(|record| record.layer))
    }

    /// The layer, fetched if need be.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn layer(&self, progress: &dyn Progress) -> Result<LayerId, GitError> {
        if let Some(layer) = self.layer_if_here()? {
            return Ok(layer);
        }
        // Of several processes that want the same repository one fetches it; the others wait.
        let lock = Hasher::new("kiln git fetch v1").field(self.tree.remote.as_bytes()).key();
        let _lock = self.store.lock_step(&lock, || !progress.is_cancelled())?;
        if let Some(layer) = self.layer_if_here()? {
            return Ok(layer);
        }
        let git = Git::new(&self.tree.remote, &self.access, progress);
        let temporary = self.store.temp_dir()?;
        let repository = Repository::fetch(&self.store, &git, &self.found, temporary.path())?;
        let files = checkout::checkout(&git, &self.tree, &self.found, &repository, temporary.path())?;
        let diff = diff_digest(&files)?;
        let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
        let layer = self.store.commit_layer(&files, new)?.id;
        self.store.put_record(&self.key(), &[], Some(layer))?;
        Ok(layer)
    }

    fn key(&self) -> CacheKey {
        self.hasher("kiln git layer v1").key()
    }

    /// All that decides on the files. A `.git` also tells where it comes from.
    fn hasher(&self, domain: &str) -> Hasher {
        let GitTree { remote, subdir, keep_git_dir, submodules, reference: _, checksum: _ } = &self.tree;
        let mut hasher = Hasher::new(domain);
        hasher.field(self.found.commit.as_bytes()).field(subdir.as_deref().unwrap_or_default().as_bytes());
        hasher.number(u64::from(*submodules)).number(u64::from(*keep_git_dir));
        if *keep_git_dir {
            hasher
                .field(Credentials::split(remote).0.as_bytes())
                .field(self.found.name.as_deref().unwrap_or_default().as_bytes());
        }
        hasher
    }
}
