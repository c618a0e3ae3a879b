//! What an image is made of: the packages that its files say are installed, as an SPDX document (SPDX 2.3).
//!
//! [`scan`] reads the databases that package managers leave in a root filesystem (dpkg, apk, rpm), and what Go's linker writes into
//! every program; [`document`] puts it into words. Nothing is executed and nothing is asked for over a network: what no database
//! knows is not found.
//!
//! The files are untrusted. A database that cannot be read is named in [`Inventory::unread`] and does not keep others from being
//! read; sizes and counts are bounded ([`MAX_DATABASE`], [`MAX_PACKAGES`]); no link leads out of the tree.

mod apk;
mod control;
mod dpkg;
mod go;
mod package;
mod purl;
mod release;
mod rpm;
mod scan;
mod spdx;

pub use package::{Ecosystem, Package};
pub use release::Release;
pub use scan::{Inventory, ScanError, Unread, scan};
pub use spdx::{Subject, document};

/// No database that is larger than this many bytes is read.
pub const MAX_DATABASE: u64 = 256 << 20;

/// So many packages are told of at most.
pub const MAX_PACKAGES: usize = 100_000;
