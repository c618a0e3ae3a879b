//! Files of an image layout, written to a tar archive or a directory. Times are zero, owners root, so that the same image gives
//! the same archive.

use crate::destination::{Destination, ExportError, Stream, write_stream};
use kiln_digest::Digest;
use kiln_layer::{PackOptions, Stoppable};
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

/// Writes the files in order; of equal paths only the first.
pub(crate) fn write(
    store: &Store,
    mut files: Files,
    destination: &Destination,
    stop: &AtomicBool,
) -> Result<(), ExportError> {
    let mut seen = HashSet::new();
    files.retain(|(path, _)| seen.insert(path.clone()));
    match destination {
        Destination::Directory(root) => write_directory(store, files, root, stop),
        _ => write_stream(destination, stop, |out| write_tar(store, files, out)),
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
    let mut archive = tar::Builder::new(out);
    let mut made = HashSet::new();
    for (path, content) in files {
        // Parents first, as some readers want them.
        for (at, _) in path.match_indices('/') {
            if made.insert(path[..at].to_owned()) {
                let mut header = header(0, tar::EntryType::Directory, 0o755);
                archive.append_data(&mut header, format!("{}/", &path[..at]), io::empty()).map_err(unwritten(&path))?;
            }
        }
        match content {
            Content::Bytes(bytes) => {
                let mut header = header(bytes.len() as u64, tar::EntryType::Regular, 0o644);
                archive.append_data(&mut header, &path, &bytes[..]).map_err(unwritten(&path))?;
            }
            Content::Blob(digest) => {
                let (mut file, size) = open(store, &digest)?;
                let mut header = header(size, tar::EntryType::Regular, 0o644);
                header.set_path(&path).map_err(unwritten(&path))?;
                header.set_cksum();
                append(archive.get_mut(), &header, &mut file, size).map_err(unwritten(&path))?;
            }
            Content::Layer { id, diff_id, size } => {
                let mut header = header(size, tar::EntryType::Regular, 0o644);
                header.set_path(&path).map_err(unwritten(&path))?;
                header.set_cksum();
                let out = archive.get_mut();
                out.write_all(header.as_bytes()).map_err(unwritten(&path))?;
                let packed = kiln_layer::pack(&store.layer_path(id), &mut *out, &PackOptions::default())
                    .map_err(|source| ExportError::Layer { layer: id, source: Box::new(source) })?;
                if (packed.diff_id, packed.size) != (diff_id, size) {
                    return Err(ExportError::Changed { layer: id });
                }
                let padding = vec![0; usize::try_from(size.wrapping_neg() % 512).expect("less than a block")];
                out.write_all(&padding).map_err(unwritten(&path))?;
            }
        }
    }
    archive.finish().map_err(unwritten("archive"))
}

/// Appends a file by ourselves: the archive would read it in small pieces.
fn append(out: &mut Stream<'_>, header: &tar::Header, file: &mut File, size: u64) -> io::Result<()> {
    out.write_all(header.as_bytes())?;
    if out.append(file)? != size {
        return Err(io::Error::other("the blob changed while it was read"));
    }
    out.write_all(&[0; 512][..(size.wrapping_neg() % 512) as usize])
}

fn header(size: u64, kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

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
                let file = File::create(&to).map_err(ExportError::write(&to))?;
                io::copy(&mut from, &mut Stoppable::new(file, stop)).map_err(ExportError::write(&to))?;
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
