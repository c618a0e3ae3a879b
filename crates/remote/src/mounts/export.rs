//! A cache mount to where a cache's blobs are.
//!
//! One walk sees what is there. Files whose stat the [`Memo`] knows are not opened; the others are read in the order of their paths, cut
//! into chunks, and chunks that no pack has go into new packs. Packs of which most is no longer used, and many small ones, are given
//! up: what of them is in use is read once more and packed anew.
//!
//! The tree may be in use. What a file holds is taken from one reading between two equal stats; a file that keeps changing is left
//! out, as one that vanishes is.

use super::candidates::{Candidates, RowKind};
use super::chunk::{Chunk, Cutter};
use super::go::{self, BuildCaches};
use super::index::Index;
use super::known::KnownChunks;
use super::listing::{Encoder, MAX_ITEMS, MAX_LISTING, MAX_NAMES, MAX_SIZE, bytes_path};
use super::memo::{KnownPack, Memo, MemoWriter, PackContent, Stat};
use super::pack;
use super::packing::{Packing, send_packs};
use super::walk::{attributes, walk};
use crate::blob::{BlobRef, Content, Sent};
use crate::error::RemoteError;
use crate::parallel;
use crate::transport::{Blobs, missing};
use kiln_layer::{Directory, Entry, Kind, Stoppable, Time, Tree, TreeError};
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// What of a cache mount doesn't travel. Only caches of which single entries can be missed are cut down (Go's build cache); half a module
/// cache would break builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries that were not used for so long are left out.
    pub max_age: Option<Duration>,
    /// The entries that were not used for longest are left out until so many bytes are left. A mount that is still larger is refused.
    pub max_size: Option<u64>,
}

impl Limits {
    /// Most bytes of a cache mount, where nobody says otherwise: 16 GiB.
    pub const MAX_SIZE: u64 = 16 << 30;
}

impl Default for Limits {
    /// 14 days, [`Limits::MAX_SIZE`].
    fn default() -> Self {
        Self { max_age: Some(Duration::from_secs(14 * 24 * 60 * 60)), max_size: Some(Self::MAX_SIZE) }
    }
}

/// A cache mount that is at its place.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What [`crate::import_mount`] wants.
    pub index: BlobRef,
    /// The packs that the index needs.
    pub packs: Vec<BlobRef>,
    /// What to keep for the next export of this mount to this place.
    pub memo: Memo,
    /// Files, directories and links.
    pub files: u64,
    /// The bytes of all files.
    pub size: u64,
    /// Files that were too old, or kept changing.
    pub left_out: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes of the index and all packs.
    pub total: u64,
}

/// Why a cache mount could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A blob cannot be sent.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A pack cannot be compressed.
    #[error("failed to make a pack")]
    Pack(#[source] io::Error),
    /// It is larger than the limit.
    #[error("it has {size} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// [`Limits::max_size`].
        limit: u64,
    },
    /// It has more files than any cache mount that travels.
    #[error("it has more than {MAX_ITEMS} files, or names too long for so many")]
    TooMany,
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

/// The kernel's file times may lag by a tick; several ticks are left as a margin.
const RACY: Duration = Duration::from_millis(40);
/// A file is read so often before it is left out.
const ATTEMPTS: u32 = 3;

/// Exports the cache mount in the directory `tree`. `memo` is what the last export of this mount to this place, or its import from there,
/// gave.
///
/// # Errors
/// [`ExportError`]. What was sent until then does no harm and spares the next export sending it.
pub fn export_mount(
    tree: &Path,
    memo: Memo,
    limits: &Limits,
    blobs: &dyn Blobs,
    stop: &AtomicBool,
) -> Result<Exported, ExportError> {
    let directory = Directory::new(tree)?;
    let mut files = Candidates::default();
    walk(&directory, stop, |seen| files.push(seen))?;
    let go = files.go_caches();
    let packs = recall(&mut files, memo, &go);
    let before = files.len();
    select(&mut files, limits, &go)?;
    let (of_listings, of_files) =
        present(packs, blobs, stop)?.into_iter().partition(|pack| pack.content == PackContent::Listing);
    let ((listing, mut packs), sent) = send_packs(blobs, stop, |packing| {
        let mut packs = read_files(&mut files, &directory, &go, KnownChunks::new(of_files), (packing, blobs), stop)?;
        drop_dangling(&mut files);
        let mut known = KnownChunks::new(of_listings);
        let listing = pack_listing(&files, &mut known, packing)?;
        packs.extend(known.in_use());
        Ok((listing, packs))
    })?;
    if stop.load(Ordering::Relaxed) {
        return Err(ExportError::Cancelled);
    }
    let mut new = 0;
    for sent in sent {
        new += if sent.sent == Sent::New { sent.pack.blob.size } else { 0 };
        packs.push(sent.pack);
    }
    // Whichever way they were learned of.
    packs.sort_unstable_by_key(|pack| pack.blob);
    let named = |content| packs.iter().filter(move |pack| pack.content == content).map(|pack| pack.blob).collect();
    let size = files.size();
    let index = Index::new((files.len() as u64, size), listing, named(PackContent::Listing), named(PackContent::Files));
    let bytes = index.encode();
    let blob = BlobRef::of_bytes(&bytes);
    if blobs.write(&blob, Content::Bytes(&bytes))? == Sent::New {
        new += blob.size;
    }
    Ok(Exported {
        index: blob,
        packs: packs.iter().map(|pack| pack.blob).collect(),
        files: files.len() as u64,
        size,
        left_out: (before - files.len()) as u64,
        sent: new,
        total: blob.size + packs.iter().map(|pack| pack.blob.size).sum::<u64>(),
        memo: remember(&files, packs),
    })
}

/// Finds what the memo knows of the files, and the times under which they travel. Gives the packs that it knows: the rest of it is in the
/// files now, and is not kept twice.
fn recall(files: &mut Candidates, memo: Memo, go: &BuildCaches) -> Vec<KnownPack> {
    let mut known = memo.files();
    for at in 0..files.len() {
        let (path, row) = (files.path(at), files.row(at));
        if row.kind != RowKind::Directory && go.has_trim_file(path) {
            files.row_mut(at).left_out = true;
            continue;
        }
        if row.kind != RowKind::File {
            continue;
        }
        let file = known.find(path);
        let unchanged = file.as_ref().is_some_and(|file| file.stat == row.stat);
        let same_bytes = |stat: &Stat| stat.size == row.stat.size && stat.inode == row.stat.inode;
        let same = unchanged || file.as_ref().is_some_and(|file| go.has_immutable(path) && same_bytes(&file.stat));
        let mtime = if go.has_entry(path) {
            let recorded = file.as_ref().filter(|_| unchanged).map(|file| file.recorded);
            recorded.unwrap_or_else(|| go::day_of(row.mtime))
        } else {
            row.mtime
        };
        let row = files.row_mut(at);
        (row.mtime, row.unread) = (mtime, !same);
        if let Some(file) = file.filter(|_| same) {
            files.set_chunks(at, &file.chunks);
            files.set_xattrs(at, file.xattrs);
        }
    }
    files.drop_left_out();
    memo.packs
}

/// Leaves out what the limits say.
fn select(files: &mut Candidates, limits: &Limits, go: &BuildCaches) -> Result<(), ExportError> {
    let now = Time::now();
    let mut size: u64 = (0..files.len()).map(|at| files.seen_size(at)).sum();
    let mut entries: Vec<(Time, usize)> = (0..files.len())
        .filter(|&at| !go.roots().is_empty() && go.has_entry(files.path(at)))
        .map(|at| (files.row(at).mtime, at))
        .collect();
    entries.sort_unstable();
    let age = limits.max_age.map(|age| Time::seconds(now.secs.saturating_sub_unsigned(age.as_secs())));
    let limit = limits.max_size.unwrap_or(MAX_SIZE).min(MAX_SIZE);
    for (used, at) in entries {
        if size > limit || age.is_some_and(|oldest| used < oldest) {
            size -= files.seen_size(at);
            files.row_mut(at).left_out = true;
        }
    }
    files.drop_left_out();
    if size > limit {
        return Err(ExportError::TooLarge { size, limit });
    }
    let too_many = files.is_overflown() || files.len() > MAX_ITEMS || files.names_size() > MAX_NAMES;
    if too_many { Err(ExportError::TooMany) } else { Ok(()) }
}

/// The packs that are at the place, and stay there until the export is over.
fn present(mut packs: Vec<KnownPack>, blobs: &dyn Blobs, stop: &AtomicBool) -> Result<Vec<KnownPack>, ExportError> {
    let wanted: Vec<BlobRef> = packs.iter().map(|pack| pack.blob).collect();
    let missing: HashSet<BlobRef> = missing(blobs, &wanted, stop)?.into_iter().collect();
    packs.retain(|pack| !missing.contains(&pack.blob));
    Ok(packs)
}

/// Reads what must be read, and gives the packs that are there and have something in use. What is known of the chunks is gone when the
/// listing is made: both at once would be most of the memory that an export takes.
fn read_files(
    files: &mut Candidates,
    tree: &Directory,
    go: &BuildCaches,
    mut known: KnownChunks,
    (packing, blobs): (&mut Packing<'_>, &dyn Blobs),
    stop: &AtomicBool,
) -> Result<Vec<KnownPack>, ExportError> {
    let (cutter, chunks) = (Cutter::of_files(), Vec::new());
    let mut reading = Reading { tree, go, known: &mut known, packing, cutter, chunks, stop };
    reading.read_all(files)?;
    if reading.known.give_up_sparse() {
        reading.read_all(files)?;
    }
    while reading.known.give_up_false(|packs| verify(packs, blobs, stop))? {
        reading.read_all(files)?;
    }
    Ok(known.in_use())
}

/// Which packs hold what they say. Whatever is wrong with the others, they are not counted on.
fn verify(packs: &[&KnownPack], blobs: &dyn Blobs, stop: &AtomicBool) -> Result<Vec<bool>, ExportError> {
    let verified = parallel::map(packs, parallel::cores(), stop, |pack| {
        Ok(blobs.read(&pack.blob).is_ok_and(|blob| pack::verify(blob, &pack.chunks).is_ok()))
    });
    if stop.load(Ordering::Relaxed) { Err(ExportError::Cancelled) } else { verified }
}

/// Reading files into packs.
struct Reading<'a, 'p> {
    tree: &'a Directory,
    go: &'a BuildCaches,
    known: &'a mut KnownChunks,
    packing: &'a mut Packing<'p>,
    cutter: Cutter,
    /// Those of the file that was read last.
    chunks: Vec<Chunk>,
    stop: &'a AtomicBool,
}

/// What stopped the reading of a file.
enum Halt {
    Read(io::Error),
    Export(ExportError),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Reading<'_, '_> {
    /// Reads what must be read, and notes which chunks are in use.
    fn read_all(&mut self, files: &mut Candidates) -> Result<(), ExportError> {
        for at in 0..files.len() {
            let row = files.row(at);
            if row.kind != RowKind::File {
                continue;
            }
            if row.unread || !files.chunks(at).iter().all(|chunk| self.known.has(chunk)) {
                let left_out = !self.read(files, at)?;
                let row = files.row_mut(at);
                (row.left_out, row.unread) = (left_out, false);
            } else {
                for chunk in files.chunks(at) {
                    self.known.note_use(chunk);
                }
            }
        }
        files.drop_left_out();
        if files.is_overflown() { Err(ExportError::TooMany) } else { Ok(()) }
    }

    /// Reads one file, and says whether it can be exported.
    fn read(&mut self, files: &mut Candidates, at: usize) -> Result<bool, ExportError> {
        for _ in 0..ATTEMPTS {
            let path = files.path(at);
            let failed = |source| ExportError::Tree(TreeError::Io { action: "read", path: path.to_owned(), source });
            let file = match self.tree.open(path) {
                Err(TreeError::NotFound { .. } | TreeError::NotAFile { .. }) => return Ok(false),
                other => other?,
            };
            let before = file.metadata().map_err(failed)?;
            wait_until_settled(&before);
            let xattrs = match attributes(self.tree, path) {
                Err(TreeError::NotFound { .. }) => return Ok(false),
                other => other?,
            };
            match self.read_chunks(&file, before.size()) {
                Ok(()) => {}
                Err(Halt::Export(error)) => return Err(error),
                Err(Halt::Read(_)) if self.stop.load(Ordering::Relaxed) => return Err(ExportError::Cancelled),
                Err(Halt::Read(error)) => return Err(failed(error)),
            }
            let (before, after) = (entry_of(&before), entry_of(&file.metadata().map_err(failed)?));
            let read: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
            if Stat::of(&before) == Stat::of(&after) && read == after.size {
                let keeps_time = self.go.has_entry(path);
                let row = files.row_mut(at);
                row.stat = Stat::of(&after);
                if !keeps_time {
                    row.mtime = after.mtime;
                }
                (row.mode, row.uid, row.gid) = (after.mode, after.uid, after.gid);
                files.set_chunks(at, &self.chunks);
                files.set_xattrs(at, xattrs);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts into `self.chunks` what a file is made of.
    fn read_chunks(&mut self, file: &File, size: u64) -> Result<(), Halt> {
        self.chunks.clear();
        // As much as it is said to have, which spares the call that finds the end.
        self.cutter.cut(Stoppable::new(file.take(size), self.stop), |chunk, bytes| {
            self.chunks.push(chunk);
            if self.known.note_use(&chunk) { self.packing.add(chunk, bytes).map_err(Halt::Export) } else { Ok(()) }
        })
    }
}

/// Packs the listing, and gives its chunks.
fn pack_listing(
    files: &Candidates,
    known: &mut KnownChunks,
    packing: &mut Packing<'_>,
) -> Result<Vec<Chunk>, ExportError> {
    packing.turn_to(PackContent::Listing)?;
    let bytes = || Encoder::new(files.items());
    let mut cutter = Cutter::of_listings();
    let (mut chunks, mut size) = (Vec::new(), 0);
    cutter
        .cut(bytes(), |chunk, _| {
            size += u64::from(chunk.size);
            chunks.push(chunk);
            Ok::<(), io::Error>(())
        })
        .map_err(ExportError::Pack)?;
    if size > MAX_LISTING {
        return Err(ExportError::TooMany);
    }
    for chunk in chunks.iter().filter(|chunk| known.has(chunk)).copied().collect::<Vec<_>>() {
        known.note_use(&chunk);
    }
    known.give_up_sparse();
    let sent = cutter.cut(bytes(), |chunk, bytes| {
        if known.note_use(&chunk) { packing.add(chunk, bytes).map_err(Halt::Export) } else { Ok(()) }
    });
    sent.map_err(|halt| match halt {
        Halt::Export(error) => error,
        Halt::Read(error) => ExportError::Pack(error),
    })?;
    Ok(chunks)
}

/// Leaves out hard links to files that are left out.
fn drop_dangling(files: &mut Candidates) {
    for at in 0..files.len() {
        if files.row(at).kind == RowKind::Link {
            let found = files.find(&bytes_path(files.target(at)));
            files.row_mut(at).left_out = !found.is_some_and(|row| row.kind == RowKind::File);
        }
    }
    files.drop_left_out();
}

fn remember(files: &Candidates, packs: Vec<KnownPack>) -> Memo {
    let mut memo = MemoWriter::of(files.len());
    for at in 0..files.len() {
        let row = files.row(at);
        if row.kind == RowKind::File {
            memo.add(files.path(at), &row.stat, row.mtime, files.xattrs(at), files.chunks(at));
        }
    }
    memo.finish(packs)
}

/// Waits until a change of the file would show in its times.
fn wait_until_settled(metadata: &Metadata) {
    let changed =
        Duration::new(metadata.ctime().try_into().unwrap_or(0), metadata.ctime_nsec().try_into().unwrap_or(0));
    // A time in the future is no worse than one that is just past.
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).unwrap_or_default();
    if let Some(left) = RACY.checked_sub(age) {
        std::thread::sleep(left);
    }
}

fn entry_of(metadata: &Metadata) -> Entry {
    let time = |secs, nanos: i64| Time { secs, nanos: nanos.try_into().unwrap_or(0) };
    Entry {
        kind: Kind::File,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.size(),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        dev: metadata.dev(),
        ino: metadata.ino(),
        nlink: metadata.nlink(),
    }
}
