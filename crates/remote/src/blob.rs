//! Blobs by what they are, and readers that hand out nothing else.

use crate::error::RemoteError;
use kiln_digest::{Digest, DigestReader};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::Path;

/// A blob by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobRef {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

impl BlobRef {
    /// What `bytes` are as a blob.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { digest: Digest::of_bytes(bytes), size: bytes.len() as u64 }
    }
}

/// Where the bytes of a blob are that is to be written.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// In a file, from its first byte to its last.
    File(&'a Path),
}

/// What writing a blob came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was sent.
    New,
    /// It was there.
    Present,
}

/// Passes a blob on, and its last byte only when all of them are the right ones.
pub(crate) struct Verified<R> {
    /// Nothing once it has been read to its end or has failed.
    inner: Option<DigestReader<R>>,
    blob: BlobRef,
    left: u64,
    failed: bool,
    /// Where the blob is, for messages.
    place: String,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, blob: BlobRef, place: String) -> Self {
        Self { inner: Some(DigestReader::new(inner)), blob, left: blob.size, failed: false, place }
    }

    /// Whether the bytes turned out to be others, or too few.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.failed
    }

    fn corrupt(&mut self) -> io::Error {
        self.failed = true;
        let error = RemoteError::Corrupt { place: self.place.clone(), blob: self.blob };
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// Whether all bytes that there should be are the right ones.
    fn finish(&mut self) -> io::Result<()> {
        let Some(reader) = self.inner.take() else { return Ok(()) };
        let (_, digest, _) = reader.finish();
        if digest == self.blob.digest { Ok(()) } else { Err(self.corrupt()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(self.corrupt());
        }
        if self.left == 0 {
            self.finish()?;
            return Ok(0);
        }
        let Some(inner) = &mut self.inner else { return Ok(0) };
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let read = inner.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(self.corrupt());
        }
        self.left -= read as u64;
        if self.left == 0 {
            self.finish()?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], blob: BlobRef) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        Verified::new(bytes, blob, "here".to_owned()).read_to_end(&mut read).map(|_| read)
    }

    #[test]
    fn only_the_right_bytes_come_out() {
        let blob = BlobRef::of_bytes(b"kiln");
        assert_eq!(read(b"kiln", blob).unwrap(), b"kiln");
        assert_eq!(read(b"kiln and more", blob).unwrap(), b"kiln");
        assert_eq!(read(b"", BlobRef::of_bytes(b"")).unwrap(), b"");
        for wrong in [&b"kilm"[..], b"kil", b""] {
            assert_eq!(read(wrong, blob).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let empty = BlobRef { size: 0, ..blob };
        assert!(read(b"kiln", empty).is_err());
    }

    #[test]
    fn the_last_byte_waits_for_the_verdict() {
        let blob = BlobRef::of_bytes(b"kiln");
        let mut reader = Verified::new(&b"kilm"[..], blob, "here".to_owned());
        let mut exactly = [0; 4];
        assert!(reader.read_exact(&mut exactly).is_err());
        assert!(reader.read(&mut exactly).is_err(), "a reader that failed stays failed");
    }
}
