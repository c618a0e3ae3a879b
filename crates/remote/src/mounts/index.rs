//! The document that a cache mount begins with: where its listing is, and which packs hold its files.
//!
//! ```json
//! {"version":1,"files":4000,"size":90000000,
//!  "listing":[{"id":"…","size":65536}],
//!  "listing_packs":[{"digest":"sha256:…","size":123}],
//!  "packs":[{"digest":"sha256:…","size":123456}]}
//! ```

use super::chunk::{Chunk, MAX_CHUNK};
use super::listing::MAX_LISTING;
use super::pack;
use crate::blob::BlobRef;
use crate::error::{RemoteError, is_broken_read};
use crate::transport::Blobs;
use serde::{Deserialize, Serialize};
use std::io::Read;

const VERSION: u32 = 1;
/// Most bytes of an index that are read: enough for 100,000 packs.
const MAX_INDEX: u64 = 16 << 20;
const MAX_PACKS: usize = 100_000;

/// A cache mount, but for its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    /// How many files, directories and links there are.
    pub(crate) files: u64,
    /// The bytes of all files.
    pub(crate) size: u64,
    /// The chunks of the listing, in order.
    pub(crate) listing: Vec<Chunk>,
    /// The packs that hold these.
    pub(crate) listing_packs: Vec<BlobRef>,
    /// The packs that hold the chunks of the files.
    pub(crate) packs: Vec<BlobRef>,
}

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It cannot be fetched.
    #[error(transparent)]
    Remote(#[from] Box<RemoteError>),
    /// Its bytes cannot be read.
    #[error("failed to read it")]
    Read(#[from] std::io::Error),
    /// It is not JSON, or of another form.
    #[error("malformed document")]
    Json(#[from] serde_json::Error),
    /// It was made by a newer or a much older kiln.
    #[error("it is of version {0}, and this kiln reads version {VERSION}")]
    Version(u32),
    /// It is larger, or names more, than that of any cache mount.
    #[error("it goes beyond what an index may hold")]
    Bounds,
}

impl IndexError {
    /// Whether asking again gives the same.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Remote(error) => error.is_broken(),
            Self::Read(error) => is_broken_read(error),
            Self::Json(_) | Self::Version(_) | Self::Bounds => true,
        }
    }
}

impl Index {
    pub(crate) fn new(
        (files, size): (u64, u64),
        listing: Vec<Chunk>,
        listing_packs: Vec<BlobRef>,
        packs: Vec<BlobRef>,
    ) -> Self {
        Self { version: VERSION, files, size, listing, listing_packs, packs }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index is plain data")
    }

    pub(crate) fn fetch(blobs: &dyn Blobs, blob: &BlobRef) -> Result<Self, IndexError> {
        if blob.size > MAX_INDEX {
            return Err(IndexError::Bounds);
        }
        let mut bytes = Vec::new();
        blobs.read(blob).map_err(Box::new)?.take(MAX_INDEX + 1).read_to_end(&mut bytes)?;
        Self::decode(&bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(IndexError::Version(version));
        }
        let index: Self = serde_json::from_slice(bytes)?;
        let listing: u64 = index.listing.iter().map(|chunk| u64::from(chunk.size)).sum();
        let chunks = index.listing.iter().all(|chunk| (1..=MAX_CHUNK).contains(&(chunk.size as usize)));
        let packs = index.listing_packs.iter().chain(&index.packs);
        let bounded =
            index.packs.len() + index.listing_packs.len() <= MAX_PACKS && packs.clone().all(pack::is_plausible);
        if listing <= MAX_LISTING && chunks && bounded { Ok(index) } else { Err(IndexError::Bounds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_and_is_bounded() {
        let (chunk, blob) = (Chunk::of(b"kiln"), BlobRef::of_bytes(b"kiln"));
        let index = Index::new((1, 2), vec![chunk], vec![blob], vec![blob, blob]);
        assert_eq!(Index::decode(&index.encode()).unwrap(), index);
        let newer = Index { version: 2, ..index.clone() };
        assert!(matches!(Index::decode(&newer.encode()), Err(IndexError::Version(2))));
        assert!(matches!(Index::decode(b"{}"), Err(IndexError::Json(_))));
        let bad = [
            Index { listing: vec![Chunk { size: 0, ..chunk }], ..index.clone() },
            Index { listing: vec![Chunk { size: MAX_CHUNK as u32, ..chunk }; 513], ..index.clone() },
            Index { packs: vec![BlobRef { size: 1 << 40, ..blob }], ..index.clone() },
        ];
        for index in bad {
            assert!(matches!(Index::decode(&index.encode()), Err(IndexError::Bounds)), "{index:?}");
        }
    }
}
