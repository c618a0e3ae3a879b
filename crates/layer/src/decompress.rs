//! From compressed bytes to the stream they hold. What a stream is compressed with is told by its first bytes, as media types
//! in the field are not always right, and local archives have none.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// The compressions that layers and local archives come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// No compression that is known.
    None,
    /// RFC 1952, possibly of several members.
    Gzip,
    /// RFC 8878, possibly of several frames.
    Zstd,
    /// Bzip2, possibly of several streams.
    Bzip2,
    /// The `.xz` format, possibly of several streams.
    Xz,
}

/// As many first bytes as [`sniff`] wants to see.
pub const SNIFF_LENGTH: usize = 10;

/// Tells the compression by a stream's first bytes.
pub fn sniff(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        // A tar starts with a name, which may well start with `BZh`: the mark of the first block, or of the end, must follow.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// The stream within `reader`, whatever it is compressed with. The work is done in the thread that reads.
///
/// # Errors
/// What reading the first bytes gives, and what a decoder says when it is set up.
pub fn decompress(reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (first, reader) = peek(reader)?;
    decoder(sniff(&first), reader)
}

/// As [`decompress`], but a thread of its own does the work, up to 2 MiB ahead of who reads. It ends with the stream, or when
/// the reader is dropped.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_ahead(reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (first, reader) = peek(reader)?;
    let compression = sniff(&first);
    if compression == Compression::None {
        return Ok(Box::new(reader));
    }
    let decoder = decoder(compression, reader)?;
    let (filled, to_read) = sync_channel(AHEAD);
    let (spent, to_fill) = sync_channel(AHEAD + 1);
    thread::Builder::new().name("decompress".to_owned()).spawn(move || fill(decoder, &filled, &to_fill))?;
    Ok(Box::new(Ahead { to_read, spent, chunk: Vec::new(), at: 0, ended: false }))
}

/// Chunks between the threads, and their size.
const AHEAD: usize = 8;
const CHUNK: usize = 256 * 1024;

/// `xz -9` needs a third of this; what claims to need more is refused.
const XZ_MEMORY_KIB: u32 = 192 * 1024;

fn decoder(compression: Compression, reader: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, XZ_MEMORY_KIB)),
    })
}

/// Reads the first bytes, and gives them with a reader of the whole.
fn peek(mut reader: impl Read + Send + 'static) -> io::Result<(Vec<u8>, impl BufRead + Send + 'static)> {
    let mut first = Vec::with_capacity(SNIFF_LENGTH);
    reader.by_ref().take(SNIFF_LENGTH as u64).read_to_end(&mut first)?;
    let whole = BufReader::with_capacity(CHUNK, io::Cursor::new(first.clone()).chain(reader));
    Ok((first, whole))
}

/// What goes to the reading side: data, or the error that ended it. The channel closes at the end of the stream.
type Filled = io::Result<Vec<u8>>;

fn fill(mut decoder: Box<dyn Read + Send>, filled: &SyncSender<Filled>, to_fill: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = to_fill.try_recv().unwrap_or_default();
        chunk.clear();
        chunk.reserve_exact(CHUNK);
        let next = match decoder.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            // An empty chunk is the end: a closed channel alone might also mean that this thread panicked.
            Ok(_) => Ok(chunk),
            Err(error) => Err(error),
        };
        let last = next.as_ref().map_or(true, Vec::is_empty);
        if filled.send(next).is_err() || last {
            return;
        }
    }
}

/// The reading side of [`decompress_ahead`].
struct Ahead {
    to_read: Receiver<Filled>,
    spent: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.ended {
            let next = self.to_read.recv().map_err(|_| io::Error::other("the decompressing thread died"))??;
            let spent = std::mem::replace(&mut self.chunk, next);
            let _ = self.spent.try_send(spent);
            self.at = 0;
            self.ended = self.chunk.is_empty();
        }
        let length = buffer.len().min(self.chunk.len() - self.at);
        buffer[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
