//! Cache mounts: directories of many files that change a little from build to build.
//!
//! ```text
//!   tree ─▶ walk ─▶ chunks that no pack has ─▶ packs ─▶ Blobs           export
//!   tree ◀─ unpack ◀─ chunks ◀─ packs ◀─ listing ◀─ index ◀─ Blobs      import
//! ```
//!
//! A mount is one [`index`] document. It names the packs that hold the [`listing`] (paths, kinds, modes, owners, times, attributes, and
//! of which chunks each file is made) and those that hold the chunks. Files are cut by content ([`chunk`]), small ones are one chunk
//! each, and packs ([`pack`]) are cut by content too. So an export sends what changed, and what two branches or projects have in
//! common is there once.
//!
//! What one machine knows of earlier exports and imports is a [`Memo`]; which caches' files may be left out, and whose times must not
//! be kept, is told by the tool's own rules ([`go`]). Which mounts travel, and under which key, is the engine's to say.
//!
//! Invariants: equal trees make equal packs on machines without history; what is read is verified chunk by chunk before it is
//! written; nothing is made outside the directory that an import was given; memory is bounded whatever the size of files and packs.

mod candidates;
mod chunk;
mod export;
mod go;
mod import;
mod index;
mod known;
mod listing;
mod memo;
mod pack;
mod packing;
mod unpack;
mod walk;

pub use export::{ExportError, Exported, Limits, export_mount};
pub use import::{ImportError, Imported, import_mount};
pub use index::IndexError;
pub use listing::ListingError;
pub use memo::Memo;
pub use pack::PackError;
pub use unpack::UnpackError;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
