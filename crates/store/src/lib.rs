//! All that kiln keeps on disk, below one root directory (`$KILN_ROOT`):
//!
//! ```text
//! meta.db                  SQLite in WAL mode: every fact about what follows; `PRAGMA user_version` is the format
//! blobs/sha256/HEX         manifests, configs, compressed layers
//! layers/ID/fs             one overlay lower directory, never changed once it is here
//! mounts/ID/{fs,lock,memo} one cache mount; whoever uses it holds a lock on `lock`; `memo` is opaque to the store
//! tmp/PID-NONCE.lock       one process: locked for as long as it lives; lists the blobs that it relies on
//! tmp/PID-NONCE/           what that process is making
//! locks/                   locks of steps being executed, and of the store's own short sections
//! history/ID               what is told of an earlier build, opaque to the store
//! contexts/                stat caches of contexts and bare git repositories, opaque to the store
//! reserve                  space given up when the disk is full, so that `kiln prune` can work
//! ```
//!
//! Many short-lived processes use one store at the same time, and each may be killed at any instant. What makes that safe:
//!
//! - A file or directory is made below `tmp/` and appears by one `rename`. Its row is inserted in the same transaction, after the
//!   rename: a row never lacks its files. Files without a row are garbage that `prune` sweeps; it does so inside a write transaction,
//!   hence never between a rename and its row.
//! - What is removed loses its row first, in a transaction that reaches the disk before any file moves; then its files are renamed
//!   into `tmp/` and deleted there.
//! - A process is alive when its lock below `tmp/` is held. Process ids are never trusted. Leases and claims of dead processes
//!   count for nothing.
//! - What a live process has committed or leased is never pruned, and neither is a blob that it has asked for, nor a cache mount
//!   that it holds.
//! - Nothing is synced while a build runs. Rows carry the boot in which they were made until [`Store::sync`] has brought their files to
//!   the disk; on the first use after another boot, what was not synced is dropped.
//! - Locks are taken in this order: step or cache mount, `locks/blobs`, the connection's mutex, SQLite's write lock.
//! - `meta.db` is never opened but by SQLite, whose own locks any other `close` in this process would drop.
//!
//! The store knows neither Dockerfiles nor the format of what it keeps in records and memos.

mod blobs;
mod db;
mod du;
mod durability;
mod error;
mod history;
mod ids;
mod images;
mod inventory;
mod layers;
mod leases;
mod locks;
mod memos;
#[cfg(test)]
mod model;
mod mounts;
mod open;
mod process;
mod prune;
mod records;
mod remove;
mod schema;
mod temp;
#[cfg(test)]
mod testing;

pub use blobs::{AS_PULLED, BlobError, BlobInfo, BlobWriter};
pub use du::{Usage, UsageKind, UsageRow};
pub use error::{Error, Result};
pub use history::HistoryId;
pub use ids::{LayerId, MountId, ParseIdError};
pub use images::{Image, ImageError};
pub use layers::{ImportedLayer, Layer, LayerError, NewLayer};
pub use leases::{Lease, LeaseError};
pub use locks::{LockError, StepLock};
pub use mounts::{CacheMount, CacheMountInfo, CacheMountKey, MountError, RemovedMounts, Sharing};
pub use open::{OpenError, Store};
pub use prune::{PruneOptions, Pruned};
pub use records::{Record, RecordError};
pub use remove::remove_tree;
pub use temp::TempDir;
