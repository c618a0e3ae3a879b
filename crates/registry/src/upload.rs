//! What is pushed: bytes in memory or a file, read from any place as often as it takes, and watched while it is sent.

use kiln_digest::{Digest, DigestWriter};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file, from its first byte to its last.
    File(PathBuf),
}

/// A blob to push.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is read.
    pub source: BlobSource,
    /// Repositories of the same registry that are likely to have it (`library/debian`), the likeliest first.
    pub mount_from: Vec<String>,
    /// Who wants to know how it goes, and who may stop it.
    pub watch: Watch,
}

/// A blob's progress, shared between who sends it and who looks on.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// A watch that shares its stop flag with others.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Self { sent: Arc::default(), stop }
    }

    /// How many bytes were handed to the network. Falls when some have to be sent again.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, sent: u64) {
        self.sent.store(sent, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Upload {
    /// A small blob that is in memory.
    pub fn of_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::of_bytes(&bytes),
            size: bytes.len() as u64,
            source: BlobSource::Bytes(bytes),
            mount_from: Vec::new(),
            watch: Watch::default(),
        }
    }

    /// A part of it, as a request carries it.
    pub(crate) fn part(&self, from: u64, to: u64) -> Part {
        Part { source: self.source.clone(), from, to, watch: self.watch.clone() }
    }

    /// What the digest of the bytes really is.
    pub(crate) fn actual(&self) -> io::Result<Digest> {
        let mut writer = DigestWriter::new(io::sink());
        io::copy(&mut self.part(0, self.size).open()?, &mut writer)?;
        Ok(writer.finish().1)
    }
}

/// The bytes `from..to` of a blob.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    source: BlobSource,
    from: u64,
    to: u64,
    watch: Watch,
}

impl Part {
    pub(crate) fn length(&self) -> u64 {
        self.to - self.from
    }

    pub(crate) fn open(&self) -> io::Result<PartReader> {
        let source: Box<dyn Read + Send> = match &self.source {
            BlobSource::Bytes(bytes) => {
                let mut bytes = io::Cursor::new(bytes.clone());
                bytes.set_position(self.from);
                Box::new(bytes)
            }
            BlobSource::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(self.from))?;
                Box::new(file)
            }
        };
        Ok(PartReader { source: source.take(self.length()), at: self.from, watch: self.watch.clone() })
    }
}

/// Reads a part, and notes how far it has come.
pub(crate) struct PartReader {
    source: io::Take<Box<dyn Read + Send>>,
    at: u64,
    watch: Watch,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.is_stopped() {
            return Err(io::Error::other("cancelled"));
        }
        let read = self.source.read(buffer)?;
        self.at += read as u64;
        self.watch.set(self.at);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_from_anywhere_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        std::fs::write(&path, b"0123456789").unwrap();
        let bytes = Upload::of_bytes(*b"0123456789");
        let file = Upload { source: BlobSource::File(path), ..bytes.clone() };
        for upload in [bytes, file] {
            for (from, to, expected) in [(0, 10, "0123456789"), (3, 5, "34"), (10, 10, ""), (9, 10, "9")] {
                for _ in 0..2 {
                    let mut text = String::new();
                    let part = upload.part(from, to);
                    part.open().unwrap().read_to_string(&mut text).unwrap();
                    assert_eq!((text.as_str(), part.length()), (expected, to - from));
                }
            }
            assert_eq!(upload.watch.sent(), 10);
            assert_eq!(upload.actual().unwrap(), upload.digest);
        }
    }

    #[test]
    fn reading_stops_when_told() {
        let stop = Arc::new(AtomicBool::new(false));
        let upload = Upload { watch: Watch::stopped_by(stop.clone()), ..Upload::of_bytes(*b"abc") };
        let mut reader = upload.part(0, 3).open().unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 1);
        stop.store(true, Ordering::Relaxed);
        assert!(reader.read(&mut [0]).is_err());
    }
}
