//! A layer's directory as a tar stream (OCI image-spec, layer.md): whiteouts become files named `.wh.NAME`, an opaque directory
//! gets a first member `.wh..wh..opq`. The stream depends only on names, metadata and contents: members in the order of
//! [`crate::walk`], times cut to whole seconds as other builders write them, whiteouts dated 1970, no user names.
//!
//! Left out: the root itself (a layer doesn't say what its root is), sockets (tar has no such thing), attributes that aren't the
//! file's own. A file whose own name starts with `.wh.` is written as it is, as other builders do, though it reads as a whiteout.

use crate::at::{self, Xattr};
use crate::overlay::{self, Namespace};
use crate::tar::BLOCK;
use crate::tar::write::{Header, member_path};
use crate::tree::{Entry, Kind, Tree, TreeError};
use crate::walk::Walk;
use kiln_digest::{Digest, DigestWriter};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackOptions {
    /// No member is dated later than this (`SOURCE_DATE_EPOCH`), in seconds since 1970.
    pub latest: Option<i64>,
}

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the tar stream: the layer's diff id.
    pub diff_id: Digest,
    /// The size of the tar stream in bytes.
    pub size: u64,
}

/// Why a layer could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file whose name is a deletion's. Written as it is, it would delete something in every image made of the layer.
    #[error(
        "`/{path}` cannot be in an image: there a name that begins with `.wh.` is a deletion\nhint: remove the file in the step that makes it"
    )]
    ReservedName {
        /// The file.
        path: PathBuf,
    },
    /// The layer's directory could not be read.
    #[error("failed to read the layer")]
    Layer(#[from] TreeError),
    /// A file became shorter while it was packed.
    #[error("`{path}` changed while it was packed")]
    Changed {
        /// The path in the layer.
        path: PathBuf,
    },
    /// The stream could not be written.
    #[error("failed to write the layer's tar stream")]
    Write(#[source] io::Error),
}

/// Writes the layer in `dir`, an overlay lower directory, to `writer` as an uncompressed tar.
///
/// # Errors
/// [`PackError`].
pub fn pack(dir: &Path, writer: impl Write, options: &PackOptions) -> Result<Packed, PackError> {
    let mut digester = DigestWriter::new(writer);
    {
        let mut stream = Blocks::new(BLOCK_SIZE, |block: Vec<u8>| digester.write_all(&block).map(|()| block));
        pack_into(dir, &mut stream, options)?;
        stream.finish().map_err(PackError::Write)?;
    }
    digester.flush().map_err(PackError::Write)?;
    let (_, diff_id, size) = digester.finish();
    Ok(Packed { diff_id, size })
}

/// Writes all files of a tree to `writer` as an uncompressed tar without whiteouts: a root filesystem.
///
/// # Errors
/// [`PackError`].
pub fn pack_tree(tree: &dyn Tree, writer: impl Write, options: &PackOptions) -> Result<Packed, PackError> {
    let mut digester = DigestWriter::new(writer);
    {
        let mut stream = Blocks::new(BLOCK_SIZE, |block: Vec<u8>| digester.write_all(&block).map(|()| block));
        let mut packer = Packer { stream: &mut stream, options: *options, links: HashMap::new() };
        let mut left: Vec<(PathBuf, Entry)> = children(tree, Path::new(""))?;
        while let Some((path, entry)) = left.pop() {
            let xattrs = tree.xattrs(&path)?;
            packer.member(&path, &entry, &xattrs, || tree.open(&path))?;
            if entry.is_directory() {
                left.extend(children(tree, &path)?);
            }
        }
        packer.end()?;
        stream.finish().map_err(PackError::Write)?;
    }
    digester.flush().map_err(PackError::Write)?;
    let (_, diff_id, size) = digester.finish();
    Ok(Packed { diff_id, size })
}

/// The paths in a directory, last first, since they are taken from the end.
fn children(tree: &dyn Tree, path: &Path) -> Result<Vec<(PathBuf, Entry)>, TreeError> {
    let children = tree.children(path)?;
    Ok(children.into_iter().rev().map(|(name, entry)| (path.join(name), entry)).collect())
}

/// The uncompressed stream is hashed and written in blocks of this size.
const BLOCK_SIZE: usize = 256 << 10;

/// Collects a stream into blocks of one size, and hands each to a sink, which gives back a buffer to fill next.
pub(crate) struct Blocks<S> {
    buffer: Vec<u8>,
    size: usize,
    sink: S,
}

impl<S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>> Blocks<S> {
    pub(crate) fn new(size: usize, sink: S) -> Self {
        Self { buffer: Vec::with_capacity(size), size, sink }
    }

    /// Hands the last, shorter block on.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.flush_block()?;
        }
        Ok(())
    }

    fn flush_block(&mut self) -> io::Result<()> {
        self.buffer = (self.sink)(std::mem::take(&mut self.buffer))?;
        self.buffer.clear();
        self.buffer.reserve_exact(self.size);
        Ok(())
    }

    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = bytes.len().min(self.size - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            if self.buffer.len() == self.size {
                self.flush_block()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to a whole tar block.
    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.wrapping_neg() as usize % BLOCK;
        self.push(&[0; BLOCK][..padding])
    }
}

impl<S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>> Blocks<S> {
    /// Appends `size` bytes of a file, read straight into the block. `false` if the file is shorter.
    fn copy(&mut self, file: &mut File, mut size: u64) -> Result<bool, CopyError> {
        while size > 0 {
            let room = (self.size - self.buffer.len()) as u64;
            let read =
                Read::by_ref(file).take(room.min(size)).read_to_end(&mut self.buffer).map_err(CopyError::Read)?;
            if read == 0 {
                return Ok(false);
            }
            size -= read as u64;
            if self.buffer.len() == self.size {
                self.flush_block().map_err(CopyError::Write)?;
            }
        }
        Ok(true)
    }
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Walks the layer into `stream`, up to the archive's end mark.
pub(crate) fn pack_into<S>(dir: &Path, stream: &mut Blocks<S>, options: &PackOptions) -> Result<(), PackError>
where
    S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>,
{
    let namespace = Namespace::of_process();
    let mut packer = Packer { stream, options: *options, links: HashMap::new() };
    for visit in Walk::new(dir)? {
        let visit = visit?;
        let (path, name) = (&visit.path, &visit.name);
        if visit.entry.is_whiteout() {
            packer.whiteout(&path.with_file_name(with_prefix(name)))?;
            continue;
        }
        if name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            return Err(PackError::ReservedName { path: path.clone() });
        }
        let xattrs = match &visit.directory {
            Some(directory) => at::xattrs_of_fd(directory.as_fd()),
            None => at::xattrs_at(visit.parent.as_fd(), name),
        };
        let xattrs = xattrs.map_err(|e| TreeError::io("read the attributes of", path, e))?;
        packer.member(path, &visit.entry, &xattrs, || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(visit.parent.as_fd(), name, flags, Mode::empty());
            file.map(File::from).map_err(|e| TreeError::io("open", path, e))
        })?;
        if let Some(directory) = &visit.directory {
            let opaque = overlay::is_opaque(directory.as_fd(), namespace);
            if opaque.map_err(|e| TreeError::io("read the attributes of", path, e))? {
                packer.whiteout(&path.join(OPAQUE))?;
            }
        }
    }
    packer.end()
}

/// What precedes the name of a path that is gone.
pub(crate) const WHITEOUT: &str = ".wh.";
/// The member that makes its directory opaque.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";

fn with_prefix(name: &OsStr) -> OsString {
    let mut prefixed = OsString::from(WHITEOUT);
    prefixed.push(name);
    prefixed
}

struct Packer<'a, S> {
    stream: &'a mut Blocks<S>,
    options: PackOptions,
    /// The first path of each inode that has several names.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>> Packer<'_, S> {
    fn member(
        &mut self,
        path: &Path,
        entry: &Entry,
        xattrs: &[Xattr],
        open: impl FnOnce() -> Result<File, TreeError>,
    ) -> Result<(), PackError> {
        let first = match &entry.kind {
            Kind::Directory | Kind::Socket => None,
            _ if entry.nlink < 2 => None,
            _ => self.links.get(&(entry.dev, entry.ino)).cloned(),
        };
        let mut device = (0, 0);
        let mut link: &[u8] = b"";
        let mut size = 0;
        let flag = match (&first, &entry.kind) {
            (Some(first), _) => {
                link = first.as_os_str().as_bytes();
                b'1'
            }
            (None, Kind::File) => {
                size = entry.size;
                b'0'
            }
            (None, Kind::Symlink(target)) => {
                link = target.as_bytes();
                b'2'
            }
            (None, Kind::Character { major, minor }) => {
                device = (*major, *minor);
                b'3'
            }
            (None, Kind::Block { major, minor }) => {
                device = (*major, *minor);
                b'4'
            }
            (None, Kind::Directory) => b'5',
            (None, Kind::Fifo) => b'6',
            (None, Kind::Socket) => return Ok(()),
        };
        let name = member_path(path.as_os_str(), entry.is_directory());
        let mode = if flag == b'2' { 0o777 } else { entry.mode };
        let mtime = self.options.latest.map_or(entry.mtime.secs, |latest| entry.mtime.secs.min(latest));
        let (uid, gid) = (entry.uid, entry.gid);
        let xattrs = if flag == b'1' { &[] } else { xattrs };
        let header = Header { path: &name, link, flag, mode, uid, gid, size, mtime, device, xattrs };
        self.stream.push(&header.blocks()).map_err(PackError::Write)?;
        if size > 0 {
            let copied = self.stream.copy(&mut open()?, size).map_err(|error| match error {
                CopyError::Read(source) => TreeError::io("read", path, source).into(),
                CopyError::Write(source) => PackError::Write(source),
            })?;
            if !copied {
                return Err(PackError::Changed { path: path.to_owned() });
            }
            self.stream.pad(size).map_err(PackError::Write)?;
        }
        if first.is_none() && entry.nlink > 1 && !entry.is_directory() {
            self.links.insert((entry.dev, entry.ino), path.to_owned());
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), PackError> {
        let header = Header {
            path: path.as_os_str().as_bytes(),
            link: b"",
            flag: b'0',
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            device: (0, 0),
            xattrs: &[],
        };
        self.stream.push(&header.blocks()).map_err(PackError::Write)
    }

    fn end(&mut self) -> Result<(), PackError> {
        self.stream.push(&[0; 2 * BLOCK]).map_err(PackError::Write)
    }
}

#[cfg(test)]
mod tests;
