//! One pack: many chunks in one blob.
//!
//! ```text
//! "kilnpck1"                        8 bytes
//! length of the table               4 bytes, little-endian
//! the table                         postcard: for each chunk its digest and size
//! the chunks, one after the other   one zstd frame
//! ```
//!
//! The table comes first, so that what a pack holds can be learned without fetching the rest. Nothing in a pack is trusted: sizes are
//! bounded before anything is allocated, and each chunk is hashed before anybody gets it.

use super::chunk::{Chunk, MAX_CHUNK};
use super::listing::MAX_LISTING;
use crate::blob::BlobRef;
use crate::error::is_broken_read;
use kiln_digest::ContentDigest;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::compress_bound;

const MAGIC: &[u8; 8] = b"kilnpck1";
/// A pack has at least so many bytes, if there are as many.
const MIN_PACK: usize = 1 << 20;
/// It ends after about so many more, where a chunk's digest says so: the same chunks in the same order make the same packs, whatever
/// came before them.
const GAP: usize = 2 << 20;
/// It never has more.
const MAX_PACK: usize = 6 << 20;
/// Nor more chunks, however small they are.
const MAX_CHUNKS: usize = 128 << 10;
/// A chunk has at most 35 bytes in the table.
const MAX_TABLE: u32 = 5 << 20;
/// Most chunks that all packs of a cache mount have, which are in memory together.
const MAX_ALL_CHUNKS: u64 = 4 << 20;
/// Of a pack that is kept at least half is in use: all packs have at most twice the bytes of the files and of the listing, and so no more
/// than so many times those of the files, or than this.
const MAX_SURPLUS: u64 = 4;
const MIN_ALLOWANCE: u64 = 4 * MAX_LISTING;
/// zstd's own default: most of the ratio that more time would give.
const LEVEL: i32 = 3;
/// Larger windows than these would let a small blob ask for much memory.
const MAX_WINDOW_LOG: u32 = 23;

/// Why bytes are not the pack that they should be.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// They cannot be read or decompressed, or are not the blob that was asked for.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// They don't begin as a pack does.
    #[error("it is no pack")]
    Magic,
    /// The table cannot be decoded.
    #[error("malformed table")]
    Table(#[from] postcard::Error),
    /// The table says what no pack may have.
    #[error("its table goes beyond what a pack may hold")]
    Bounds,
    /// A chunk is not what the table says.
    #[error("chunk {0} has other bytes")]
    Chunk(ContentDigest),
    /// More follows after the last chunk.
    #[error("there is more in it than its table says")]
    Surplus,
}

impl PackError {
    /// Whether asking again gives the same.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Read(error) => is_broken_read(error),
            Self::Magic | Self::Table(_) | Self::Bounds | Self::Chunk(_) | Self::Surplus => true,
        }
    }
}

/// A pack that is being filled.
#[derive(Debug, Default)]
pub(crate) struct PackBuilder {
    chunks: Vec<Chunk>,
    bytes: Vec<u8>,
}

impl PackBuilder {
    /// Adds a chunk, and says whether the pack is to end here.
    pub(crate) fn add(&mut self, chunk: Chunk, bytes: &[u8]) -> bool {
        if self.bytes.capacity() == 0 {
            // All that it may have: what is never written takes no memory, and growing would copy.
            self.bytes.reserve_exact(MAX_PACK);
        }
        self.chunks.push(chunk);
        self.bytes.extend_from_slice(bytes);
        let full = self.bytes.len() + MAX_CHUNK > MAX_PACK || self.chunks.len() == MAX_CHUNKS;
        full || (self.bytes.len() >= MIN_PACK && ends_pack(&chunk))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The chunks, and the blob.
    pub(crate) fn encode(self) -> io::Result<(Vec<Chunk>, Vec<u8>)> {
        let Self { mut chunks, bytes } = self;
        // They are kept until the export ends.
        chunks.shrink_to_fit();
        let table = postcard::to_stdvec(&chunks).map_err(io::Error::other)?;
        let length = u32::try_from(table.len()).map_err(io::Error::other)?;
        let head = [&MAGIC[..], &length.to_le_bytes(), &table].concat();
        let mut blob = Cursor::new(Vec::with_capacity(head.len() + compress_bound(bytes.len())));
        blob.write_all(&head)?;
        Compressor::new(LEVEL)?.compress_to_buffer(&bytes, &mut blob)?;
        Ok((chunks, blob.into_inner()))
    }
}

/// Whether a pack of enough bytes ends after this chunk: on average once in [`GAP`] bytes, however large chunks are.
fn ends_pack(chunk: &Chunk) -> bool {
    let bytes = chunk.id.as_bytes();
    let drawn = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    u64::from(drawn) * (GAP as u64) < u64::from(chunk.size) << 32
}

/// Whether a pack of so many bytes is one that others should be joined with.
pub(crate) fn is_small(size: u64) -> bool {
    size < MIN_PACK as u64
}

/// A pack that is being read.
pub(crate) struct PackReader<R: Read> {
    chunks: std::vec::IntoIter<Chunk>,
    body: Decoder<'static, BufReader<R>>,
    buffer: Vec<u8>,
}

impl<R: Read> PackReader<R> {
    /// Reads the table.
    pub(crate) fn new(mut blob: R) -> Result<Self, PackError> {
        let chunks = read_table(&mut blob)?;
        let mut body = Decoder::with_buffer(BufReader::new(blob))?.single_frame();
        body.window_log_max(MAX_WINDOW_LOG)?;
        Ok(Self { chunks: chunks.into_iter(), body, buffer: Vec::new() })
    }

    /// What is in it.
    pub(crate) fn table(&self) -> &[Chunk] {
        self.chunks.as_slice()
    }

    /// The next chunk, or nothing after the last one, when the whole blob has been read. `wanted` says which chunks are looked at;
    /// others are passed over.
    pub(crate) fn next(&mut self, wanted: impl Fn(&Chunk) -> bool) -> Result<Option<(Chunk, &[u8])>, PackError> {
        for chunk in self.chunks.by_ref() {
            self.buffer.resize(chunk.size as usize, 0);
            self.body.read_exact(&mut self.buffer)?;
            // Also where nobody wants it: what the table says is remembered.
            if ContentDigest::of_bytes(&self.buffer) != chunk.id {
                return Err(PackError::Chunk(chunk.id));
            }
            if wanted(&chunk) {
                return Ok(Some((chunk, &self.buffer)));
            }
        }
        let mut more = [0];
        // The blob itself is read to its end, where its digest is compared.
        if self.body.read(&mut more)? == 0 && self.body.get_mut().read(&mut more)? == 0 {
            return Ok(None);
        }
        Err(PackError::Surplus)
    }
}

/// What the pack that `blob` begins with holds.
pub(crate) fn read_table(blob: &mut impl Read) -> Result<Vec<Chunk>, PackError> {
    let mut head = [0; MAGIC.len() + 4];
    blob.read_exact(&mut head)?;
    let (magic, length) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(PackError::Magic);
    }
    let length = u32::from_le_bytes(length.try_into().expect("four bytes are left"));
    if length > MAX_TABLE {
        return Err(PackError::Bounds);
    }
    // Grows as bytes come, whatever the length says.
    let mut table = Vec::new();
    blob.take(length.into()).read_to_end(&mut table)?;
    let chunks: Vec<Chunk> = postcard::from_bytes(&table)?;
    let plausible = chunks.iter().all(|chunk| (1..=MAX_CHUNK).contains(&(chunk.size as usize)));
    let bounded = chunks.len() <= MAX_CHUNKS && size(&chunks) <= MAX_PACK as u64;
    if plausible && bounded { Ok(chunks) } else { Err(PackError::Bounds) }
}

/// Reads a whole pack, of which `chunks` is the table.
pub(crate) fn verify(blob: impl Read, chunks: &[Chunk]) -> Result<(), PackError> {
    let mut reader = PackReader::new(blob)?;
    if reader.table() != chunks {
        return Err(PackError::Bounds);
    }
    reader.next(|_| false).map(drop)
}

/// The bytes of chunks.
pub(crate) fn size(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
}

/// What all packs of one cache mount may have together, whatever each of them says: a few bytes can say that they are many.
pub(crate) struct Allowance {
    chunks: AtomicU64,
    bytes: AtomicU64,
    most_bytes: u64,
}

impl Allowance {
    /// For files of `size` bytes.
    pub(crate) fn of(size: u64) -> Self {
        let most_bytes = size.saturating_mul(MAX_SURPLUS).max(MIN_ALLOWANCE);
        Self { chunks: AtomicU64::new(0), bytes: AtomicU64::new(0), most_bytes }
    }

    /// Counts the chunks of another pack.
    pub(crate) fn take(&self, table: &[Chunk]) -> Result<(), PackError> {
        let (new_chunks, new_bytes) = (table.len() as u64, size(table));
        let chunks = self.chunks.fetch_add(new_chunks, Ordering::Relaxed) + new_chunks;
        let bytes = self.bytes.fetch_add(new_bytes, Ordering::Relaxed) + new_bytes;
        if chunks <= MAX_ALL_CHUNKS && bytes <= self.most_bytes { Ok(()) } else { Err(PackError::Bounds) }
    }
}

/// A blob is larger than this only if it is no pack of kiln's.
pub(crate) fn is_plausible(blob: &BlobRef) -> bool {
    blob.size <= (2 * MAX_PACK) as u64 + u64::from(MAX_TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::testing::noise;

    fn pack(contents: &[Vec<u8>]) -> (Vec<Chunk>, Vec<u8>) {
        let mut builder = PackBuilder::default();
        for bytes in contents {
            builder.add(Chunk::of(bytes), bytes);
        }
        builder.encode().unwrap()
    }

    fn read(blob: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
        let mut reader = PackReader::new(blob)?;
        let mut contents = Vec::new();
        while let Some((_, bytes)) = reader.next(|_| true)? {
            contents.push(bytes.to_vec());
        }
        Ok(contents)
    }

    #[test]
    fn chunks_come_back_and_can_be_passed_over() {
        let contents: Vec<Vec<u8>> = (0..40).map(|n| noise(1 + n * 997, n as u64)).collect();
        let (chunks, blob) = pack(&contents);
        assert_eq!(read(&blob).unwrap(), contents);
        assert_eq!(read_table(&mut &blob[..]).unwrap(), chunks);
        let mut reader = PackReader::new(&blob[..]).unwrap();
        let (found, bytes) = reader.next(|chunk| *chunk == chunks[17]).unwrap().unwrap();
        assert_eq!((found, bytes), (chunks[17], &contents[17][..]));
        assert!(reader.next(|_| false).unwrap().is_none());
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let contents = vec![noise(3000, 1), vec![b'a'; 3000]];
        let (_, blob) = pack(&contents);
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 0x10;
            // What a frame says of itself and nobody needs may change without harm.
            if let Ok(read) = read(&damaged) {
                assert!(read == contents, "{at}");
            }
            assert!(read(&blob[..at]).is_err(), "cut short at {at}");
        }
        assert!(matches!(read(&[&blob[..], b"more"].concat()), Err(PackError::Surplus)));
        assert!(matches!(read(b"another thing altogether"), Err(PackError::Magic)));
    }

    #[test]
    fn tables_are_bounded() {
        let (_, blob) = pack(&[]);
        assert_eq!(read(&blob).unwrap().len(), 0);
        let of = |size, count| vec![Chunk { id: ContentDigest::of_bytes(b""), size }; count];
        for table in [of(0, 1), of(MAX_CHUNK as u32 + 1, 1), of(MAX_CHUNK as u32, 25), of(u32::MAX, 3)] {
            assert!(matches!(read(&table_of(&table)), Err(PackError::Bounds)));
        }
        let blob = [&MAGIC[..], &u32::MAX.to_le_bytes(), b"1"].concat();
        assert!(matches!(read(&blob), Err(PackError::Bounds)));
        let many = of(1, MAX_CHUNKS + 1);
        assert!(read_table(&mut &table_of(&many[1..])[..]).is_ok());
        assert!(matches!(read_table(&mut &table_of(&many)[..]), Err(PackError::Bounds)));
        let mut builder = PackBuilder::default();
        assert!(many[2..].iter().all(|chunk| !builder.add(*chunk, b"")), "small chunks alone end no pack");
        assert!(builder.add(many[0], b""), "but very many do");
    }

    /// A pack of which only the table is right.
    fn table_of(chunks: &[Chunk]) -> Vec<u8> {
        let table = postcard::to_stdvec(chunks).unwrap();
        [&MAGIC[..], &(table.len() as u32).to_le_bytes(), &table].concat()
    }

    #[test]
    fn all_packs_together_are_bounded() {
        let table =
            |size: usize, count: usize| vec![Chunk { id: ContentDigest::of_bytes(b""), size: size as u32 }; count];
        let whole = table(MAX_CHUNK, MAX_PACK / MAX_CHUNK);
        let taken =
            |allowance: Allowance, table: &[Chunk]| (0..1000).take_while(|_| allowance.take(table).is_ok()).count();
        let one = size(&whole);
        assert_eq!(taken(Allowance::of(0), &whole) as u64, MIN_ALLOWANCE / one);
        assert_eq!(taken(Allowance::of(1 << 30), &whole) as u64, (4 << 30) / one);
        assert_eq!(taken(Allowance::of(u64::MAX), &table(1, MAX_CHUNKS)) as u64, MAX_ALL_CHUNKS / MAX_CHUNKS as u64);
    }

    #[test]
    fn a_table_that_lies_of_a_chunk_nobody_wants_is_refused() {
        let mut builder = PackBuilder::default();
        builder.add(Chunk::of(b"kiln"), b"kilm");
        let (chunks, blob) = builder.encode().unwrap();
        let mut reader = PackReader::new(&blob[..]).unwrap();
        assert!(matches!(reader.next(|_| false), Err(PackError::Chunk(_))));
        assert!(verify(&blob[..], &chunks).is_err());
        let (chunks, blob) = pack(&[b"kiln".to_vec(), b"other".to_vec()]);
        assert!(verify(&blob[..], &chunks).is_ok());
        assert!(verify(&blob[..], &chunks[..1]).is_err());
    }

    #[test]
    fn packs_meet_again_after_a_difference() {
        let common: Vec<Vec<u8>> = (0..800).map(|n| noise(20_000 + n % 100, n as u64)).collect();
        let packs = |before: usize| {
            let (mut packs, mut builder) = (Vec::new(), PackBuilder::default());
            for bytes in common[..before].iter().rev().chain(&common) {
                if builder.add(Chunk::of(bytes), bytes) {
                    packs.push(std::mem::take(&mut builder).chunks);
                }
            }
            packs
        };
        let (one, other) = (packs(0), packs(70));
        let shared = one.iter().filter(|pack| other.contains(pack)).count();
        assert!(one.len() > 3 && shared * 2 >= one.len(), "{shared} of {} packs are shared", one.len());
    }
}
