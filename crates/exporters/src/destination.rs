//! Where an output goes.

use kiln_layer::{Stoppable, send_file};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, replaced when the new one is whole.
    File(PathBuf),
    /// A directory of files.
    Directory(PathBuf),
    /// Standard output.
    Stdout,
}

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or directory of the output.
    #[error("failed to write `{path}`")]
    Write {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Standard output.
    #[error("failed to write to standard output")]
    Stdout(#[source] io::Error),
    /// A layer could not be packed.
    #[error("failed to pack layer `{layer}`")]
    Layer {
        /// The layer.
        layer: kiln_store::LayerId,
        /// The cause.
        source: Box<kiln_layer::PackError>,
    },
    /// A layer is not what it was.
    #[error(
        "layer `{layer}` changed since it was made\nhint: somebody wrote into the store; `kiln prune --all` starts it anew"
    )]
    Changed {
        /// The layer.
        layer: kiln_store::LayerId,
    },
    /// The files of the result.
    #[error("failed to read the result")]
    Tree(#[from] kiln_layer::TreeError),
    /// A file of the output directory.
    #[error("failed to write the files of the result")]
    Build(#[from] kiln_layer::BuildError),
    /// The tar stream.
    #[error("failed to write the tar archive")]
    Pack(#[from] kiln_layer::PackError),
    /// A blob that was in the store.
    #[error("failed to read blob `{digest}`")]
    Blob {
        /// The blob.
        digest: kiln_digest::Digest,
        /// The cause.
        source: Box<kiln_store::BlobError>,
    },
    /// An output that must be a file.
    #[error("a directory cannot be the destination of this output\nhint: leave out `tar=false`")]
    NeedsFile,
    /// Two platforms have a file at the same path, and nothing to keep them apart.
    #[error(
        "`/{path}` of `{first}` would be overwritten with that of `{second}`\nhint: leave out `platform-split=false`"
    )]
    Overlap {
        /// The path.
        path: PathBuf,
        /// The platform that has it.
        first: String,
        /// The one that has it too.
        second: String,
    },
    /// An archive of Docker's for several platforms.
    #[error(
        "`type=docker` cannot hold images of several platforms\nhint: `type=oci` can; or build for one platform at a time"
    )]
    DockerIndex,
}

/// The file that was at an output's destination before, which has no name any more. Whoever drops this waits until the kernel has
/// freed what the file took, which for a large one is longer than all else that ends an export.
#[derive(Debug, Default)]
#[must_use]
pub struct Replaced(Option<File>);

impl Replaced {
    /// The file, if there was one.
    pub fn into_file(self) -> Option<File> {
        self.0
    }
}

impl ExportError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

/// A stream on its way to a destination. Small pieces are collected; files pass without being copied more than once, and by way of the
/// kernel alone where the destination is a file too.
pub(crate) struct Stream<'a> {
    out: BufWriter<Stoppable<'a, Sink<'a>>>,
    stop: &'a AtomicBool,
}

/// What is written to.
enum Sink<'a> {
    File(&'a mut File),
    Writer(&'a mut dyn Write),
}

impl<'a> Stream<'a> {
    pub(crate) fn new(to: &'a mut dyn Write, stop: &'a AtomicBool) -> Self {
        Self::to(Sink::Writer(to), stop)
    }

    pub(crate) fn to_file(file: &'a mut File, stop: &'a AtomicBool) -> Self {
        Self::to(Sink::File(file), stop)
    }

    fn to(sink: Sink<'a>, stop: &'a AtomicBool) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER, Stoppable::new(sink, stop)), stop }
    }

    /// Appends all of a file, and gives its size.
    pub(crate) fn append(&mut self, file: &mut File) -> io::Result<u64> {
        self.out.flush()?;
        if let Sink::File(to) = self.out.get_mut().get_mut() {
            return send_file(file, to, self.stop);
        }
        // Pieces as large as the buffer go past it, each in one call.
        let mut piece = vec![0; BUFFER];
        let mut size = 0;
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(size),
                Ok(read) => {
                    self.out.write_all(&piece[..read])?;
                    size += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Writer(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Writer(writer) => writer.flush(),
        }
    }
}

/// Writes one stream to a destination: to a file without a name, named when it is whole, or to standard output.
pub(crate) fn write_stream(
    destination: &Destination,
    stop: &AtomicBool,
    write: impl FnOnce(&mut Stream<'_>) -> Result<(), ExportError>,
) -> Result<Replaced, ExportError> {
    let path = match destination {
        Destination::Directory(_) => return Err(ExportError::NeedsFile),
        Destination::Stdout => {
            let mut out = io::stdout().lock();
            let mut stream = Stream::new(&mut out, stop);
            write(&mut stream)?;
            return stream.flush().map(|()| Replaced::default()).map_err(ExportError::Stdout);
        }
        Destination::File(path) => path,
    };
    // A pipe or a device cannot be replaced, only written to.
    if path.exists() && !path.is_file() {
        let mut file = File::options().write(true).open(path).map_err(ExportError::write(path))?;
        let mut stream = Stream::to_file(&mut file, stop);
        write(&mut stream)?;
        return stream.flush().map(|()| Replaced::default()).map_err(ExportError::write(path));
    }
    let parent = parent(path);
    std::fs::create_dir_all(parent).map_err(ExportError::write(parent))?;
    let mut unfinished = Unfinished::create(path).map_err(ExportError::write(path))?;
    let mut stream = Stream::to_file(&mut unfinished.file, stop);
    write(&mut stream)?;
    stream.flush().map_err(ExportError::write(path))?;
    drop(stream);
    unfinished.finish().map_err(ExportError::write(path))
}

/// Where a file is: a symbolic link that leads to one stays, as with other programs that write to it.
fn followed(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The name of an unfinished file.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.partial", std::process::id()));
    PathBuf::from(beside)
}

/// The directory of a file.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

const BUFFER: usize = 256 * 1024;

/// A file that is not yet whole: without a name where the filesystem knows such files, so that not even a killed process leaves
/// one behind; else beside its destination, removed unless it is finished.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) file: File,
    /// What it becomes; of a symbolic link the file that it leads to.
    path: PathBuf,
    beside: PathBuf,
    named: bool,
}

impl Unfinished {
    /// A file that can become `path` later, and that nobody sees until then. `None` if there is something that cannot be replaced, no
    /// directory yet, or no such files there.
    pub(crate) fn unseen(path: &Path) -> Option<Self> {
        if path.exists() && !path.is_file() {
            return None;
        }
        let path = followed(path);
        // Without /proc it could not be named.
        if !Path::new("/proc/self/fd").is_dir() {
            return None;
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(parent(&path), flags, Mode::from_raw_mode(0o666)).ok()?;
        Some(Self { file: file.into(), beside: beside(&path), path, named: false })
    }

    fn create(path: &Path) -> io::Result<Self> {
        match Self::unseen(path) {
            Some(unseen) => Ok(unseen),
            None => {
                let path = followed(path);
                let beside = beside(&path);
                Ok(Self { file: File::create(&beside)?, path, beside, named: true })
            }
        }
    }

    pub(crate) fn finish(mut self) -> io::Result<Replaced> {
        let path = self.path.clone();
        if !self.named {
            let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            // Left by a process that was killed at this very place and had the same id.
            let _none = std::fs::remove_file(&self.beside);
            rustix::fs::linkat(CWD, link, CWD, &self.beside, AtFlags::SYMLINK_FOLLOW)?;
            self.named = true;
        }
        // A rename over a file would first write all of the new one to the disk (ext4's `auto_da_alloc`), and the build would wait.
        // The two trade places, and the old one goes with its new name.
        match rustix::fs::renameat_with(CWD, &self.beside, CWD, &path, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(Replaced(File::open(&self.beside).ok())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        std::fs::rename(&self.beside, path)?;
        self.named = false;
        Ok(Replaced::default())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.named {
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(directory: &Path) -> Vec<String> {
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/out.tar");
        let parent = path.parent().unwrap();
        let to = Destination::File(path.clone());
        let stop = AtomicBool::new(false);
        for text in ["first", "second"] {
            let write = |out: &mut Stream<'_>| {
                let unnamed = if text == "first" { Vec::new() } else { vec!["out.tar".to_owned()] };
                assert!(names(parent) == unnamed || names(parent).iter().any(|name| name.ends_with(".partial")));
                out.write_all(text.as_bytes()).map_err(ExportError::Stdout)
            };
            let replaced = write_stream(&to, &stop, write).unwrap().into_file();
            let replaced = replaced.map(|file| io::read_to_string(file).unwrap());
            assert_eq!(replaced.as_deref(), (text == "second").then_some("first"));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(parent), ["out.tar"]);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0);
        let failing = |out: &mut Stream<'_>| {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            out.write_all(b"third").map_err(ExportError::Stdout)
        };
        assert!(write_stream(&to, &stop, failing).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(names(parent), ["out.tar"]);
    }
    #[test]
    fn a_link_to_a_file_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("elsewhere.tar"), directory.path().join("link.tar"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let write = |out: &mut Stream<'_>| out.write_all(b"new").map_err(ExportError::Stdout);
        let _replaced =
            write_stream(&Destination::File(link.clone()), &AtomicBool::new(false), write).unwrap().into_file();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn what_is_begun_early_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let begun = Unfinished::unseen(&directory.path().join("out.tar"));
        assert!(begun.is_none_or(|begun| !begun.named) && names(directory.path()).is_empty());
        assert!(Unfinished::unseen(&directory.path().join("none/out.tar")).is_none());
        assert!(Unfinished::unseen(directory.path()).is_none());
    }
}
