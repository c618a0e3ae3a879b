//! Where manifests and blobs of an image come from: a registry or a layout, behind one type.
//!
//! A read from the network may take a minute to fail, and nothing can wake it. So a registry is asked on threads of their own,
//! which are left behind when somebody says stop; they hold a connection and nothing of the store's, and end by themselves.

use super::layout::{Layout, LayoutError};
use kiln_digest::Digest;
use kiln_registry::{BlobReader, Client, Reference, RegistryError};
use oci_spec::image::Descriptor;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How often somebody who waits for the network looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of a blob that are read at a time, and how many such pieces ahead of who wants them.
const PIECE: usize = 256 * 1024;
const AHEAD: usize = 2;

/// Whether to stop.
pub(super) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

/// Where blobs come from. Whoever reads verifies.
pub(super) enum Origin {
    Registry(Client, Reference),
    Layout(Layout),
}

impl Origin {
    /// The manifest or index that a reference means, or that has a digest.
    pub(super) fn manifest(&self, digest: Option<Digest>, stop: Stop<'_>) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::Registry(client, reference) => {
                let reference = digest.map_or_else(|| reference.clone(), |digest| reference.with_digest(digest));
                let client = client.clone();
                Ok(unless(stop, move || client.manifest(&reference))??.bytes)
            }
            Self::Layout(layout) => Ok(match digest {
                Some(digest) => layout.read(&digest)?,
                None => layout.manifest()?,
            }),
        }
    }

    /// The bytes of a blob.
    pub(super) fn blob<'a>(
        &self,
        descriptor: &Descriptor,
        digest: &Digest,
        stop: Stop<'a>,
    ) -> Result<Box<dyn Read + Send + 'a>, FetchError> {
        match self {
            Self::Registry(client, reference) => {
                let (client, repository) = (client.clone(), reference.repository().clone());
                let descriptor = descriptor.clone();
                let reader = unless(stop, move || client.blob(&repository, &descriptor))??;
                Ok(Box::new(Pieces { pieces: read_ahead(reader), piece: Vec::new(), at: 0, stop }))
            }
            Self::Layout(layout) => Ok(Box::new(layout.open(digest)?)),
        }
    }
}

/// Does something on another thread, and does not wait for its end when told to stop.
fn unless<T: Send + 'static>(stop: Stop<'_>, work: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    let (sender, result) = sync_channel(1);
    let worker = thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    });
    loop {
        match result.recv_timeout(LOOK) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) if stop() => return Err(FetchError::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Err(FetchError::Cancelled),
            },
        }
    }
}

/// Reads a blob on another thread until its end, an error, or until nobody wants more. An empty piece is the end.
fn read_ahead(mut reader: BlobReader) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, pieces) = sync_channel(AHEAD);
    thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = match reader.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let last = !matches!(read, Ok(1..));
            let piece = read.map(|read| {
                piece.truncate(read);
                piece
            });
            if sender.send(piece).is_err() || last {
                return;
            }
        }
    });
    pieces
}

/// What [`read_ahead`] reads, as a reader.
struct Pieces<'a> {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    stop: Stop<'a>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv_timeout(LOOK) {
                Ok(Ok(piece)) if piece.is_empty() => return Ok(0),
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(RecvTimeoutError::Timeout) if !(self.stop)() => {}
                Err(_) => return Err(io::Error::other(FetchError::Cancelled)),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    #[test]
    fn nobody_waits_for_work_that_is_not_wanted() {
        assert_eq!(unless(&|| false, || 7).unwrap(), 7);
        let started = Instant::now();
        let stopped = AtomicBool::new(false);
        let stop = || stopped.swap(true, Ordering::SeqCst);
        let outcome = unless(&stop, || thread::sleep(Duration::from_secs(20)));
        assert!(matches!(outcome, Err(FetchError::Cancelled)));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_panic_is_passed_on() {
        let caught = std::panic::catch_unwind(|| unless(&|| false, || panic!("in the worker")));
        assert!(caught.is_err());
    }
}
