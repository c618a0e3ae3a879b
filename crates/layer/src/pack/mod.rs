//! A layer's directory as a tar stream (OCI image-spec, layer.md): whiteouts become files named `.wh.NAME`, an opaque directory
//! gets a first member `.wh..wh..opq`. The stream depends only on names, metadata and contents: members in the order of
//! [`crate::walk`], times cut to whole seconds as other builders write them, whiteouts dated 1970, no user names.
//!
//! Left out: the root itself (a layer doesn't say what its root is), sockets (tar has no such thing), attributes that aren't the
//! file's own. A file whose own name starts with `.wh.` is written as it is, as other builders do, though it reads as a whiteout.

mod ahead;
mod blocks;
mod member;

pub(crate) use blocks::Blocks;

use crate::tar::{BLOCK, TarError};
use crate::tree::{Entry, Kind, Tree, TreeError};
use ahead::Piece;
use blocks::CopyError;
use kiln_digest::{Digest, DigestWriter};
use member::{Links, What, header};
use std::fs::File;
use std::io::{self, Write};
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
    /// A name that an eStargz layer cannot have: its table of contents is text.
    #[error(
        "`/{path}` cannot be in an eStargz layer: its name is not UTF-8\nhint: `compression=gzip` and `compression=zstd` take any name"
    )]
    NotText {
        /// The member, or what it refers to, as far as it is text.
        path: PathBuf,
    },
    /// The stream is no archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The stream could not be read.
    #[error("failed to read the layer's tar stream")]
    Read(#[source] io::Error),
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
        let mut links = Links::default();
        let mut left: Vec<(PathBuf, Entry)> = children(tree, Path::new(""))?;
        while let Some((path, entry)) = left.pop() {
            let what = links.see(&path, &entry);
            let xattrs = tree.xattrs(&path)?;
            let header = header(&path, &entry, &what, &xattrs, options);
            stream.push(&header).map_err(PackError::Write)?;
            if let (What::Itself, Kind::File, 1..) = (&what, &entry.kind, entry.size) {
                copy(&mut stream, &mut tree.open(&path)?, entry.size, &path)?;
            }
            if entry.is_directory() {
                left.extend(children(tree, &path)?);
            }
        }
        stream.push(&[0; 2 * BLOCK]).map_err(PackError::Write)?;
        stream.finish().map_err(PackError::Write)?;
    }
    digester.flush().map_err(PackError::Write)?;
    let (_, diff_id, size) = digester.finish();
    Ok(Packed { diff_id, size })
}

/// The uncompressed stream is hashed and written in blocks of this size.
const BLOCK_SIZE: usize = 256 << 10;

/// The paths in a directory, last first, since they are taken from the end.
fn children(tree: &dyn Tree, path: &Path) -> Result<Vec<(PathBuf, Entry)>, TreeError> {
    let children = tree.children(path)?;
    Ok(children.into_iter().rev().map(|(name, entry)| (path.join(name), entry)).collect())
}

/// Walks the layer into `stream`, up to the archive's end mark.
pub(crate) fn pack_into<S>(dir: &Path, stream: &mut Blocks<S>, options: &PackOptions) -> Result<(), PackError>
where
    S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>,
{
    ahead::prepare(dir, options, |piece| match piece {
        Piece::Bytes(bytes) => stream.push(&bytes).map_err(PackError::Write),
        Piece::File { mut file, size, path } => copy(stream, &mut file, size, &path),
    })?;
    stream.push(&[0; 2 * BLOCK]).map_err(PackError::Write)
}

/// A file's bytes, padded to whole tar blocks.
fn copy<S>(stream: &mut Blocks<S>, file: &mut File, size: u64, path: &Path) -> Result<(), PackError>
where
    S: FnMut(Vec<u8>) -> io::Result<Vec<u8>>,
{
    let copied = stream.copy(file, size).map_err(|error| match error {
        CopyError::Read(source) => TreeError::io("read", path, source).into(),
        CopyError::Write(source) => PackError::Write(source),
    })?;
    if !copied {
        return Err(PackError::Changed { path: path.to_owned() });
    }
    stream.pad(size).map_err(PackError::Write)
}

/// What precedes the name of a path that is gone.
pub(crate) const WHITEOUT: &str = ".wh.";
/// The member that makes its directory opaque.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";

#[cfg(test)]
mod tests;
