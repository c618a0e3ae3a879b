//! The tar format (POSIX.1-2017 `pax`, section "ustar Interchange Format", and the GNU tar manual, "Basic Tar Format"), as far as
//! layers have it: [`read`] takes what any tool writes, [`write`] gives one canonical form. Whiteouts, paths that
//! leave the root and all else that a layer means by its members is for the callers.
//!
//! The reader is kiln's own because a layer is untrusted: headers, extended records and sparse maps are bounded, the size that
//! says where the next header starts has one source, and nothing is taken into memory that the stream merely claims.

pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod sparse;
pub(crate) mod write;

use crate::at::Xattr;
use crate::tree::Time;

/// The unit in which tar counts.
pub(crate) const BLOCK: usize = 512;

/// One member of an archive, after all its extension headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The name as written, without a NUL byte.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// All mode bits below the file type.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// The logical size of a file; a sparse one has less data in the archive.
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<Xattr>,
    /// The pieces of a sparse file that have data.
    pub(crate) sparse: Option<Vec<sparse::Piece>>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A header that no tar writes: a wrong checksum, or a field that is no number.
    #[error("invalid tar header at byte {offset}: {reason}")]
    Header {
        /// Where the header starts in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A type of member that has no meaning in a layer.
    #[error("unsupported type `{kind}` of tar member at byte {offset}", kind = char::from(*.kind).escape_default())]
    Kind {
        /// Where the header starts in the uncompressed stream.
        offset: u64,
        /// The type flag.
        kind: u8,
    },
    /// The stream ended in the middle of a header or of a member's data.
    #[error("the tar stream ends early, after {offset} bytes")]
    Truncated {
        /// The length of the stream.
        offset: u64,
    },
    /// Extension headers larger than any real one.
    #[error("the extended header at byte {offset} is larger than {limit} bytes")]
    TooLarge {
        /// Where the header starts in the uncompressed stream.
        offset: u64,
        /// The limit in force.
        limit: u64,
    },
    /// The stream went on past the limit that the caller set.
    #[error("the tar stream is larger than {limit} bytes")]
    TooLong {
        /// The limit in force.
        limit: u64,
    },
    /// The stream could not be read or decompressed.
    #[error("failed to read the tar stream after {offset} bytes")]
    Read {
        /// How many bytes could be read.
        offset: u64,
        /// The reader's reason.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
