//! ADD of archives: unpacked beside the layer, then linked into it, so that nothing of an archive is ever resolved in the layer
//! or outside it.

use super::select::{Match, Selected, Selection, select};
use super::write::{LayerWriter, WriteError};
use crate::build::StepContext;
use crate::error::{EngineError, ErrorKind};
use crate::ops::file::everything;
use kiln_digest::ContentDigest;
use kiln_graph::{Copy, Unpack};
use kiln_layer::{
    ApplyOptions, Contents, Directory, Existing, Kind, Meta, Stoppable, Tree, apply, decompress, decompress_ahead,
};
use kiln_sources::archive::is_tar_header;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Copies a selection, archives in it unpacked.
pub(super) fn copy(
    writer: &LayerWriter<'_>,
    copy: &Copy,
    from: &dyn Tree,
    selection: &Selection,
    context: &StepContext<'_>,
) -> Result<(), EngineError> {
    for found in &selection.matches {
        let archive = match &found.files[..] {
            [file] if file.entry.is_file() => {
                let file = from.open(&file.path).map_err(EngineError::internal("failed to read what is added"))?;
                is_archive(file).map_err(EngineError::io("read", &found.named))?
            }
            _ => None,
        };
        match archive {
            Some(file) => {
                let expected = found.files[0].content;
                unpack(writer, copy, found, Hashed::new(file), expected, context)?;
            }
            None if copy.unpack == Unpack::Always => {
                let text = format!("`{}` is not a tar archive", found.named.display());
                return Err(
                    EngineError::new(ErrorKind::User, text).with_hint("leave out `--unpack` to copy it as it is")
                );
            }
            None => writer.copy(copy, from, std::slice::from_ref(found), None).map_err(EngineError::write)?,
        }
    }
    Ok(())
}

/// The file again, if it is a tar archive, compressed or not.
fn is_archive(mut file: std::fs::File) -> std::io::Result<Option<std::fs::File>> {
    let mut header = Vec::new();
    let stream = file.try_clone().and_then(decompress);
    // A stream that cannot be decompressed is a file like any other.
    let Ok(()) = stream.and_then(|stream| stream.take(512).read_to_end(&mut header).map(drop)) else { return Ok(None) };
    file.seek(SeekFrom::Start(0))?;
    Ok(is_tar_header(&header).then_some(file))
}

fn unpack(
    writer: &LayerWriter<'_>,
    copy: &Copy,
    found: &Match,
    file: Hashed,
    expected: Option<ContentDigest>,
    context: &StepContext<'_>,
) -> Result<(), EngineError> {
    let temporary = context.temp_dir()?;
    let unpacked = temporary.path().join("fs");
    let actual = Arc::clone(&file.digest);
    let stop = context.cancel().flag();
    let stream = decompress_ahead(file).map_err(EngineError::io("read", &found.named))?;
    let applied = apply(
        Stoppable::new(stream, &stop),
        &unpacked,
        &ApplyOptions { contents: Contents::Files, ..ApplyOptions::default() },
    );
    // The bytes that were unpacked must be those that the key was made from. One that changed may not even be an archive.
    let known = actual.get().is_some() || applied.is_ok();
    if known && actual.get() != expected.as_ref() {
        return Err(EngineError::write(WriteError::Changed { path: found.named.clone() }));
    }
    let applied = applied.map_err(|error| {
        EngineError::new(ErrorKind::User, format!("failed to unpack `{}`", found.named.display())).with_source(error)
    })?;
    let tree = Directory::new(&unpacked).map_err(EngineError::internal("failed to read the unpacked archive"))?;
    let all = select(&tree, &everything("/", false), &stop).map_err(EngineError::select)?;
    let root = writer.archive_root(copy).map_err(EngineError::write)?;
    // Symbolic links and pipes that are hard links of each other, by inode, with where the first one is.
    let mut linked: HashMap<(u64, u64), PathBuf> = HashMap::new();
    // Directories of the archive, with where they are in the image.
    let mut places = HashMap::from([(PathBuf::new(), root)]);
    // The members keep their owners and modes, as in BuildKit: `--chown` is for the directory that they are unpacked to.
    for file in all.matches.into_iter().flat_map(|found| found.files) {
        context.check_cancelled()?;
        let relative = file.relative();
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else { continue };
        let mut dest = places[parent].join(name);
        let without_member = applied.deferred.parents.contains(relative);
        if without_member {
            dest = writer.ensure_directory(&dest).map_err(EngineError::write)?;
        }
        if file.entry.is_directory() {
            places.insert(relative.to_owned(), dest.clone());
        }
        if without_member {
            continue;
        }
        let meta = Meta::of(&file.entry, file.xattrs.clone());
        let builder = writer.builder();
        let made = match &file.entry.kind {
            Kind::Directory => builder.directory(&dest, &meta),
            // Links keep the hard links within the archive, and copy nothing.
            Kind::File => builder.link_from(&dest, &meta, existing(&tree, &file)),
            kind if file.entry.nlink > 1 => match linked.entry((file.entry.dev, file.entry.ino)) {
                Slot::Occupied(first) => builder.hard_link(&dest, first.get()),
                Slot::Vacant(first) => builder.node(first.insert(dest), &meta, kind),
            },
            kind => builder.node(&dest, &meta, kind),
        };
        made.map_err(|error| EngineError::write(WriteError::Build(error)))?;
    }
    Ok(())
}

/// A regular file that was unpacked.
fn existing<'a>(layer: &'a Directory, file: &'a Selected) -> Existing<'a> {
    let Selected { path, entry, content, .. } = file;
    let content = content.unwrap_or_else(|| ContentDigest::of_bytes(b""));
    let inode = (entry.nlink > 1).then_some((entry.dev, entry.ino));
    Existing { layer, path, size: entry.size, content, inode }
}

/// A file whose digest is known once it has been read to its end.
struct Hashed {
    file: std::fs::File,
    hasher: blake3::Hasher,
    digest: Arc<OnceLock<ContentDigest>>,
}

impl Hashed {
    fn new(file: std::fs::File) -> Self {
        Self { file, hasher: blake3::Hasher::new(), digest: Arc::default() }
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() {
            self.digest.get_or_init(|| ContentDigest::from_bytes(*self.hasher.finalize().as_bytes()));
        }
        Ok(read)
    }
}
