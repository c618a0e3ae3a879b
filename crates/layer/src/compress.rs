//! From a layer's directory to the blob that a registry holds, in one pass: tar, diff id, compression, blob digest.
//!
//! The bytes of a blob become digests, so they must not depend on the machine: the stream is cut into blocks of one size, each of
//! which is compressed by itself at a pinned level and written in order. The number of threads changes nothing. A gzip blob is
//! thus a sequence of members (RFC 1952, section 2.2), a zstd blob one of frames (RFC 8878, section 3), which every
//! decoder reads as one stream. A change of level, block size or library changes all digests: treat it as a change of format.
//!
//! The levels are the ones beyond which time grows faster than size falls; `cargo run --release -p kiln-layer --example throughput`
//! prints both. For a tree of programs and documentation libdeflate's level 1 gives 0.41 of the size and level 6 gives 0.37 in
//! twice the time; zstd's level 3 gives 0.37 in two thirds of level 1's time. A gzip block of 256 KiB costs 0.9 % of the size against 4 MiB and
//! lets a layer of 2 MB use all processors; a zstd block loses more to being small, as its window is larger.
//!
//! Since a block's bytes depend on nothing but the block, a caller who keeps compressed ones ([`Compressed`]) spares the work for what has not
//! changed since a layer before: the better part of a program whose source had a line edited.
//!
//! Threads: the caller's walks, reads and hashes; as many workers as there are processors compress; one more hashes and writes
//! in order. At most `workers + 4` blocks are alive.

use crate::estargz;
use crate::pack::{Blocks, PackError, PackOptions, pack, pack_into};
use kiln_digest::{ContentDigest, Digest, DigestWriter};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How a layer's blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BlobFormat {
    /// The tar stream itself.
    Tar,
    /// Gzip, which every registry and runtime knows.
    #[default]
    Gzip,
    /// Zstandard: faster, smaller, and not known to old runtimes.
    Zstd,
    /// Gzip with a table of contents, for runtimes that fetch single files. Its tar stream has files of the format's own.
    Estargz,
}

impl BlobFormat {
    /// The media type of a layer in this format (OCI image-spec, layer.md).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip | Self::Estargz => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// How a blob is compressed: the format, and how hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BlobCompression {
    /// The format.
    pub format: BlobFormat,
    /// 0 to 9 for gzip and eStargz, 0 to 22 for zstd; what [`BlobCompression::level`] says if absent. A higher one counts as the highest.
    pub level: Option<u8>,
}

impl From<BlobFormat> for BlobCompression {
    fn from(format: BlobFormat) -> Self {
        Self { format, level: None }
    }
}

impl BlobCompression {
    /// The level that is used.
    pub fn level(self) -> u8 {
        match self.format {
            BlobFormat::Tar => 0,
            BlobFormat::Gzip | BlobFormat::Estargz => self.level.unwrap_or(GZIP_LEVEL).min(9),
            BlobFormat::Zstd => self.level.unwrap_or(ZSTD_LEVEL).min(22),
        }
    }

    /// A name for all that decides the bytes besides the tar stream: equal names, equal bytes.
    pub fn name(self) -> String {
        match self.format {
            BlobFormat::Tar => "tar".to_owned(),
            BlobFormat::Gzip => format!("gzip:{}", self.level()),
            BlobFormat::Zstd => format!("zstd:{}", self.level()),
            BlobFormat::Estargz => format!("estargz:{}", self.level()),
        }
    }
}

/// A blob that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The digest of the tar stream that was packed. It is the diff id, unless the format adds something of its own.
    pub source: Digest,
    /// The digest of the tar stream that the blob holds: the layer's diff id.
    pub diff_id: Digest,
    /// The size of the tar stream in bytes.
    pub uncompressed_size: u64,
    /// The digest of the bytes written.
    pub blob: Digest,
    /// The number of bytes written.
    pub blob_size: u64,
}

/// The level of libdeflate that is used by default, and its block.
const GZIP_LEVEL: u8 = 1;
const GZIP_BLOCK: usize = 256 << 10;
/// The level of zstd that is used by default, and its block.
const ZSTD_LEVEL: u8 = 3;
const ZSTD_BLOCK: usize = 2 << 20;

/// Blocks that were compressed before, in the same way. It is asked by several threads at once.
pub trait Compressed: Sync {
    /// The compressed form of the block with this digest, exactly as it was given to [`Compressed::keep`].
    fn find(&self, block: &ContentDigest) -> Option<Vec<u8>>;

    /// Hears of each block, in order: its digest, and its compressed form, which begins at this offset of the blob.
    fn keep(&self, block: &ContentDigest, offset: u64, compressed: &[u8]);
}

/// Writes the layer in `dir`, an overlay lower directory, as a blob.
///
/// # Errors
/// [`PackError`].
pub fn write_layer(
    dir: &Path,
    compression: impl Into<BlobCompression>,
    writer: &mut (dyn Write + Send),
    options: &PackOptions,
) -> Result<Written, PackError> {
    write_layer_again(dir, compression, writer, options, None)
}

/// As [`write_layer`], with blocks that were compressed before. Archives without compression, and eStargz, have none.
///
/// # Errors
/// [`PackError`].
pub fn write_layer_again(
    dir: &Path,
    compression: impl Into<BlobCompression>,
    writer: &mut (dyn Write + Send),
    options: &PackOptions,
    known: Option<&dyn Compressed>,
) -> Result<Written, PackError> {
    let compression = compression.into();
    match compression.format {
        BlobFormat::Tar => {
            let packed = pack(dir, writer, options)?;
            let (diff_id, size) = (packed.diff_id, packed.size);
            return Ok(Written { source: diff_id, diff_id, uncompressed_size: size, blob: diff_id, blob_size: size });
        }
        BlobFormat::Estargz => return estargz::write_layer(dir, compression, writer, options),
        BlobFormat::Gzip | BlobFormat::Zstd => {}
    }
    write_with(compression, writer, workers(), known, |stream| pack_into(dir, stream, options))
}

/// Writes the tar stream of a layer as a blob.
///
/// # Errors
/// [`PackError::Read`] and [`PackError::Write`]; for eStargz, which reads the archive, [`PackError::Tar`] and [`PackError::NotText`] as well.
pub fn write_stream(
    stream: &mut dyn Read,
    compression: BlobCompression,
    writer: &mut (dyn Write + Send),
) -> Result<Written, PackError> {
    if compression.format == BlobFormat::Tar {
        let mut writer = DigestWriter::new(writer);
        let mut buffer = vec![0; GZIP_BLOCK];
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(PackError::Read)?,
            };
            writer.write_all(&buffer[..read]).map_err(PackError::Write)?;
        }
        writer.flush().map_err(PackError::Write)?;
        let (_, digest, size) = writer.finish();
        return Ok(Written { source: digest, diff_id: digest, uncompressed_size: size, blob: digest, blob_size: size });
    }
    if compression.format == BlobFormat::Estargz {
        return estargz::write_stream(stream, compression, writer);
    }
    write_with(compression, writer, workers(), None, |blocks| blocks.fill(stream))
}

/// How many threads compress.
pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

/// More workers would only wait for the one thread that reads.
const MAX_WORKERS: usize = 8;

/// A block on its way to a worker, and the place where the compressed one is waited for.
type Job = (Vec<u8>, SyncSender<io::Result<Done>>);

/// What a worker has made.
struct Done {
    compressed: Vec<u8>,
    /// The block's digest, if somebody keeps compressed blocks.
    digest: Option<ContentDigest>,
    /// The buffer that the block was in, to be filled again.
    spent: Vec<u8>,
}

/// What takes the blocks of a stream, and gives a buffer for the next one.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Vec<u8>) -> io::Result<Vec<u8>>;

fn write_with(
    compression: BlobCompression,
    writer: &mut (dyn Write + Send),
    workers: usize,
    known: Option<&dyn Compressed>,
    fill: impl FnOnce(&mut Blocks<Sink<'_>>) -> Result<(), PackError>,
) -> Result<Written, PackError> {
    let block_size = if compression.format == BlobFormat::Zstd { ZSTD_BLOCK } else { GZIP_BLOCK };
    let mut writer = DigestWriter::new(writer);
    let mut uncompressed = DigestWriter::new(io::sink());
    write_blocks(compression, &mut writer, workers, known, |sink| {
        let mut hashed = |block: Vec<u8>| {
            uncompressed.write_all(&block)?;
            sink(block)
        };
        let mut stream: Blocks<Sink<'_>> = Blocks::new(block_size, &mut hashed);
        fill(&mut stream).and_then(|()| stream.finish().map_err(PackError::Write))
    })?;
    let (_, blob, blob_size) = writer.finish();
    let (_, diff_id, uncompressed_size) = uncompressed.finish();
    Ok(Written { source: diff_id, diff_id, uncompressed_size, blob, blob_size })
}

/// Compresses each block that `feed` gives by itself, and writes them in order. Gives what `feed` returns and the size of each compressed
/// block.
pub(crate) fn write_blocks<T>(
    compression: BlobCompression,
    writer: &mut (dyn Write + Send),
    workers: usize,
    known: Option<&dyn Compressed>,
    feed: impl FnOnce(Sink<'_>) -> Result<T, PackError>,
) -> Result<(T, Vec<u64>), PackError> {
    let (jobs, to_do) = sync_channel::<Job>(1);
    let to_do = Mutex::new(to_do);
    // Its bound is what keeps memory bounded: the packer waits here for the oldest block to be written.
    let (in_order, results) = sync_channel::<Receiver<io::Result<Done>>>(workers + 1);
    let (recycle, recycled) = sync_channel::<Vec<u8>>(workers + 4);

    thread::scope(|scope| {
        for _ in 0..workers {
            let to_do = &to_do;
            scope.spawn(move || work(compression, known, to_do));
        }
        let collector = scope.spawn(move || collect(writer, known, &results, &recycle));
        let mut sink = |block: Vec<u8>| {
            let (done, result) = sync_channel(1);
            let next = recycled.try_recv().unwrap_or_default();
            // Either end hangs up only when the collector has failed; its error is the one to tell.
            in_order.send(result).map_err(|_| io::ErrorKind::BrokenPipe)?;
            jobs.send((block, done)).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(next)
        };
        let fed = feed(&mut sink);
        drop((jobs, in_order));
        match collector.join() {
            Ok(Ok(sizes)) => fed.map(|fed| (fed, sizes)),
            Ok(Err(error)) => Err(PackError::Write(error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn work(compression: BlobCompression, known: Option<&dyn Compressed>, to_do: &Mutex<Receiver<Job>>) {
    let mut compressor = BlockCompressor::new(compression);
    loop {
        let job = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((spent, done)) = job else { return };
        let digest = known.map(|_| ContentDigest::of_bytes(&spent));
        let found = known.zip(digest).and_then(|(known, digest)| known.find(&digest));
        let compressed = match (found, &mut compressor) {
            (Some(found), _) => Ok(found),
            (None, Ok(compressor)) => compressor.compress(&spent),
            (None, Err(error)) => Err(error.kind().into()),
        };
        // Nobody waits for the result once the collector has failed.
        let _ = done.send(compressed.map(|compressed| Done { compressed, digest, spent }));
    }
}

/// Writes the compressed blocks in order, and gives their sizes.
fn collect(
    writer: &mut (dyn Write + Send),
    known: Option<&dyn Compressed>,
    results: &Receiver<Receiver<io::Result<Done>>>,
    recycle: &SyncSender<Vec<u8>>,
) -> io::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    let mut offset = 0;
    for result in results {
        let Done { compressed, digest, spent } = result.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        writer.write_all(&compressed)?;
        if let (Some(known), Some(digest)) = (known, digest) {
            known.keep(&digest, offset, &compressed);
        }
        offset += compressed.len() as u64;
        sizes.push(compressed.len() as u64);
        let _ = recycle.try_send(spent);
    }
    writer.flush()?;
    Ok(sizes)
}

/// What one worker needs.
enum BlockCompressor {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl BlockCompressor {
    fn new(compression: BlobCompression) -> io::Result<Self> {
        let level = i32::from(compression.level());
        match compression.format {
            BlobFormat::Zstd => Ok(Self::Zstd(zstd::bulk::Compressor::new(level)?)),
            BlobFormat::Gzip | BlobFormat::Estargz | BlobFormat::Tar => Ok(Self::Gzip(libdeflater::Compressor::new(
                libdeflater::CompressionLvl::new(level).map_err(|_| io::ErrorKind::InvalidInput)?,
            ))),
        }
    }

    fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(compressor) => {
                let mut bytes = vec![0; compressor.gzip_compress_bound(block.len())];
                let length = compressor.gzip_compress(block, &mut bytes).map_err(io::Error::other)?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Self::Zstd(compressor) => compressor.compress(block),
        }
    }
}

#[cfg(test)]
mod tests;
