//! Outputs: what becomes of a build's result outside the store.
//!
//! [`pack()`] turns a config and layers into an [`ImageBlobs`]: blobs in the store, each layer compressed at most once ever. An
//! [`Assembly`] is one of them, or an index of several with what an [`Attestation`] states of them. [`write_oci`] and [`write_docker`] arrange blobs as an archive or a directory,
//! [`push()`] brings them to a registry, and [`load_plain`] and [`load_packed`] into a Docker daemon. [`write_local`] and [`write_tar`]
//! need no image at all, only the files; of several platforms as [`PlatformDirectories`] or [`Merged`], and of one time as
//! [`Dated`].
//!
//! A file output appears at its destination when it is whole, and not before; an archive of an image can have a [`HeadStart`] all the
//! same.

mod archive;
mod assembly;
mod attestation;
mod blocks;
mod converted;
mod daemon;
mod dated;
mod destination;
mod docker;
mod files;
mod head_start;
mod media_types;
mod merged;
mod oci;
mod pack;
mod platforms;
mod push;

pub use assembly::{Assembly, Document};
pub use attestation::{Attestation, Statement};
pub use daemon::{DaemonAddress, DaemonError, Loaded, PlainImage, load_packed, load_plain};
pub use dated::Dated;
pub use destination::{Destination, ExportError, Replaced};
pub use docker::write_docker;
pub use files::{write_local, write_tar};
pub use head_start::HeadStart;
pub use media_types::MediaTypes;
pub use merged::Merged;
pub use oci::write_oci;
pub use pack::{Annotations, ImageBlobs, LayerSource, PackError, Packing, diff_id, layer_blob, pack};
pub use platforms::PlatformDirectories;
pub use push::{PushError, PushProgress, PushTarget, push};
