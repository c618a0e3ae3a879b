//! What one machine remembers of a cache mount between its exports and imports: which packs there are, what is in them, and of which
//! chunks each file was made when its stat was what it was.
//!
//! With it an export reads only the files that changed and sends only the chunks that no pack has. The caller keeps it, as bytes, beside
//! the mount. A memo that is lost or damaged costs time and nothing else.
//!
//! The bytes: a BLAKE3 digest of what follows, then postcard of the version, the packs, and the files in the order of their paths.

use super::chunk::Chunk;
use super::index::Index;
use super::listing::{PathReader, PathWriter, Xattr};
use super::pack::{Allowance, read_table};
use crate::blob::BlobRef;
use crate::parallel;
use crate::transport::Blobs;
use kiln_digest::ContentDigest;
use kiln_layer::{Entry, Time};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

const VERSION: u32 = 1;

/// What one machine remembers of a cache mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// The packs that some place had when this was written.
    pub(crate) packs: Vec<KnownPack>,
    /// [`Line`]s, in the order of their paths.
    files: Vec<u8>,
}

/// A pack and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownPack {
    pub(crate) blob: BlobRef,
    pub(crate) content: PackContent,
    pub(crate) chunks: Vec<Chunk>,
    /// Whether the chunks are what its table says, and nobody has looked. An export does before it counts on them.
    #[serde(skip)]
    pub(crate) on_hearsay: bool,
}

/// What a pack's chunks are parts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PackContent {
    Files,
    Listing,
}

/// What a file was at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownFile {
    pub(crate) stat: Stat,
    /// When it was last used, as the listing has it.
    pub(crate) recorded: Time,
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) chunks: Vec<Chunk>,
}

/// What moves when a file's contents or attributes change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
    pub(crate) inode: u64,
}

/// A file as it is read; [`MemoWriter::add`] writes the same.
#[derive(Deserialize)]
struct Line {
    shared: u16,
    rest: Vec<u8>,
    stat: Stat,
    recorded: (i64, u32),
    xattrs: Vec<Xattr>,
    chunks: Vec<Chunk>,
}

impl Stat {
    pub(crate) fn of(entry: &Entry) -> Self {
        let pair = |time: Time| (time.secs, time.nanos);
        Self { size: entry.size, mtime: pair(entry.mtime), ctime: pair(entry.ctime), inode: entry.ino }
    }
}

impl Memo {
    /// The memo that [`Memo::to_bytes`] wrote; an empty one if the bytes are damaged or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk()?;
        if ContentDigest::of_bytes(rest) != ContentDigest::from_bytes(*digest) {
            return None;
        }
        let (version, rest) = postcard::take_from_bytes::<u32>(rest).ok()?;
        if version != VERSION {
            return None;
        }
        let (packs, files) = postcard::take_from_bytes(rest).ok()?;
        Some(Self { packs, files: files.to_vec() })
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = vec![0; 32];
        let bytes = postcard::to_extend(&(VERSION, &self.packs), bytes).expect("a memo is plain data");
        let mut bytes: Vec<u8> = bytes;
        bytes.extend_from_slice(&self.files);
        let digest = ContentDigest::of_bytes(&bytes[32..]);
        bytes[..32].copy_from_slice(digest.as_bytes());
        bytes
    }

    /// Learns which packs another cache mount has, of another branch or project, so that an export to the same place sends nothing of
    /// them again. Only the beginning of each pack is fetched; the export fetches those that it has a use for, to see whether they
    /// hold what they say. Listings are small, and of little use to another machine. What cannot be read is not learned of, and sent
    /// again.
    pub fn learn(&mut self, index: &BlobRef, blobs: &dyn Blobs, stop: &AtomicBool) {
        let Ok(found) = Index::fetch(blobs, index) else { return };
        let known: HashSet<BlobRef> = self.packs.iter().map(|pack| pack.blob).collect();
        let new: Vec<BlobRef> = found.packs.iter().filter(|blob| !known.contains(blob)).copied().collect();
        let allowance = Allowance::of(found.size);
        let Ok(tables) = parallel::map(&new, parallel::REQUESTS, stop, |blob| {
            let chunks = blobs.read(blob).ok().and_then(|mut blob| read_table(&mut blob).ok());
            let chunks = chunks.filter(|chunks| allowance.take(chunks).is_ok());
            let known = |chunks| KnownPack { blob: *blob, content: PackContent::Files, chunks, on_hearsay: true };
            Ok::<_, Infallible>(chunks.map(known))
        });
        self.packs.extend(tables.into_iter().flatten());
    }

    /// The files, to be asked for in the order of their paths.
    pub(crate) fn files(&self) -> KnownFiles<'_> {
        KnownFiles { rest: &self.files, paths: PathReader::default(), next: None }
    }
}

/// The files of a memo, one after the other.
pub(crate) struct KnownFiles<'a> {
    rest: &'a [u8],
    paths: PathReader,
    next: Option<(PathBuf, KnownFile)>,
}

impl KnownFiles<'_> {
    /// The file at `path`, which comes after all that was asked for before.
    pub(crate) fn find(&mut self, path: &Path) -> Option<KnownFile> {
        loop {
            match &self.next {
                Some((next, _)) if next.as_path() > path => return None,
                Some((next, _)) if next == path => return self.next.take().map(|(_, file)| file),
                _ => self.next = Some(self.decode()?),
            }
        }
    }

    fn decode(&mut self) -> Option<(PathBuf, KnownFile)> {
        let (line, rest): (Line, _) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        let Line { stat, recorded: (secs, nanos), xattrs, chunks, .. } = line;
        let path = self.paths.read(line.shared, &line.rest)?;
        Some((path, KnownFile { stat, recorded: Time { secs, nanos }, xattrs, chunks }))
    }
}

/// Writes the files of a memo, in the order of their paths.
#[derive(Default)]
pub(crate) struct MemoWriter {
    files: Vec<u8>,
    paths: PathWriter,
}

/// What a file's line has, about: room for all lines at once spares copies of what is there already, and what is not used is not in memory.
const LINE: usize = 128;

impl MemoWriter {
    /// For so many files.
    pub(crate) fn of(files: usize) -> Self {
        Self { files: Vec::with_capacity(files * LINE), ..Self::default() }
    }

    /// Adds a file, which is after all that were added before: the members of a [`KnownFile`].
    pub(crate) fn add(&mut self, path: &Path, stat: &Stat, recorded: Time, xattrs: &[Xattr], chunks: &[Chunk]) {
        let (shared, rest) = self.paths.write(path);
        // The members of a `Line`.
        let line = (shared, rest, stat, (recorded.secs, recorded.nanos), xattrs, chunks);
        self.files = postcard::to_extend(&line, std::mem::take(&mut self.files)).expect("a memo is plain data");
    }

    pub(crate) fn finish(mut self, packs: Vec<KnownPack>) -> Memo {
        self.files.shrink_to_fit();
        Memo { packs, files: self.files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> KnownFile {
        let stat = Stat { size, mtime: (1, 2), ctime: (3, 4), inode: 5 };
        let chunks = vec![Chunk::of(b"kiln"); (size % 3) as usize];
        KnownFile { stat, recorded: Time::seconds(6), xattrs: vec![(b"user.k".to_vec(), b"v".to_vec())], chunks }
    }

    fn memo() -> Memo {
        let mut writer = MemoWriter::default();
        for (size, path) in ["a", "a/b", "a/c", "a.b", "d"].into_iter().enumerate() {
            let KnownFile { stat, recorded, xattrs, chunks } = file(size as u64);
            writer.add(Path::new(path), &stat, recorded, &xattrs, &chunks);
        }
        let chunks = vec![Chunk::of(b"kiln")];
        let blob = BlobRef::of_bytes(b"p");
        writer.finish(vec![KnownPack { blob, content: PackContent::Files, chunks, on_hearsay: false }])
    }

    #[test]
    fn files_are_found_in_order() {
        let memo = Memo::from_bytes(&memo().to_bytes());
        assert_eq!(memo.packs.len(), 1);
        let mut files = memo.files();
        for (path, expected) in
            [("Z", None), ("a/b", Some(1)), ("a/bb", None), ("a.b", Some(3)), ("b", None), ("d", Some(4))]
        {
            assert_eq!(files.find(Path::new(path)), expected.map(file), "{path}");
        }
        assert_eq!(files.find(Path::new("e")), None);
    }

    #[test]
    fn a_damaged_memo_is_an_empty_one() {
        let bytes = memo().to_bytes();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Memo::from_bytes(&damaged), Memo::default(), "{at}");
            assert_eq!(Memo::from_bytes(&bytes[..at]), Memo::default(), "{at}");
        }
    }
}
