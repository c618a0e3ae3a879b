//! What can go wrong with a remote cache. All of it is a warning and a miss to whoever reads a cache; whether it fails a build that
//! writes one is the engine's to say.

use crate::blob::BlobRef;
use kiln_digest::Digest;
use kiln_registry::RegistryError;
use std::io;
use std::path::{Path, PathBuf};

/// A request to a remote cache that failed for good. `place` names the cache, as [`crate::Remote::name`] does.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A file or directory of a cache in a directory, or of what is to be sent.
    #[error("failed to {action} `{path}`")]
    File {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A blob is not there.
    #[error("{place} has no blob `{digest}`")]
    Missing {
        /// The cache.
        place: String,
        /// The blob.
        digest: Digest,
    },
    /// Other bytes than the ones that were asked for, or too few.
    #[error("what {place} has as blob `{}` of {} bytes are other bytes", .blob.digest, .blob.size)]
    Corrupt {
        /// The cache.
        place: String,
        /// What was asked for.
        blob: BlobRef,
    },
    /// What is to be sent is not what it was said to be.
    #[error("`{path}` is not blob `{}` of {} bytes", .blob.digest, .blob.size)]
    NotTheBlob {
        /// The file; `-` for bytes in memory.
        path: PathBuf,
        /// What it should be.
        blob: BlobRef,
    },
    /// Something is there that names no cache which this version can use.
    #[error("the cache in {place} cannot be used: {problem}")]
    Manifest {
        /// The cache.
        place: String,
        /// What is wrong with it.
        problem: ManifestProblem,
    },
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The object store.
    #[error("{place}: failed to {action}: {cause}")]
    Store {
        /// The cache.
        place: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed, as one line.
        cause: String,
    },
    /// A place that kiln has no way to.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

/// Why a document names no cache that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestProblem {
    /// It is not JSON, or of another form.
    #[error("malformed document: {0}")]
    Json(#[from] serde_json::Error),
    /// It was made by another builder.
    #[error("it was not made by kiln: it is `{0}`")]
    Foreign(String),
    /// It was made by a newer or a much older kiln.
    #[error("it is of version {found}, and this kiln reads version {}", crate::manifest::MANIFEST_VERSION)]
    Version {
        /// The version in the document.
        found: u32,
    },
    /// It is larger than anybody's cache should be.
    #[error("a document of {size} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A layer's media type is no media type.
    #[error("a layer of the media type `{0}`")]
    MediaType(String),
    /// The records in an image's config cannot be decoded.
    #[error("malformed records: {0}")]
    Base64(#[source] base64::DecodeError),
    /// An image whose config and manifest do not agree.
    #[error("an image of {diff_ids} diff ids and {blobs} layers")]
    Layers {
        /// As many are in its config.
        diff_ids: usize,
        /// As many are in its manifest.
        blobs: usize,
    },
    /// A digest that kiln cannot verify.
    #[error(transparent)]
    Digest(#[from] kiln_digest::ParseDigestError),
}

impl RemoteError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// Whether the place answers, and what is there is of no use to anybody: asking again gives the same.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Corrupt { .. } | Self::Manifest { .. } => true,
            Self::Registry(error) => is_broken(error),
            Self::File { .. }
            | Self::NotTheBlob { .. }
            | Self::Store { .. }
            | Self::Unsupported { .. }
            | Self::Cancelled => false,
        }
    }

    /// Whether a registry, or its token service, has read the request and refuses to say what is there.
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Registry(RegistryError::Unauthorized { .. } | RegistryError::Token { denied: Some(_), .. })
        )
    }

    /// Whether somebody said stop, and nothing is wrong.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Registry(RegistryError::Cancelled { .. }))
    }
}

/// Whether reading failed because of what was read, and not on the way to it.
pub(crate) fn is_broken_read(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return error.raw_os_error().is_none() };
    let of_place = inner.downcast_ref().map(RemoteError::is_broken);
    of_place.or_else(|| inner.downcast_ref().map(is_broken)).unwrap_or(true)
}

fn is_broken(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::NotFound { .. }
            | RegistryError::DigestMismatch { .. }
            | RegistryError::SizeMismatch { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Manifest { .. }
            | RegistryError::UnsupportedDigest { .. }
    )
}
