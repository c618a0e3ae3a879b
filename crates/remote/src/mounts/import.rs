//! A cache mount from where a cache's blobs are.
//!
//! First the index, then the listing, which is decoded and checked as a whole before anything is made; then all packs, several at once,
//! each fetched, decompressed and written in one stream. Nothing is trusted: see [`super::listing`], [`super::pack`] and
//! [`super::unpack`].

use super::chunk::Chunk;
use super::go::BuildCaches;
use super::index::{Index, IndexError};
use super::listing::{self, Item, ListingError, What};
use super::memo::{KnownPack, Memo, MemoWriter, PackContent};
use super::pack::{Allowance, PackError, PackReader};
use super::unpack::{UnpackError, Unpacking};
use super::walk::walk;
use crate::blob::BlobRef;
use crate::parallel;
use crate::transport::Blobs;
use kiln_digest::ContentDigest;
use kiln_layer::{Directory, TreeError};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A cache mount that is here.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What to keep for exports of this mount to the place that it came from.
    pub memo: Memo,
    /// Files, directories and links.
    pub files: u64,
    /// The bytes of all files.
    pub size: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
}

/// Why a cache mount could not be imported. What was made by then is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The index.
    #[error("failed to read index `{}`", index.digest)]
    Index {
        /// Which.
        index: BlobRef,
        /// What is wrong with it.
        source: IndexError,
    },
    /// The listing.
    #[error("the listing of index `{}` cannot be used", index.digest)]
    Listing {
        /// Which.
        index: BlobRef,
        /// What is wrong with it.
        source: ListingError,
    },
    /// A pack.
    #[error("failed to read pack `{}`", pack.digest)]
    Pack {
        /// Which.
        pack: BlobRef,
        /// What is wrong with it.
        source: PackError,
    },
    /// It has more bytes than whoever imports wants, or than there is room for.
    #[error("it has {size} bytes, and there is room for {room}")]
    TooLarge {
        /// What its index says.
        size: u64,
        /// What it may have.
        room: u64,
    },
    /// No pack has a chunk that is needed.
    #[error("no pack of index `{}` has chunk {chunk}", index.digest)]
    Missing {
        /// Which index.
        index: BlobRef,
        /// What is missing.
        chunk: ContentDigest,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// What was written cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

impl ImportError {
    /// The blob that does not hold what it should, or is not there. Nothing if it only could not be read for now.
    pub fn broken(&self) -> Option<&BlobRef> {
        match self {
            Self::Index { index, source } => Some(index).filter(|_| source.is_broken()),
            Self::Pack { pack, source } => Some(pack).filter(|_| source.is_broken()),
            Self::Listing { index, .. } | Self::Missing { index, .. } => Some(index),
            Self::TooLarge { .. } | Self::Unpack(_) | Self::Tree(_) | Self::Cancelled => None,
        }
    }
}

/// So many packs are on their way at once: two for each core, because some of them wait for the network.
fn fetches() -> usize {
    (parallel::cores() * 2).min(8)
}

/// Imports a cache mount of at most `most` bytes into the directory `into`, which is empty and in which nobody else works; its own owner,
/// mode and times are left alone.
///
/// # Errors
/// [`ImportError`]. The caller then removes what is in `into`.
pub fn import_mount(
    index: &BlobRef,
    into: &Path,
    most: u64,
    blobs: &dyn Blobs,
    stop: &AtomicBool,
) -> Result<Imported, ImportError> {
    let packs = Index::fetch(blobs, index).map_err(|source| ImportError::Index { index: *index, source })?;
    let room = room(into).min(most);
    if packs.size > room {
        return Err(ImportError::TooLarge { size: packs.size, room });
    }
    let allowance = Allowance::of(packs.size);
    let mut fetching = Fetching { index: *index, blobs, stop, allowance, known: Mutex::default() };
    let items = fetching.listing(&packs)?;
    let directories = items.iter().filter(|item| item.what == What::Directory).map(|item| item.path.as_path());
    let go = BuildCaches::find(directories);
    let unpacking = Unpacking::start(into, &items, &go)?;
    fetching.packs(
        &packs.packs,
        PackContent::Files,
        |chunk| unpacking.wants(chunk),
        || {
            let mut writer = unpacking.writer();
            move |chunk, bytes: &[u8]| Ok(writer.write(chunk, bytes)?)
        },
    )?;
    fetching.require(unpacking.missing())?;
    unpacking.finish()?;
    let known = std::mem::take(&mut fetching.known).into_inner().unwrap_or_else(PoisonError::into_inner);
    let fetched = index.size + known.iter().map(|pack| pack.blob.size).sum::<u64>();
    let (files, size) = (items.len() as u64, items.iter().map(Item::size).sum());
    Ok(Imported { memo: remember(into, items, known, stop)?, files, size, fetched })
}

/// The bytes that a disk has left.
fn room(directory: &Path) -> u64 {
    // Who cannot be told finds out by writing.
    rustix::fs::statvfs(directory).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

struct Fetching<'a> {
    index: BlobRef,
    blobs: &'a dyn Blobs,
    stop: &'a AtomicBool,
    allowance: Allowance,
    /// The packs that were read.
    known: Mutex<Vec<KnownPack>>,
}

impl Fetching<'_> {
    /// The listing, checked.
    fn listing(&self, index: &Index) -> Result<Vec<Item>, ImportError> {
        let mut places: HashMap<ContentDigest, Vec<usize>> = HashMap::new();
        let mut size = 0;
        for chunk in &index.listing {
            places.entry(chunk.id).or_default().push(size);
            size += chunk.size as usize;
        }
        let sizes: HashMap<ContentDigest, u32> = index.listing.iter().map(|chunk| (chunk.id, chunk.size)).collect();
        let filled = Mutex::new((vec![0; size], places));
        let wanted = |chunk: &Chunk| sizes.get(&chunk.id) == Some(&chunk.size);
        self.packs(&index.listing_packs, PackContent::Listing, wanted, || {
            |chunk: Chunk, bytes: &[u8]| {
                let (listing, places) = &mut *filled.lock().unwrap_or_else(PoisonError::into_inner);
                for at in places.remove(&chunk.id).unwrap_or_default() {
                    if let Some(place) = listing.get_mut(at..at + bytes.len()) {
                        place.copy_from_slice(bytes);
                    }
                }
                Ok(())
            }
        })?;
        let (listing, places) = filled.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.require(places.into_keys().next())?;
        let unusable = |source| ImportError::Listing { index: self.index, source };
        let items = listing::decode(&listing).map_err(unusable)?;
        let size: u64 = items.iter().map(Item::size).sum();
        if (items.len() as u64, size) != (index.files, index.size) {
            return Err(unusable(ListingError::Sum));
        }
        Ok(items)
    }

    /// Fetches packs, and gives the chunks that are wanted to sinks, of which each thread makes one.
    fn packs<S: FnMut(Chunk, &[u8]) -> Result<(), ImportError>>(
        &self,
        packs: &[BlobRef],
        content: PackContent,
        wanted: impl Fn(&Chunk) -> bool + Sync,
        sink: impl Fn() -> S + Sync,
    ) -> Result<(), ImportError> {
        let wanted = &wanted;
        parallel::each(packs, fetches(), self.stop, || {
            let mut sink = sink();
            move |_, blob: &BlobRef| {
                let failed = |source| ImportError::Pack { pack: *blob, source };
                let bytes = self.blobs.read(blob).map_err(|error| failed(io::Error::other(error).into()))?;
                let mut reader = PackReader::new(bytes).map_err(failed)?;
                let chunks = reader.table().to_vec();
                self.allowance.take(&chunks).map_err(failed)?;
                while let Some((chunk, bytes)) = reader.next(wanted).map_err(failed)? {
                    if self.stop.load(Ordering::Relaxed) {
                        return Err(ImportError::Cancelled);
                    }
                    sink(chunk, bytes)?;
                }
                let pack = KnownPack { blob: *blob, content, chunks, on_hearsay: false };
                self.known.lock().unwrap_or_else(PoisonError::into_inner).push(pack);
                Ok(())
            }
        })?;
        if self.stop.load(Ordering::Relaxed) { Err(ImportError::Cancelled) } else { Ok(()) }
    }

    fn require(&self, missing: Option<ContentDigest>) -> Result<(), ImportError> {
        missing.map_or(Ok(()), |chunk| Err(ImportError::Missing { index: self.index, chunk }))
    }
}

/// What the next export is to know.
fn remember(into: &Path, items: Vec<Item>, packs: Vec<KnownPack>, stop: &AtomicBool) -> Result<Memo, ImportError> {
    let mut memo = MemoWriter::of(items.len());
    let mut items = items.into_iter().peekable();
    walk(&Directory::new(into)?, stop, |seen| {
        while items.next_if(|item| item.path < seen.item.path).is_some() {}
        if let Some(item) = items.next_if(|item| item.path == seen.item.path)
            && let What::File(chunks) = item.what
        {
            memo.add(&item.path, &seen.stat, item.mtime, &item.xattrs, &chunks);
        }
    })?;
    Ok(memo.finish(packs))
}
