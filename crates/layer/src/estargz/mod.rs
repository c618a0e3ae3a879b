//! eStargz (stargz-snapshotter's `docs/estargz.md`): a gzip blob of which single files can be fetched and verified by themselves, so that a
//! container starts before its layers are here. Whoever knows nothing of it reads an ordinary layer that has two files more.
//!
//! ```text
//! gzip member   the headers up to the first file that has bytes
//! gzip member   a file's bytes, 1 MiB of them at most; after the last ones the headers up to the next file
//!   …
//! gzip member   `stargz.index.json`: the table of contents (`toc`); the end of the archive
//! gzip member   empty; its header says where the one before begins (`footer`)
//! ```
//!
//! The archive is written anew in kiln's own form, so equal members make equal blobs whoever packed them. Its first file says that nothing is
//! to be fetched before the container starts: what a container reads first nobody knows here. Memory holds the blocks under way and the
//! table of contents.

mod footer;
mod member;
mod toc;

pub use toc::toc_digest;

use crate::compress::{BlobCompression, Sink, Written, workers, write_blocks};
use crate::pack::{PackError, PackOptions, pack};
use crate::tar::BLOCK;
use crate::tar::read::Archive;
use crate::tar::write::Header;
use flate2::write::GzEncoder;
use kiln_digest::{Digest, DigestWriter};
use member::{Contents, Described, Entry, Place};
use sha2::{Digest as _, Sha256};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::thread;
use toc::Toc;

/// As many bytes of a file are a gzip member: what is fetched and verified at once.
const CHUNK: u64 = 1 << 20;
/// The table of contents in the archive.
const TOC: &str = "stargz.index.json";
/// The file that says that none is to be fetched ahead, and its only byte.
const NO_PREFETCH: &str = ".no.prefetch.landmark";
const LANDMARK: u8 = 0xf;
/// The names that the format gives a meaning. Files that have them come from an earlier conversion.
const RESERVED: [&str; 3] = [TOC, NO_PREFETCH, ".prefetch.landmark"];

/// Writes the layer in `dir`, an overlay lower directory, as an eStargz blob.
pub(crate) fn write_layer(
    dir: &Path,
    compression: BlobCompression,
    writer: &mut (dyn Write + Send),
    options: &PackOptions,
) -> Result<Written, PackError> {
    let (mut reader, pipe) = io::pipe().map_err(PackError::Read)?;
    thread::scope(|scope| {
        let packer = scope.spawn(move || pack(dir, pipe, options));
        let written = write_stream(&mut reader, compression, writer);
        drop(reader);
        match packer.join() {
            // It cannot write when nobody reads any more, whose reason is the one to tell.
            Ok(Err(error)) if written.is_ok() || !matches!(error, PackError::Write(_)) => Err(error),
            Ok(_) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Writes the members of an archive as an eStargz blob.
pub(crate) fn write_stream(
    stream: &mut dyn Read,
    compression: BlobCompression,
    writer: &mut (dyn Write + Send),
) -> Result<Written, PackError> {
    let mut writer = DigestWriter::new(writer);
    let (split, sizes) =
        write_blocks(compression, &mut writer, workers(), None, |sink| Splitter::new(sink).split(stream))?;
    let Split { source, mut uncompressed, entries } = split;
    let (mut starts, mut end) = (Vec::with_capacity(sizes.len()), 0);
    for size in sizes {
        starts.push(end);
        end += size;
    }
    write_toc(&Toc::new(&entries, &starts), compression, &mut writer, &mut uncompressed).map_err(PackError::Write)?;
    writer.write_all(&footer::encode(end)).map_err(PackError::Write)?;
    writer.flush().map_err(PackError::Write)?;
    let (_, blob, blob_size) = writer.finish();
    let (_, diff_id, uncompressed_size) = uncompressed.finish();
    Ok(Written { source, diff_id, uncompressed_size, blob, blob_size })
}

/// Writes the table of contents and the end of the archive as one gzip member. It is made twice, as its size comes first.
fn write_toc(toc: &Toc<'_>, compression: BlobCompression, blob: impl Write, tar: &mut impl Write) -> io::Result<()> {
    let mut counted = BufWriter::new(DigestWriter::new(io::sink()));
    serde_json::to_writer(&mut counted, toc)?;
    let (_, _, size) = counted.into_inner()?.finish();
    let gzip = GzEncoder::new(blob, flate2::Compression::new(compression.level().into()));
    let mut both = BufWriter::new(Both(gzip, tar));
    both.write_all(&Header { mode: 0o444, size, ..Header::file(TOC.as_bytes()) }.blocks())?;
    serde_json::to_writer(&mut both, toc)?;
    both.write_all(&[0; BLOCK][..size.wrapping_neg() as usize % BLOCK])?;
    both.write_all(&[0; 2 * BLOCK])?;
    let Both(gzip, _) = both.into_inner()?;
    gzip.finish()?.flush()
}

/// Writes the same to two writers.
struct Both<A, B>(A, B);

impl<A: Write, B: Write> Write for Both<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.write_all(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }
}

/// An archive that was cut into blocks.
struct Split {
    /// The digest of the archive as it was read.
    source: Digest,
    /// Of the archive as it is written, up to the table of contents.
    uncompressed: DigestWriter<io::Sink>,
    entries: Vec<Entry>,
}

/// Cuts an archive where files begin. Each block becomes a gzip member.
struct Splitter<'a> {
    sink: Sink<'a>,
    block: Vec<u8>,
    /// How many blocks came before this one.
    blocks: usize,
    uncompressed: DigestWriter<io::Sink>,
    entries: Vec<Entry>,
}

impl<'a> Splitter<'a> {
    fn new(sink: Sink<'a>) -> Self {
        let uncompressed = DigestWriter::new(io::sink());
        Self { sink, block: Vec::new(), blocks: 0, uncompressed, entries: Vec::new() }
    }

    fn split(mut self, stream: &mut dyn Read) -> Result<Split, PackError> {
        let landmark = Described::landmark(NO_PREFETCH, 1);
        self.header(landmark)?;
        self.file(1, |block, _| {
            block.push(LANDMARK);
            Ok(())
        })?;
        let mut archive = Archive::new(stream, u64::MAX);
        while let Some(mut member) = archive.next()? {
            let sparse = member.sparse.take();
            let described = Described::new(member)?;
            if RESERVED.contains(&described.plain_name()) {
                continue;
            }
            let size = described.size();
            self.header(described)?;
            let mut contents = Contents::new(&mut archive, sparse, size);
            self.file(size, |block, length| contents.append(block, length).map_err(PackError::Tar))?;
        }
        self.cut()?;
        let (_, source, _) = archive.finish()?;
        Ok(Split { source, uncompressed: self.uncompressed, entries: self.entries })
    }

    fn header(&mut self, described: Described) -> Result<(), PackError> {
        // Many headers in a row, of which none has bytes, are not collected for ever.
        if self.block.len() as u64 >= CHUNK {
            self.cut()?;
        }
        self.block.extend_from_slice(&described.header().blocks());
        self.entries.push(described.into_entry());
        Ok(())
    }

    /// The bytes of the last entry, which `append` adds to a block, so many at a time.
    fn file(
        &mut self,
        size: u64,
        mut append: impl FnMut(&mut Vec<u8>, u64) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let mut whole = Sha256::new();
        let mut at = 0;
        while at < size {
            self.cut()?;
            let length = CHUNK.min(size - at);
            append(&mut self.block, length)?;
            let digest = Digest::of_bytes(&self.block);
            let ends = at + length == size;
            let entry = self.entries.last_mut().expect("its header was written");
            if ends && at == 0 {
                entry.digest = Some(digest);
            } else {
                whole.update(&self.block);
            }
            entry.places.push(Place { block: self.blocks, offset: at, size: if ends { 0 } else { length }, digest });
            at += length;
        }
        if let Some(entry) = self.entries.last_mut().filter(|entry| entry.places.len() > 1) {
            entry.digest = Some(Digest::from_bytes(whole.finalize().into()));
        }
        self.block.resize(self.block.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// Ends the block, if there is anything in it.
    fn cut(&mut self) -> Result<(), PackError> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.uncompressed.write_all(&self.block).map_err(PackError::Write)?;
        self.block = (self.sink)(std::mem::take(&mut self.block)).map_err(PackError::Write)?;
        self.block.clear();
        self.blocks += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
