//! Layers: directories in overlayfs's format, tar streams, compression, and views over stacks of layers.
//!
//! ```text
//!   blob ─▶ decompress ─▶ apply ─┐                         ┌─▶ pack ─▶ write_layer ─▶ blob
//!   files of a COPY ─▶ Builder ──┼─▶ a layer's directory ──┼─▶ diff_digest
//!   upper of a RUN ─▶ prune ─────┘    (`layers/ID/fs`)     └─▶ Stack ─▶ Tree: what COPY --from reads
//! ```
//!
//! A layer's directory is a lower directory for overlay mounts, as the kernel defines it ([`Namespace`]), and is never changed
//! once it is made. Where layers are kept, under which ids, and who may remove them is for the store; this crate is given
//! directories. What an instruction copies and where to is for the engine's ops.
//!
//! Invariants: nothing is made, changed or read outside the directory that a call was given, whatever a layer, an archive or a
//! path says ([`Tree`], [`apply`], [`Builder`] go by descriptors and follow no links); the same layer gives the same bytes and
//! digests on any machine ([`pack`], [`write_layer`], [`diff_digest`]); memory is bounded whatever the size of a layer's files.

mod apply;
mod at;
mod builder;
mod carry;
mod compress;
mod decompress;
mod diff;
mod directory;
mod estargz;
mod overlay;
mod pack;
mod prune;
mod reading;
mod stack;
mod stoppable;
mod tar;
mod tree;
mod walk;
mod writing;

pub use apply::{Applied, ApplyError, ApplyOptions, Contents, Deferred, Limits, apply, settle};
pub use builder::{BuildError, Builder, Built, BuiltFile, Existing};
pub use carry::{CarryError, carry_over, take_up};
pub use compress::{BlobCompression, BlobFormat, Compressed, Written, write_layer, write_layer_again, write_stream};
pub use decompress::{Compression, SNIFF_LENGTH, decompress, decompress_ahead, sniff};
pub use diff::{Diff, diff_digest, diff_digest_until};
pub use directory::Directory;
pub use estargz::toc_digest;
pub use overlay::{Namespace, is_file_attribute};
pub use pack::{PackError, PackOptions, Packed, pack, pack_tree};
pub use prune::{PruneError, prune_unchanged};
pub use reading::{FileContent, FileReader};
pub use stack::Stack;
pub use stoppable::{Stoppable, send_file};
pub use tar::TarError;
pub use tree::{Entry, Kind, Time, Tree, TreeError, resolve};
#[cfg(test)]
use writing::remove_tree;
pub use writing::{Meta, Target, make_file, make_node, set_meta, set_meta_at, set_new_meta};
