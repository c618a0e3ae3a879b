//! Where caches are: what each place can do, and how one is reached.

mod directory;
mod document;
mod inline;
mod registry;
mod s3;

pub use inline::{INLINE_KEY, inline_member};

use crate::blob::{BlobRef, Content, Sent};
use crate::error::RemoteError;
use crate::location::CacheLocation;
use crate::manifest::CacheManifest;
use crate::parallel;
use directory::Directory;
use kiln_digest::Digest;
use kiln_registry::{Client, Repository};
use registry::Registry;
use s3::S3;
use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a cache's blobs are. Any number of threads may ask at once.
pub trait Blobs: Send + Sync {
    /// Whether a blob is there for whoever counts on it: once this returns true, garbage collection leaves the blob alone for its grace
    /// time, as if it had just been written. One of [`Access::broken`] is not there until it has been written.
    ///
    /// # Errors
    /// When the place cannot tell.
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError>;

    /// Opens a blob. Nobody gets more than `blob.size` bytes, and reading past the last one fails unless size and digest are right; until
    /// then the bytes are a promise. The reader's errors wrap a [`RemoteError`] or what the place's own client says.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError>;

    /// Writes a blob unless it is there, as [`Blobs::keep`] says. Once this returns, garbage collection leaves it alone for its grace time.
    ///
    /// # Errors
    /// When it cannot be written, or the content is not the blob.
    fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError>;
}

/// One cache: its blobs, and the manifest that names them.
pub trait Remote: Blobs {
    /// What it is, as a noun phrase for people, without credentials: ``directory `/tmp/cache` ``.
    fn name(&self) -> String;

    /// What the cache holds; nothing if there is no cache yet.
    ///
    /// # Errors
    /// When the place cannot be read, or what is there cannot be used.
    fn manifest(&self) -> Result<Option<CacheManifest>, RemoteError>;

    /// Whether a blob is there, which [`Blobs::keep`] says as well: here nothing is done to it.
    ///
    /// # Errors
    /// When the place cannot tell.
    fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError>;

    /// Makes `manifest` what the cache holds: whoever reads sees the old one or this. Of two at once one wins. Once this returns, it
    /// outlives a crash of the machine. If what stood there and named other caches as well could not be read, it was put aside as the
    /// file that is returned.
    ///
    /// # Errors
    /// When it cannot be written, or a blob that it names is not there.
    fn publish(&self, manifest: &CacheManifest) -> Result<Option<PathBuf>, RemoteError>;

    /// Deletes the blobs that no manifest of the place names and that nobody has written or kept within the `grace` time: an export
    /// that takes longer than this may lose blobs, and then fails.
    ///
    /// # Errors
    /// When the place cannot be read or written, or deletes nothing on request.
    fn collect_garbage(&self, grace: Duration) -> Result<Collected, RemoteError>;
}

/// What a garbage collection came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that were deleted.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What is needed to reach a cache.
#[derive(Clone, Debug)]
pub struct Access {
    /// For registries.
    pub client: Client,
    /// Ends waiting for the network and long copies once it is true.
    pub stop: Arc<AtomicBool>,
    /// Repositories that are likely to have layers of the cache, since the image of the same build was just pushed there.
    pub pushed: Vec<Repository>,
    /// Blobs that turned out to be other bytes than they should be, or not to be there. An export counts on none of them.
    pub broken: HashSet<Digest>,
}

/// Those of `wanted` that a place does not have; the others are kept.
///
/// # Errors
/// Those of [`Blobs::keep`], and [`RemoteError::Cancelled`] once `stop` is true.
pub fn missing(blobs: &dyn Blobs, wanted: &[BlobRef], stop: &AtomicBool) -> Result<Vec<BlobRef>, RemoteError> {
    absent(wanted, stop, |blob| blobs.keep(blob))
}

/// Those of `wanted` that a place does not have; nothing is done to the others.
///
/// # Errors
/// Those of [`Remote::has`], and [`RemoteError::Cancelled`] once `stop` is true.
pub fn lost(remote: &dyn Remote, wanted: &[BlobRef], stop: &AtomicBool) -> Result<Vec<BlobRef>, RemoteError> {
    absent(wanted, stop, |blob| remote.has(blob))
}

fn absent(
    wanted: &[BlobRef],
    stop: &AtomicBool,
    is_there: impl Fn(&BlobRef) -> Result<bool, RemoteError> + Sync,
) -> Result<Vec<BlobRef>, RemoteError> {
    let there = parallel::map(wanted, parallel::REQUESTS, stop, is_there)?;
    if stop.load(Ordering::Relaxed) {
        return Err(RemoteError::Cancelled);
    }
    Ok(wanted.iter().zip(there).filter(|(_, there)| !there).map(|(blob, _)| *blob).collect())
}

/// Blobs that are not to be counted on until they have been written.
#[derive(Debug)]
struct Broken(Mutex<HashSet<Digest>>);

impl Broken {
    fn of(access: &Access) -> Self {
        Self(Mutex::new(access.broken.clone()))
    }

    fn has(&self, blob: &BlobRef) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&blob.digest)
    }

    /// Notes that a blob was written.
    fn mend(&self, blob: &BlobRef) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&blob.digest);
    }
}

/// The cache at a location. Asks nobody yet.
///
/// # Errors
/// [`RemoteError::Unsupported`].
pub fn connect(location: &CacheLocation, access: &Access) -> Result<Box<dyn Remote>, RemoteError> {
    match location {
        CacheLocation::Local { directory, tag, digest } => {
            Ok(Box::new(Directory::new(directory, tag, *digest, access)))
        }
        CacheLocation::Registry { reference, insecure } => {
            let client = match insecure {
                true => access.client.insecure_at(reference.repository().registry()),
                false => access.client.clone(),
            };
            Ok(Box::new(Registry::new(client, reference, access)))
        }
        CacheLocation::S3(location) => Ok(Box::new(S3::new(location, access)?)),
        CacheLocation::Inline => Err(RemoteError::Unsupported { what: "an inline cache without its image".to_owned() }),
    }
}
