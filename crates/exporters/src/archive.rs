//! Files of an image layout, written to a tar archive or a directory. Times are zero, owners root, so that the same image gives
//! the same archive.

use crate::destination::{Destination, ExportError, Replaced, Stream, write_stream};
use crate::head_start::HeadStart;
use kiln_digest::Digest;
use kiln_layer::{PackOptions, Stoppable, send_file};
use kiln_store::{LayerId, Store};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The content of one file.
#[derive(Clone)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// A blob of the store.
    Blob(Digest),
    /// A layer of the store as a tar stream of this digest and size.
    Layer {
        id: LayerId,
        diff_id: Digest,
        size: u64,
    },
}

/// A path below the layout's root, and what is there.
pub(crate) type Files = Vec<(String, Content)>;

/// Writes the files in order; of equal paths only the first. What was begun is gone on with if it begins what is to be written.
pub(crate) fn write(
    store: &Store,
    mut files: Files,
    destination: &Destination,
    begun: Option<HeadStart>,
    stop: &AtomicBool,
) -> Result<Replaced, ExportError> {
    let mut seen = HashSet::new();
    files.retain(|(path, _)| seen.insert(path.clone()));
    let begun = begun.filter(|begun| begun.begins(destination, &files));
    match (destination, begun) {
        (_, Some(begun)) => begun.finish(store, files, stop),
        (Destination::Directory(root), None) => write_directory(store, files, root, stop).map(|()| Replaced::default()),
        (_, None) => write_stream(destination, stop, |out| write_tar(store, files, out)),
    }
}

fn unwritten(destination: &str) -> impl FnOnce(io::Error) -> ExportError {
    let path = PathBuf::from(destination);
    move |source| ExportError::Write { path, source }
}

fn open(store: &Store, digest: &Digest) -> Result<(File, u64), ExportError> {
    store.open_blob(digest).map_err(|source| ExportError::Blob { digest: *digest, source: Box::new(source) })
}

/// Writes the files as a tar archive.
pub(crate) fn write_tar(store: &Store, files: Files, out: &mut Stream<'_>) -> Result<(), ExportError> {
    let mut archive = Archive::new(out, HashSet::new());
    for (path, content) in files {
        archive.add(store, &path, content)?;
    }
    archive.finish()
}

/// A tar archive that is being written.
pub(crate) struct Archive<'a, 'b> {
    out: &'a mut Stream<'b>,
    /// The directories that are in it.
    made: HashSet<String>,
}

impl<'a, 'b> Archive<'a, 'b> {
    /// Goes on with an archive that has these directories.
    pub(crate) fn new(out: &'a mut Stream<'b>, made: HashSet<String>) -> Self {
        Self { out, made }
    }

    pub(crate) fn add(&mut self, store: &Store, path: &str, content: Content) -> Result<(), ExportError> {
        // Parents first, as some readers want them.
        for (at, _) in path.match_indices('/') {
            if self.made.insert(path[..at].to_owned()) {
                self.header(&format!("{}/", &path[..at]), 0, tar::EntryType::Directory, 0o755)?;
            }
        }
        let mut begin = |size| self.header(path, size, tar::EntryType::Regular, 0o644);
        let size = match content {
            Content::Bytes(bytes) => {
                begin(bytes.len() as u64)?;
                self.out.write_all(&bytes).map_err(unwritten(path))?;
                bytes.len() as u64
            }
            Content::Blob(digest) => {
                let (mut file, size) = open(store, &digest)?;
                begin(size)?;
                let written = self.out.append(&mut file).map_err(unwritten(path))?;
                let changed = || io::Error::other("the blob changed while it was read");
                (written == size).then_some(size).ok_or_else(changed).map_err(unwritten(path))?
            }
            Content::Layer { id, diff_id, size } => {
                begin(size)?;
                let packed = kiln_layer::pack(&store.layer_path(id), &mut *self.out, &PackOptions::default())
                    .map_err(|source| ExportError::Layer { layer: id, source: Box::new(source) })?;
                if (packed.diff_id, packed.size) != (diff_id, size) {
                    return Err(ExportError::Changed { layer: id });
                }
                size
            }
        };
        self.out.write_all(&[0; BLOCK][..size.wrapping_neg() as usize % BLOCK]).map_err(unwritten(path))
    }

    fn header(&mut self, path: &str, size: u64, kind: tar::EntryType, mode: u32) -> Result<(), ExportError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_path(path).map_err(unwritten(path))?;
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(unwritten(path))
    }

    /// Leaves the archive to be gone on with, and gives its directories.
    pub(crate) fn pause(self) -> HashSet<String> {
        self.made
    }

    /// Writes its end.
    pub(crate) fn finish(self) -> Result<(), ExportError> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(unwritten("archive"))
    }
}

/// The unit of a tar archive, in bytes.
const BLOCK: usize = 512;

fn write_directory(store: &Store, files: Files, root: &std::path::Path, stop: &AtomicBool) -> Result<(), ExportError> {
    for (path, content) in files {
        let to = root.join(&path);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(ExportError::write(parent))?;
        }
        match content {
            Content::Bytes(bytes) => std::fs::write(&to, bytes).map_err(ExportError::write(&to))?,
            Content::Blob(digest) => {
                let (mut from, size) = open(store, &digest)?;
                // A blob that is there already, whole, has the same bytes: it is named by its digest.
                if std::fs::metadata(&to).is_ok_and(|there| there.len() == size) {
                    continue;
                }
                let mut file = File::create(&to).map_err(ExportError::write(&to))?;
                if send_file(&mut from, &mut file, stop).map_err(ExportError::write(&to))? != size {
                    return Err(ExportError::write(&to)(io::Error::other("the blob changed while it was read")));
                }
            }
            Content::Layer { id, .. } => {
                let file = File::create(&to).map_err(ExportError::write(&to))?;
                kiln_layer::pack(&store.layer_path(id), Stoppable::new(file, stop), &PackOptions::default())
                    .map_err(|source| ExportError::Layer { layer: id, source: Box::new(source) })?;
            }
        }
    }
    Ok(())
}
