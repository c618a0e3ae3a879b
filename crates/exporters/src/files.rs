//! `type=local` and `type=tar`: the files of the result, without an image.

use crate::destination::{Destination, ExportError, Replaced, write_stream};
use kiln_layer::{Builder, Kind, Meta, PackOptions, Stoppable, Tree, pack_tree};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Writes all files into a directory, over what is there. They belong to whoever runs kiln, as with `docker build`; devices are
/// left out, and set-id bits and file capabilities taken away. Hard links stay what they are.
///
/// # Errors
/// [`ExportError`].
pub fn write_local(tree: &dyn Tree, directory: &Path, stop: &AtomicBool) -> Result<(), ExportError> {
    std::fs::create_dir_all(directory).map_err(ExportError::write(directory))?;
    let builder = Builder::new(directory.to_owned(), None)?;
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(parent) = left.pop() {
        for (name, entry) in tree.children(&parent)? {
            let path = parent.join(name);
            let mut meta = Meta::of(&entry, tree.xattrs(&path)?);
            (meta.uid, meta.gid) = owner;
            // Nothing of an image may give power over this machine: no device, no program that runs as somebody else.
            if matches!(entry.kind, Kind::Character { .. } | Kind::Block { .. }) {
                continue;
            }
            if entry.nlink > 1 && !entry.is_directory() {
                if let Some(first) = links.get(&(entry.dev, entry.ino)) {
                    builder.hard_link(&path, first)?;
                    continue;
                }
                links.insert((entry.dev, entry.ino), path.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layer::Directory;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn names_of_one_file_are_links_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = from.path().join("d/one");
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::write(&file, "x").unwrap();
        std::fs::write(from.path().join("same"), "x").unwrap();
        for link in ["d/three", "two"] {
            std::fs::hard_link(&file, from.path().join(link)).unwrap();
        }
        std::os::unix::fs::symlink("d/one", from.path().join("symlink")).unwrap();
        std::fs::hard_link(from.path().join("symlink"), from.path().join("d/symlink")).unwrap();
        std::fs::write(to.path().join("two"), "old").unwrap();
        let tree = Directory::new(from.path()).unwrap();
        // The second time over what the first one wrote.
        for _ in 0..2 {
            write_local(&tree, to.path(), &AtomicBool::new(false)).unwrap();
            let inode = |name: &str| std::fs::symlink_metadata(to.path().join(name)).unwrap().ino();
            assert_eq!((inode("d/one"), inode("d/three")), (inode("two"), inode("two")));
            assert_eq!(inode("symlink"), inode("d/symlink"));
            assert_ne!(inode("same"), inode("two"));
            assert_eq!(std::fs::read(to.path().join("two")).unwrap(), b"x");
        }
    }
}
