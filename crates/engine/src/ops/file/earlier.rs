//! The layer that a step made last time, to link unchanged files from instead of copying them.
//!
//! A file is linked only if the earlier layer has one of the same bytes and metadata at the same path; how it got there does not
//! matter. What a layer's files are is kept beside the layer when it is made.

use kiln_digest::ContentDigest;
use kiln_layer::{Built, BuiltFile, Directory, Meta};
use kiln_store::{LayerId, Store};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

/// Memos of what a layer's files are, by the layer's content.
const MEMO: &str = "files-of-layer";
/// For fewer files, looking them up takes as long as copying them.
const WORTH_KEEPING: usize = 64;

/// A regular file of a layer, but for its time.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LayerFile {
    content: ContentDigest,
    mode: u32,
    uid: u32,
    gid: u32,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A layer whose files may be linked.
pub(crate) struct Earlier {
    pub(super) directory: Directory,
    files: HashMap<OsString, LayerFile>,
}

/// Keeps what the files of a layer are that was just made. Those with several names are not kept: they would stay linked to each
/// other where they no longer are.
pub(crate) fn keep(store: &Store, built: Built) {
    if built.files.len() < WORTH_KEEPING {
        return;
    }
    let file = |file: BuiltFile| {
        let BuiltFile { path, content, mode, uid, gid, xattrs } = file;
        (path.into_os_string(), LayerFile { content, mode, uid, gid, xattrs })
    };
    let files: Vec<(OsString, LayerFile)> = built.files.into_iter().map(file).collect();
    let bytes = postcard::to_stdvec(&files).expect("a list of files is plain data");
    // Without it the next run copies.
    let _ = store.put_memo(MEMO, built.diff.digest.as_bytes(), &bytes);
}

impl Earlier {
    /// The layer `id`, if it was kept what its files are.
    pub(crate) fn find(store: &Store, id: LayerId) -> Option<Self> {
        let layer = store.layer(id).ok()??;
        let bytes = store.memo(MEMO, layer.content.as_bytes()).ok()??;
        let files: Vec<(OsString, LayerFile)> = postcard::from_bytes(&bytes).ok()?;
        let files = files.into_iter().collect();
        let directory = Directory::new(store.layer_path(id)).ok()?;
        Some(Self { directory, files })
    }

    /// Whether the file at `dest` has this content and metadata. Layers don't change, so nothing has to be looked at.
    pub(super) fn has(&self, dest: &Path, content: ContentDigest, meta: &Meta) -> bool {
        self.files.get(dest.as_os_str()).is_some_and(|file| {
            file.content == content
                && (file.mode, file.uid, file.gid) == (meta.mode, meta.uid, meta.gid)
                && file.xattrs == meta.xattrs
        })
    }
}
