//! Reads a layer's files ahead of whoever hashes and writes the stream. Most of the time that a layer of small files takes is
//! the system calls of walking, opening and reading; here several threads make them, each for some members in a row, and the stream
//! is put together in the order of the walk, so that its bytes don't depend on the threads.
//!
//! Batches are large, since on a busy machine each hand-over costs a turn of the scheduler. Memory: at most [`AHEAD`] + [`WORKERS`] + 1
//! batches of some [`BATCH_BYTES`]; a file that doesn't fit is left to the caller to read.

use super::member::{self, Links, What};
use super::{PackError, PackOptions, WHITEOUT};
use crate::at;
use crate::overlay::{self, Namespace};
use crate::tar::BLOCK;
use crate::tree::{Kind, TreeError};
use crate::walk::{Visit, Walk};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Some of the stream.
pub(super) enum Piece {
    /// Headers, and files with their padding.
    Bytes(Vec<u8>),
    /// A file whose header has been given.
    File { file: File, size: u64, path: PathBuf },
}

/// More threads would only wait for the one that hashes.
const WORKERS: usize = 4;
/// As many batches may be waiting to be used.
const AHEAD: usize = 8;
/// As many members make a batch.
const BATCH: usize = 1024;
/// As many directories, which stay open until the batch is read.
const BATCH_DIRECTORIES: usize = 48;
/// So many bytes of files make a batch, and a file of more is streamed.
const BATCH_BYTES: u64 = 1 << 20;

/// Gives all members of the layer in `dir` to `sink`, in the order of the walk.
pub(super) fn prepare(
    dir: &Path,
    options: &PackOptions,
    mut sink: impl FnMut(Piece) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let mut members = Members { walk: Walk::new(dir)?, links: Links::default() };
    let reader = Reader { namespace: Namespace::of_process(), options };
    // A small layer is read before a thread would have started.
    let first = members.batch()?;
    reader.read(first)?.into_iter().try_for_each(&mut sink)?;
    let second = members.batch()?;
    if second.is_empty() {
        return Ok(());
    }
    reader.read(second)?.into_iter().try_for_each(&mut sink)?;
    let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
    // Its bound is what keeps memory bounded: whoever takes the next batch waits here for the oldest one to be used.
    let (in_order, results) = sync_channel(AHEAD);
    let source = Mutex::new(Source { members, in_order: Some(in_order) });
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&source, &reader));
        }
        results.into_iter().try_for_each(|result| {
            // Whoever reads a batch hangs up only by a panic, which the scope passes on.
            let pieces = result.recv().map_err(|_| PackError::Write(io::ErrorKind::BrokenPipe.into()))??;
            pieces.into_iter().try_for_each(&mut sink)
        })
    })
}

/// A batch that was read.
type Batch = Result<Vec<Piece>, PackError>;

/// Where the workers take batches from, and where they put them in a row.
struct Source {
    members: Members,
    /// Gone when the walk is over or has failed, or when nobody wants the rest.
    in_order: Option<SyncSender<Receiver<Batch>>>,
}

fn work(source: &Mutex<Source>, reader: &Reader<'_>) {
    loop {
        let (done, result) = sync_channel(1);
        let batch = {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(in_order) = source.in_order.take() else { return };
            let batch = source.members.batch();
            if batch.as_ref().is_ok_and(Vec::is_empty) || in_order.send(result).is_err() {
                return;
            }
            if batch.is_ok() {
                source.in_order = Some(in_order);
            }
            batch
        };
        // Nobody waits for the rest once an earlier batch has failed.
        let _ = done.send(batch.and_then(|batch| reader.read(batch)));
    }
}

/// The walk over the layer, with what depends on its order.
struct Members {
    walk: Walk,
    links: Links,
}

impl Members {
    /// The next members; none at the end.
    fn batch(&mut self) -> Result<Vec<(Visit, What)>, PackError> {
        let mut batch = Vec::new();
        let (mut bytes, mut directories) = (0, 0);
        while batch.len() < BATCH && directories < BATCH_DIRECTORIES && bytes < BATCH_BYTES {
            let Some(visit) = self.walk.next().transpose()? else { break };
            directories += usize::from(visit.directory.is_some());
            let is_whiteout = visit.entry.is_whiteout();
            if !is_whiteout && visit.name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
                return Err(PackError::ReservedName { path: visit.path });
            }
            let what = if is_whiteout { What::Itself } else { self.links.see(&visit.path, &visit.entry) };
            if let (What::Itself, Kind::File) = (&what, &visit.entry.kind) {
                bytes = bytes.saturating_add(visit.entry.size);
            }
            batch.push((visit, what));
        }
        Ok(batch)
    }
}

/// Reads what was walked.
struct Reader<'a> {
    namespace: Namespace,
    options: &'a PackOptions,
}

impl Reader<'_> {
    fn read(&self, batch: Vec<(Visit, What)>) -> Batch {
        let (mut pieces, mut bytes) = (Vec::new(), Vec::new());
        for (visit, what) in batch {
            if let Some(large) = self.member(&visit, &what, &mut bytes)? {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                pieces.push(Piece::File { file: large, size: visit.entry.size, path: visit.path });
            }
        }
        pieces.push(Piece::Bytes(bytes));
        Ok(pieces)
    }

    /// Appends a member to `bytes`, but for the bytes of a large file, which is the result.
    fn member(&self, visit: &Visit, what: &What, bytes: &mut Vec<u8>) -> Result<Option<File>, PackError> {
        let Visit { path, entry, name, parent, directory } = visit;
        if entry.is_whiteout() {
            bytes.extend(member::whiteout(path));
            return Ok(None);
        }
        let failed = |e| TreeError::io("read the attributes of", path, e);
        let mut file = None;
        let xattrs = match (what, &entry.kind, directory) {
            (What::Itself, _, Some(directory)) => at::xattrs_of_fd(directory.as_fd()).map_err(failed)?,
            // By the descriptor, which the bytes need anyway: a path would be looked up again.
            (What::Itself, Kind::File, _) => {
                let opened = at::open_beneath(parent.as_fd(), Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK);
                let opened = file.insert(File::from(opened.map_err(|e| TreeError::io("open", path, e))?));
                at::xattrs_of_fd(opened.as_fd()).map_err(failed)?
            }
            (What::Itself, ..) => at::xattrs_at(parent.as_fd(), name).map_err(failed)?,
            (What::Link(_) | What::Nothing, ..) => Vec::new(),
        };
        bytes.extend(member::header(path, entry, what, &xattrs, self.options));
        if let Some(directory) = directory
            && overlay::is_opaque(directory.as_fd(), self.namespace).map_err(failed)?
        {
            bytes.extend(member::opaque(path));
        }
        match file {
            Some(file) if entry.size > BATCH_BYTES => Ok(Some(file)),
            Some(file) => append(bytes, file, entry.size, path).map(|()| None),
            None => Ok(None),
        }
    }
}

/// Appends a file, padded to whole tar blocks.
fn append(bytes: &mut Vec<u8>, mut file: File, size: u64, path: &Path) -> Result<(), PackError> {
    let (start, size) = (bytes.len(), size as usize);
    bytes.resize(start + size.next_multiple_of(BLOCK), 0);
    file.read_exact(&mut bytes[start..start + size]).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => PackError::Changed { path: path.to_owned() },
        _ => TreeError::io("read", path, error).into(),
    })
}
