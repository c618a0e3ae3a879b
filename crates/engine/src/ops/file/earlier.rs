//! The layer that a step made last time, to link unchanged files from instead of copying them.
//!
//! A file is linked only if the earlier layer has one of the same bytes and metadata at the same path; how it got there does not
//! matter. What a layer's files are is kept beside the layer when it is made.

use kiln_digest::ContentDigest;
use kiln_layer::{Directory, Meta};
use kiln_store::{LayerId, Store};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Memos of what a layer's files are, by the layer's content.
const MEMO: &str = "files-of-layer";
/// For fewer files, looking them up takes as long as copying them.
const WORTH_KEEPING: usize = 64;

/// The regular files that were put into a layer, by path.
pub(crate) type LayerFiles = HashMap<PathBuf, LayerFile>;

/// A regular file of a layer, but for its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerFile {
    pub(crate) content: ContentDigest,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A layer whose files may be linked.
pub(crate) struct Earlier {
    pub(super) directory: Directory,
    files: LayerFiles,
}

impl LayerFile {
    pub(crate) fn new(content: ContentDigest, meta: &Meta) -> Self {
        Self { content, mode: meta.mode, uid: meta.uid, gid: meta.gid, xattrs: meta.xattrs.clone() }
    }
}

/// Keeps what the files of a layer are that was just made.
pub(crate) fn keep(store: &Store, layer: &ContentDigest, files: &LayerFiles) {
    if files.len() >= WORTH_KEEPING
        && let Ok(bytes) = postcard::to_stdvec(files)
    {
        // Without it the next run copies.
        let _ = store.put_memo(MEMO, layer.as_bytes(), &bytes);
    }
}

impl Earlier {
    /// The layer `id`, if it was kept what its files are.
    pub(crate) fn find(store: &Store, id: LayerId) -> Option<Self> {
        let layer = store.layer(id).ok()??;
        let bytes = store.memo(MEMO, layer.content.as_bytes()).ok()??;
        let files = postcard::from_bytes(&bytes).ok()?;
        let directory = Directory::new(store.layer_path(id)).ok()?;
        Some(Self { directory, files })
    }

    /// Whether the file at `dest` is the one wanted. Layers don't change, so nothing has to be looked at.
    pub(super) fn has(&self, dest: &Path, wanted: &LayerFile) -> bool {
        self.files.get(dest) == Some(wanted)
    }
}
