//! The digests that kiln speaks of, each a type of its own.
//!
//! - [`Digest`]: `sha256:HEX`, the name of bytes in the OCI world (blobs, diff ids, manifests).
//! - [`ContentDigest`]: what something *is* (files of a tree, a filesystem change), made by kiln for itself.
//! - [`CacheKey`]: what an operation on given contents yields, in any run.
//! - [`DefinitionDigest`]: the same vertex in the same run.
//!
//! The last three are BLAKE3 and never leave kiln's store and caches; [`Hasher`] frames each field with its length, so that no
//! two different sequences of fields give the same input.

mod internal;
mod oci;

pub use internal::{CacheKey, ContentDigest, DefinitionDigest, Hasher, ParseInternalDigestError};
pub use oci::{Digest, DigestReader, DigestWriter, ParseDigestError};
