//! Chunks into packs, and packs to where they belong: one thread brings chunks, others compress and send.
//!
//! Memory holds the pack that is being filled, one that waits, and one for each sending thread.

use super::chunk::Chunk;
use super::export::ExportError;
use super::memo::{KnownPack, PackContent};
use super::pack::PackBuilder;
use crate::blob::{BlobRef, Content, Sent};
use crate::parallel;
use crate::transport::Blobs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A pack that is at its place.
pub(crate) struct SentPack {
    pub(crate) pack: KnownPack,
    pub(crate) sent: Sent,
}

/// Where chunks go.
pub(crate) struct Packing<'a> {
    content: PackContent,
    builder: PackBuilder,
    /// The number of the pack that is being filled.
    number: usize,
    full: SyncSender<Full>,
    halted: &'a AtomicBool,
    stop: &'a AtomicBool,
}

struct Full {
    number: usize,
    content: PackContent,
    builder: PackBuilder,
}

impl Packing<'_> {
    /// Adds a chunk to the pack that is being filled.
    pub(crate) fn add(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<(), ExportError> {
        if self.stop.load(Ordering::Relaxed) || self.halted.load(Ordering::Relaxed) {
            return Err(ExportError::Cancelled);
        }
        if self.builder.add(chunk, bytes) { self.end_pack() } else { Ok(()) }
    }

    /// Ends the pack that is being filled; what follows is parts of `content`.
    pub(crate) fn turn_to(&mut self, content: PackContent) -> Result<(), ExportError> {
        self.end_pack()?;
        self.content = content;
        Ok(())
    }

    fn end_pack(&mut self) -> Result<(), ExportError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let builder = std::mem::take(&mut self.builder);
        let full = Full { number: self.number, content: self.content, builder };
        self.number += 1;
        // Nobody receives only when all senders have failed.
        self.full.send(full).map_err(|_| ExportError::Cancelled)
    }
}

/// Sends what `work` packs, and gives what it returns and the packs in the order in which they were begun.
///
/// # Errors
/// Those of sending, or else those of `work`.
pub(crate) fn send_packs<T>(
    blobs: &dyn Blobs,
    stop: &AtomicBool,
    work: impl FnOnce(&mut Packing<'_>) -> Result<T, ExportError>,
) -> Result<(T, Vec<SentPack>), ExportError> {
    let halted = AtomicBool::new(false);
    thread::scope(|scope| {
        let (full, packs) = sync_channel(1);
        let packs = Mutex::new(packs);
        // Moved into the threads, so that the channel closes when the last of them ends.
        let packs = std::sync::Arc::new(packs);
        let senders: Vec<_> = (0..parallel::cores())
            .map(|_| {
                let (packs, halted) = (std::sync::Arc::clone(&packs), &halted);
                scope.spawn(move || {
                    let sent = send_all(&packs, blobs, stop);
                    if sent.is_err() {
                        halted.store(true, Ordering::Relaxed);
                    }
                    sent
                })
            })
            .collect();
        drop(packs);
        let builder = PackBuilder::default();
        let mut packing = Packing { content: PackContent::Files, builder, number: 0, full, halted: &halted, stop };
        let result = work(&mut packing).and_then(|value| packing.end_pack().map(|()| value));
        drop(packing);
        let mut sent = Vec::new();
        let mut failure = None;
        for sender in senders {
            match sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(packs) => sent.extend(packs),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        sent.sort_unstable_by_key(|(number, _)| *number);
        Ok((result?, sent.into_iter().map(|(_, pack)| pack).collect()))
    })
}

fn send_all(
    packs: &Mutex<Receiver<Full>>,
    blobs: &dyn Blobs,
    stop: &AtomicBool,
) -> Result<Vec<(usize, SentPack)>, ExportError> {
    let mut done = Vec::new();
    loop {
        let next = packs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Full { number, content, builder }) = next else { return Ok(done) };
        if stop.load(Ordering::Relaxed) {
            return Err(ExportError::Cancelled);
        }
        let (chunks, bytes) = builder.encode().map_err(ExportError::Pack)?;
        let blob = BlobRef::of_bytes(&bytes);
        let sent = blobs.write(&blob, Content::Bytes(&bytes))?;
        done.push((number, SentPack { pack: KnownPack { blob, content, chunks, on_hearsay: false }, sent }));
    }
}
