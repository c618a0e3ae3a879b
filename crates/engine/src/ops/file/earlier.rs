//! The layer that a step made last time, to link unchanged files from instead of copying them.
//!
//! A file is linked only if the earlier layer has one of the same bytes and metadata at the same path; how it got there does not
//! matter. What bytes a layer's files have is kept beside the layer when it is made.

use kiln_digest::ContentDigest;
use kiln_layer::{Directory, Meta, Tree};
use kiln_store::{LayerId, Store};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Memos of the digests of a layer's files, by the layer's content.
const MEMO: &str = "layer-files";
/// For fewer files, looking them up takes as long as copying them.
const WORTH_KEEPING: usize = 64;

/// A layer whose files may be linked.
pub(crate) struct Earlier {
    directory: PathBuf,
    tree: Directory,
    files: HashMap<PathBuf, ContentDigest>,
}

/// Keeps the digests of the files of a layer that was just made.
pub(crate) fn keep(store: &Store, layer: &ContentDigest, files: &HashMap<PathBuf, ContentDigest>) {
    if files.len() >= WORTH_KEEPING
        && let Ok(bytes) = postcard::to_stdvec(files)
    {
        // Without it the next run copies.
        let _ = store.put_memo(MEMO, layer.as_bytes(), &bytes);
    }
}

impl Earlier {
    /// The layer `id`, if the digests of its files were kept.
    pub(crate) fn find(store: &Store, id: LayerId) -> Option<Self> {
        let layer = store.layer(id).ok()??;
        let bytes = store.memo(MEMO, layer.content.as_bytes()).ok()??;
        let files = postcard::from_bytes(&bytes).ok()?;
        let directory = store.layer_path(id);
        let tree = Directory::new(&directory).ok()?;
        Some(Self { directory, tree, files })
    }

    /// The host path of the file at `dest`, if it has these bytes and this metadata.
    pub(super) fn same_file(
        &self,
        dest: &Path,
        content: Option<ContentDigest>,
        size: u64,
        meta: &Meta,
    ) -> Option<PathBuf> {
        if *self.files.get(dest)? != content? {
            return None;
        }
        let there = self.tree.entry(dest).ok()??;
        let same = there.is_file()
            && (there.size, there.mode, there.uid, there.gid) == (size, meta.mode, meta.uid, meta.gid)
            && self.tree.xattrs(dest).ok()? == meta.xattrs;
        same.then(|| self.directory.join(dest))
    }
}
