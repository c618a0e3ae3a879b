//! Archives as contexts: unpacked into a layer while they are read.
//!
//! An archive comes from a pipe or from a file that was downloaded. Nothing of it is kept but its files, with the owners, modes and times
//! that it says; a whiteout is a file like any other.

use crate::patience::Pieces;
use crate::progress::Progress;
use kiln_digest::ContentDigest;
use kiln_layer::{ApplyError, ApplyOptions, Compression, Contents, TreeError, apply, decompress, diff_digest, sniff};
use kiln_store::{LayerId, NewLayer, Store};
use std::io::{self, Read};

/// As many first bytes as [`is_archive`] wants to see.
pub const HEADER_LENGTH: usize = 512;

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It could not be read.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// It is not an archive, or not one that can be unpacked.
    #[error("failed to unpack the archive")]
    Unpack(#[source] ApplyError),
    /// What was unpacked could not be read.
    #[error("failed to read the unpacked archive")]
    Tree(#[from] TreeError),
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// Whether a file that begins so is an archive: compressed in a way that is known, or with the header of a tar.
pub fn is_archive(header: &[u8]) -> bool {
    sniff(header) != Compression::None || is_tar_header(header)
}

/// Whether bytes begin with a block that has the checksum of a tar header (POSIX.1-2017, pax, ustar Header Block).
pub fn is_tar_header(bytes: &[u8]) -> bool {
    let Some(block) = bytes.get(..512).filter(|block| block.iter().any(|&byte| byte != 0)) else { return false };
    let field = String::from_utf8_lossy(&block[148..156]);
    let digits = field.trim_matches([' ', '\0']);
    let Ok(expected) = u64::from_str_radix(digits, 8) else { return false };
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, &b)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(b) })
        .sum();
    sum == expected
}

/// Unpacks an archive into a layer. The digest says what it is, times left out.
///
/// # Errors
/// See [`ArchiveError`].
pub fn unpack(
    store: &Store,
    reader: impl Read + Send + 'static,
    item: &str,
    progress: &dyn Progress,
) -> Result<(LayerId, ContentDigest), ArchiveError> {
    let temporary = store.temp_dir()?;
    let fs = temporary.path().join("fs");
    let stop = || progress.is_cancelled();
    // A decoder wants to own what it reads, and nobody can wake a read from a pipe.
    let stream = decompress(reader).map_err(ArchiveError::Read)?;
    let stream = Told { inner: Pieces::of(stream, &stop), count: 0, item, progress };
    let options = ApplyOptions { contents: Contents::Files, ..ApplyOptions::default() };
    let applied = match apply(stream, &fs, &options) {
        Err(_) if progress.is_cancelled() => return Err(ArchiveError::Cancelled),
        applied => applied.map_err(ArchiveError::Unpack)?,
    };
    progress.bytes(item, applied.size, Some(applied.size), true);
    let diff = diff_digest(&fs)?;
    let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
    Ok((store.commit_layer(&fs, new)?.id, diff.digest))
}

/// Tells of what is read.
struct Told<'a, R> {
    inner: R,
    count: u64,
    item: &'a str,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        self.progress.bytes(self.item, self.count, None, false);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tar_headers_have_the_checksum() {
        let mut header = [0_u8; 512];
        header[..4].copy_from_slice(b"name");
        let sum: u64 = header.iter().map(|&b| u64::from(b)).sum::<u64>() + 8 * u64::from(b' ');
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(is_tar_header(&header) && is_archive(&header));
        header[0] = b'm';
        assert!(!is_tar_header(&header) && !is_archive(&header));
        assert!(!is_tar_header(&[0; 512]) && !is_tar_header(b"short"));
        assert!(is_archive(&[0x1f, 0x8b, 8, 0]));
        assert!(!is_archive(b"FROM scratch\n") && !is_archive(b""));
    }
}
