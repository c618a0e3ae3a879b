//! What the tests of cache mounts share: a place for blobs in memory, and contents.

use crate::blob::{BlobRef, Content, Sent};
use crate::error::RemoteError;
use crate::transport::Blobs;
use kiln_digest::Digest;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;

/// Blobs in memory, and how many were read and written.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    pub(crate) reads: Mutex<Vec<Digest>>,
}

impl Blobs for Memory {
    fn keep(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        Ok(self.blobs.lock().unwrap().contains_key(&blob.digest))
    }

    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
        self.reads.lock().unwrap().push(blob.digest);
        let bytes = self.blobs.lock().unwrap().get(&blob.digest).cloned();
        let bytes = bytes.ok_or(RemoteError::Missing { place: "memory".to_owned(), digest: blob.digest })?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn write(&self, blob: &BlobRef, content: Content<'_>) -> Result<Sent, RemoteError> {
        let Content::Bytes(bytes) = content else { panic!("packs are made in memory") };
        assert_eq!(*blob, BlobRef::of_bytes(bytes));
        let new = self.blobs.lock().unwrap().insert(blob.digest, bytes.to_vec()).is_none();
        Ok(if new { Sent::New } else { Sent::Present })
    }
}

/// Bytes that don't compress, the same for the same seed.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
