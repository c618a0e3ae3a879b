//! The files of a layout, opened beneath its directory, which may be anybody's: no symbolic link is followed, and only plain files are
//! read.
//!
//! What is written has no name until it is whole, so that who is killed leaves nothing behind. Where a file is to be replaced, or the
//! filesystem knows no files without names, it is named `.partial-…` for a moment; garbage collection removes what stays of these.

use crate::blob::{BlobRef, Content};
use crate::error::RemoteError;
use kiln_digest::DigestWriter;
use kiln_layer::Stoppable;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// How files begin that are not whole, where they need a name.
pub(super) const PARTIAL: &str = ".partial-";
const LOCK: &str = "index.json.lock";
const BUFFER: usize = 256 * 1024;

/// The directory of a layout.
pub(super) struct Files<'a> {
    root: OwnedFd,
    path: &'a Path,
    stop: &'a AtomicBool,
}

/// A plain file.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) size: u64,
}

impl<'a> Files<'a> {
    /// Opens the directory; nothing if it is not there.
    pub(super) fn open(path: &'a Path, stop: &'a AtomicBool) -> Result<Option<Self>, RemoteError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(root) => Ok(Some(Self { root, path, stop })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(RemoteError::file("open", path)(error.into())),
        }
    }

    /// Opens the directory, made where it is not there.
    pub(super) fn create(path: &'a Path, stop: &'a AtomicBool) -> Result<Self, RemoteError> {
        if let Some(files) = Self::open(path, stop)?
            && files.directory(super::BLOBS).is_ok()
        {
            return Ok(files);
        }
        std::fs::create_dir_all(path).map_err(RemoteError::file("create", path))?;
        let gone = || RemoteError::file("open", path)(io::ErrorKind::NotFound.into());
        let files = Self::open(path, stop)?.ok_or_else(gone)?;
        // One by one, so that nothing is made where a link leads.
        for (at, _) in super::BLOBS.match_indices('/').chain([(super::BLOBS.len(), "")]) {
            files.make_directory(&super::BLOBS[..at])?;
        }
        Ok(files)
    }

    fn make_directory(&self, name: &str) -> Result<(), RemoteError> {
        let (parent, last) = name.rsplit_once('/').unwrap_or((".", name));
        match rustix::fs::mkdirat(self.directory(parent)?, last, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(RemoteError::file("create", &self.path.join(name))(error.into())),
        }
    }

    /// A plain file; nothing if it is not there.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, RemoteError> {
        let failed = |source: io::Error| RemoteError::file("read", &self.path.join(name))(source);
        // What turns out to be a pipe must not block.
        let file = match self.beneath(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::other("not a plain file")));
        }
        Ok(Some(Found { file: file.into(), size: stat.st_size.cast_unsigned() }))
    }

    /// Keeps a file of this size from being collected, if it is there.
    pub(super) fn keep(&self, name: &str, size: u64) -> Result<bool, RemoteError> {
        if self.find(name)?.is_none_or(|found| found.size != size) {
            return Ok(false);
        }
        // Garbage collection may have judged it already, and then has removed it by the time that the lock is free.
        let _lock = self.lock(FlockOperation::NonBlockingLockShared)?;
        let Some(found) = self.find(name)?.filter(|found| found.size == size) else { return Ok(false) };
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        match rustix::fs::futimens(&found.file, &Timestamps { last_access: now, last_modification: now }) {
            // Another user's file. Whoever may write to its directory may still collect it, which is found out before it is published.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS) => Ok(true),
            Err(error) => Err(RemoteError::file("write", &self.path.join(name))(error.into())),
        }
    }

    /// Writes a blob that is not there.
    pub(super) fn write_blob(&self, name: &str, blob: &BlobRef, content: Content<'_>) -> Result<(), RemoteError> {
        let source = match content {
            Content::Bytes(_) => Path::new("-"),
            Content::File(path) => path,
        };
        let mut reader: Box<dyn Read> = match content {
            Content::Bytes(bytes) => Box::new(bytes),
            Content::File(path) => Box::new(File::open(path).map_err(RemoteError::file("read", path))?),
        };
        self.put(name, |file| {
            let mut writer = DigestWriter::new(file);
            let mut buffer = vec![0; BUFFER.min(usize::try_from(blob.size).unwrap_or(BUFFER)).max(1)];
            let mut reader = Stoppable::new(&mut reader, self.stop);
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => {
                        let written = writer.write_all(&buffer[..read]);
                        written.map_err(RemoteError::file("write", &self.path.join(name)))?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) if self.stop.load(Ordering::Relaxed) => return Err(RemoteError::Cancelled),
                    Err(error) => return Err(RemoteError::file("read", source)(error)),
                }
            }
            let (_, digest, size) = writer.finish();
            if (BlobRef { digest, size }) == *blob {
                Ok(())
            } else {
                Err(RemoteError::NotTheBlob { path: source.to_owned(), blob: *blob })
            }
        })
    }

    /// Replaces a file as a whole. Its bytes are on the disk then; its name is once the directory is.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        self.put(name, |file| {
            file.write_all(bytes).map_err(RemoteError::file("write", &self.path.join(name)))?;
            sync(file).map_err(RemoteError::file("sync", &self.path.join(name)))
        })
    }

    /// Gives a file of the layout itself another name there, in place of what has it.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), RemoteError> {
        let renamed = rustix::fs::renameat(&self.root, from, &self.root, to);
        renamed.map_err(|error| RemoteError::file("rename", &self.path.join(from))(error.into()))
    }

    /// Brings a file's bytes, or the names in a directory, to the disk. What is not there is passed over.
    pub(super) fn sync(&self, name: &str) -> Result<(), RemoteError> {
        match self.beneath(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
            Err(Errno::NOENT) => Ok(()),
            file => file.map_err(io::Error::from).and_then(sync),
        }
        .map_err(RemoteError::file("sync", &self.path.join(name)))
    }

    /// Waits until nobody else changes the index or collects garbage.
    pub(super) fn lock_alone(&self) -> Result<OwnedFd, RemoteError> {
        self.lock(FlockOperation::NonBlockingLockExclusive)
    }

    /// Opens a directory of the layout.
    pub(super) fn directory(&self, name: &str) -> Result<OwnedFd, RemoteError> {
        let directory = self.beneath(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        directory.map_err(|error| RemoteError::file("open", &self.path.join(name))(error.into()))
    }

    /// Waits for the lock, `how` being one of the operations that do not wait: nothing else would see that it is to stop.
    fn lock(&self, how: FlockOperation) -> Result<OwnedFd, RemoteError> {
        let failed = |error: Errno| RemoteError::file("lock", &self.path.join(LOCK))(error.into());
        let mode = Mode::from_raw_mode(0o666);
        let file = self.beneath(LOCK, OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK, mode).map_err(failed)?;
        loop {
            match rustix::fs::flock(&file, how) {
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if self.stop.load(Ordering::Relaxed) => return Err(RemoteError::Cancelled),
                Err(Errno::WOULDBLOCK) => thread::sleep(super::LOOK),
                outcome => return outcome.map(|()| file).map_err(failed),
            }
        }
    }

    fn beneath(&self, name: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, mode, resolve) {
                // The kernel asks to try again when a rename elsewhere raced with the check.
                Err(Errno::AGAIN | Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }

    /// Makes a file appear that `write` has made whole.
    fn put(&self, name: &str, write: impl FnOnce(&mut File) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
        let path = self.path.join(name);
        let (parent, name) = name.rsplit_once('/').unwrap_or((".", name));
        let mut partial = Partial::create(self.directory(parent)?).map_err(RemoteError::file("create", &path))?;
        write(&mut partial.file)?;
        partial.finish(name).map_err(RemoteError::file("write", &path))
    }
}

/// Waits until the disk has it.
fn sync(file: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(file) {
        // A filesystem that knows no such thing.
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::ROFS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A file that is not whole yet.
struct Partial {
    file: File,
    directory: OwnedFd,
    /// Its name for now, where it has one; removed when this goes.
    name: Option<PathBuf>,
}

impl Partial {
    fn create(directory: OwnedFd) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o666);
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, ".", unnamed, mode) {
            Ok(file) if Path::new("/proc/self/fd").is_dir() => Ok(Self { file: file.into(), directory, name: None }),
            _ => loop {
                let name = partial_name();
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(&directory, &name, flags, mode) {
                    Ok(file) => return Ok(Self { file: file.into(), directory, name: Some(name) }),
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            },
        }
    }

    fn finish(mut self, name: &str) -> io::Result<()> {
        if self.name.is_none() {
            match self.link(Path::new(name)) {
                // There is another of this name, which a rename replaces.
                Err(Errno::EXIST) => loop {
                    let partial = partial_name();
                    match self.link(&partial) {
                        Ok(()) => {
                            self.name = Some(partial);
                            break;
                        }
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                },
                outcome => return Ok(outcome?),
            }
        }
        if let Some(partial) = &self.name {
            rustix::fs::renameat(&self.directory, partial, &self.directory, name)?;
            self.name = None;
        }
        Ok(())
    }

    fn link(&self, name: &Path) -> rustix::io::Result<()> {
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, link, &self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What stays is removed by garbage collection.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
}

/// A name that nobody else has, or had unless it was killed.
fn partial_name() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{PARTIAL}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}
