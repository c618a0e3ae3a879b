//! The remote cache: what a build keeps in a registry, a directory or an object store, so that a machine that has never seen the
//! project builds as if it had.
//!
//! A cache is blobs, named by their digests, and one [`CacheManifest`] that says what they are: cache records, layers, and cache
//! mounts as an index and packs each. [`CacheLocation`] says where a cache is, in BuildKit's words; a [`Remote`] reads and writes it
//! there. Which records, layers and mounts travel, and when, is the engine's to say.
//!
//! Invariants:
//! - Whatever is read has been verified against its digest and size by the time that its reader reports the end.
//! - Publishing is atomic: readers see the old cache or the new one, and the new one only when all its blobs are there.
//! - What comes from a cache is untrusted: sizes are bounded, and no path leads out of the directory that it belongs to.
//! - No message holds credentials.

mod blob;
mod error;
mod location;
mod manifest;
mod mounts;
mod parallel;
mod transport;

pub use blob::{BlobRef, Content, Sent};
pub use error::{ManifestProblem, RemoteError};
pub use location::{
    CacheExport, CacheImport, CacheLocation, ExportOptions, LocationError, Mode, Mounts, S3Credentials, S3Location,
};
pub use manifest::{CacheManifest, CachedLayer, CachedMount, MANIFEST_VERSION};
pub use mounts::{
    ExportError, Exported, ImportError, Imported, IndexError, Limits, ListingError, Memo, PackError, UnpackError,
    export_mount, import_mount,
};
pub use transport::{Access, Blobs, Collected, INLINE_KEY, Remote, connect, inline_member, lost, missing};
