//! Waiting for the network in a way that can be given up.
//!
//! A read from the network may take a minute to fail, and nothing can wake it. So servers are asked on threads of their own, which
//! are left behind when somebody says stop; they hold a connection and nothing of the store's, and end by themselves.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How often somebody who waits looks whether to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// Bytes that are read at a time, and how many such pieces ahead of who wants them.
const PIECE: usize = 256 * 1024;
const AHEAD: usize = 2;

/// Whether to stop.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Somebody said stop.
#[derive(Debug, thiserror::Error)]
#[error("cancelled")]
pub(crate) struct Stopped;

/// Does something on another thread, and does not wait for its end when told to stop.
pub(crate) fn unless<T: Send + 'static>(
    stop: Stop<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    let (sender, result) = sync_channel(1);
    let worker = thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    });
    loop {
        match result.recv_timeout(LOOK) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) if stop() => return Err(Stopped),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Err(Stopped),
            },
        }
    }
}

/// What another thread reads ahead, as a reader. Once `stop` is true, reading fails with [`Stopped`].
pub(crate) struct Pieces<'a> {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    stop: Stop<'a>,
}

impl<'a> Pieces<'a> {
    /// Reads on another thread until the end, an error, or until nobody wants more.
    pub(crate) fn of(mut reader: impl Read + Send + 'static, stop: Stop<'a>) -> Self {
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
        Self { pieces, piece: Vec::new(), at: 0, stop }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv_timeout(LOOK) {
                // An empty piece is the end.
                Ok(Ok(piece)) if piece.is_empty() => return Ok(0),
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(RecvTimeoutError::Timeout) if !(self.stop)() => {}
                Err(_) => return Err(io::Error::other(Stopped)),
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
        assert!(matches!(outcome, Err(Stopped)));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_panic_is_passed_on() {
        let caught = std::panic::catch_unwind(|| unless(&|| false, || panic!("in the worker")));
        assert!(caught.is_err());
    }
}
