//! `type=local` and `type=tar`: the files of the result, without an image.

use crate::destination::{Destination, ExportError, Replaced, write_stream};
use kiln_layer::{Builder, Kind, Meta, PackOptions, Stoppable, Tree, pack_tree};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Writes all files into a directory, over what is there. They belong to whoever runs kiln, as with `docker build`; devices are
/// left out, and set-id bits and file capabilities taken away.
///
/// # Errors
/// [`ExportError`].
pub fn write_local(tree: &dyn Tree, directory: &Path, stop: &AtomicBool) -> Result<(), ExportError> {
    std::fs::create_dir_all(directory).map_err(ExportError::write(directory))?;
    let builder = Builder::new(directory.to_owned(), None)?;
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut left = vec![Path::new("").to_owned()];
    while let Some(parent) = left.pop() {
        for (name, entry) in tree.children(&parent)? {
            let path = parent.join(name);
            let mut meta = Meta::of(&entry, tree.xattrs(&path)?);
            (meta.uid, meta.gid) = owner;
            // Nothing of an image may give power over this machine: no device, no program that runs as somebody else.
            if matches!(entry.kind, Kind::Character { .. } | Kind::Block { .. }) {
                continue;
            }
            if !entry.is_directory() {
                meta.mode &= 0o1777;
                meta.xattrs.retain(|(name, _)| name != "security.capability");
            }
            if entry.is_directory() {
                builder.directory(&path, &meta)?;
                left.push(path);
            } else if entry.is_file() {
                builder.file(&path, &meta, Stoppable::new(tree.open(&path)?, stop))?;
            } else {
                builder.node(&path, &meta, &entry.kind)?;
            }
        }
    }
    builder.finish()?;
    Ok(())
}

/// Writes all files as a tar archive.
///
/// # Errors
/// [`ExportError`].
pub fn write_tar(tree: &dyn Tree, destination: &Destination, stop: &AtomicBool) -> Result<Replaced, ExportError> {
    write_stream(destination, stop, |out| {
        pack_tree(tree, out, &PackOptions::default())?;
        Ok(())
    })
}
