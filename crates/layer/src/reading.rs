//! Reading regular files from start to end, which is most of what this crate does: no call more than needed, one buffer a thread,
//! and a flag that ends it.

use crate::at::{self, Xattr};
use crate::tree::TreeError;
use kiln_digest::ContentDigest;
use rustix::fd::AsFd;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a regular file holds besides its [`crate::Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// The digest of its bytes.
    pub digest: ContentDigest,
    /// Its extended attributes, as [`crate::Tree::xattrs`] gives them.
    pub xattrs: Vec<Xattr>,
}

/// An open regular file, read until it ends or a flag is set.
#[derive(Debug)]
pub struct FileReader<'a> {
    file: File,
    /// The size that the file had when it was looked at.
    expected: u64,
    read: u64,
    at_end: bool,
    stop: &'a AtomicBool,
}

impl<'a> FileReader<'a> {
    /// Reads `file`, which had `expected` bytes. Once `stop` is true, reading fails.
    pub fn new(file: File, expected: u64, stop: &'a AtomicBool) -> Self {
        Self { file, expected, read: 0, at_end: false, stop }
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at_end || buffer.is_empty() {
            return Ok(0);
        }
        check(self.stop)?;
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        // A read that ends where the file was said to end, and did not fill the buffer, has met the end. Of a small file that
        // spares the second of two calls.
        self.at_end = read == 0 || (read < buffer.len() && self.read == self.expected);
        Ok(read)
    }
}

/// Fails once `stop` is true. Whoever set it knows why, so the error says little.
pub(crate) fn check(stop: &AtomicBool) -> io::Result<()> {
    // Not `Interrupted`, which would be tried again.
    if stop.load(Ordering::Relaxed) { Err(io::Error::other("stopped")) } else { Ok(()) }
}

/// Large enough that the system calls don't show and for the hash's widest instructions, small enough to stay in the
/// processor's cache between read, hash and write.
const BUFFER: usize = 128 * 1024;

thread_local! {
    /// One buffer a thread: 30,000 small files would otherwise map and unmap one each.
    static BUFFERS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with the thread's buffer.
pub(crate) fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    // Taken, not borrowed, because a reader might itself be one that reads files.
    let mut buffer = BUFFERS.take();
    buffer.resize(BUFFER, 0);
    let result = work(&mut buffer);
    BUFFERS.set(buffer);
    result
}

/// The digest of all that a reader yields.
pub(crate) fn hash(mut reader: impl Read) -> io::Result<ContentDigest> {
    with_buffer(|buffer| {
        let mut hasher = blake3::Hasher::new();
        loop {
            match reader.read(buffer) {
                Ok(0) => return Ok(ContentDigest::from_bytes(*hasher.finalize().as_bytes())),
                Ok(read) => drop(hasher.update(&buffer[..read])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })
}

/// What an open file of `size` bytes holds; `path` is what messages call it.
pub(crate) fn file_content(file: File, path: &Path, size: u64, stop: &AtomicBool) -> Result<FileContent, TreeError> {
    let xattrs = at::xattrs_of_fd(file.as_fd()).map_err(|e| TreeError::io("read the attributes of", path, e))?;
    let digest = hash(FileReader::new(file, size, stop)).map_err(|e| TreeError::io("read", path, e))?;
    Ok(FileContent { digest, xattrs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_read_to_its_end_whatever_size_it_was_said_to_have() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..BUFFER * 2 + 7).map(|n| (n % 251) as u8).collect();
        let stop = AtomicBool::new(false);
        for size in [0, 1, 7, BUFFER - 1, BUFFER, BUFFER + 1, bytes.len()] {
            file.as_file().set_len(0).unwrap();
            file.reopen().unwrap().write_all(&bytes[..size]).unwrap();
            for expected in [0, size as u64, size as u64 + 1, u64::MAX] {
                let digest = hash(FileReader::new(file.reopen().unwrap(), expected, &stop)).unwrap();
                assert_eq!(digest, ContentDigest::of_bytes(&bytes[..size]), "{size} {expected}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(hash(FileReader::new(file.reopen().unwrap(), 1, &stop)).is_err());
        file.flush().unwrap();
    }
}
