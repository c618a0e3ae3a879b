//! Layers whose tar stream changes when they are packed: no time in it is later than another (`rewrite-timestamp`), or it gets a table of
//! contents (eStargz). The diff id that a layer then has is remembered by what it was, so that the same layer is converted once ever.

use crate::pack::{Annotations, PackError};
use kiln_digest::Digest;
use kiln_layer::{BlobCompression, BlobFormat, PackOptions, toc_digest};
use kiln_store::{BlobInfo, LayerId, Store};

/// Memos of the diff ids that layers get.
const MEMO_CONVERTED: &str = "rewritten layer";
/// Memos of the digests of tables of contents, by the blob; nothing for a blob that has none.
const MEMO_CONTENTS: &str = "estargz contents";

/// The annotation of a layer's descriptor by which runtimes verify the table of contents (stargz-snapshotter, `docs/estargz.md`).
const CONTENTS: &str = "containerd.io/snapshot/stargz/toc.digest";

/// What becomes of a layer's tar stream.
pub(crate) struct Converted {
    /// The memo's key; none for a stream that stays as it is.
    key: Option<String>,
}

impl Converted {
    /// Of a layer of the store.
    pub(crate) fn of_layer(id: LayerId, tar: &PackOptions, compression: BlobCompression) -> Self {
        let PackOptions { latest } = tar;
        let key = match compression.format {
            BlobFormat::Estargz => Some(format!("{id} {latest:?} {}", compression.name())),
            _ => latest.map(|_| format!("{id} {latest:?}")),
        };
        Self { key }
    }

    /// Of a layer of a base image, as it was pulled.
    pub(crate) fn of_base(diff_id: Digest, compression: BlobCompression) -> Self {
        let estargz = compression.format == BlobFormat::Estargz;
        Self { key: estargz.then(|| format!("{diff_id} {}", compression.name())) }
    }

    /// Whether the stream stays as it is.
    pub(crate) fn is_itself(&self) -> bool {
        self.key.is_none()
    }

    /// The diff id that the layer gets, if it is known; `own` is the one that it has.
    pub(crate) fn diff_id(&self, store: &Store, own: Option<Digest>) -> Result<Option<Digest>, PackError> {
        let Some(key) = &self.key else { return Ok(own) };
        let value = store.memo(MEMO_CONVERTED, key.as_bytes())?;
        Ok(value.and_then(|value| Some(Digest::from_bytes(value.try_into().ok()?))))
    }

    /// Remembers the diff id.
    pub(crate) fn remember(&self, store: &Store, diff_id: Digest) -> Result<(), PackError> {
        if let Some(key) = &self.key {
            store.put_memo(MEMO_CONVERTED, key.as_bytes(), diff_id.as_bytes())?;
        }
        Ok(())
    }
}

/// What the descriptor of an eStargz blob says; nothing of any other blob.
pub(crate) fn annotations(store: &Store, blob: &BlobInfo) -> Result<Annotations, PackError> {
    let key = blob.digest.as_bytes();
    let digest = match store.memo(MEMO_CONTENTS, key)? {
        Some(known) => known.try_into().ok().map(Digest::from_bytes),
        None => {
            let (file, _) = store.open_blob(&blob.digest)?;
            let found = toc_digest(&file).map_err(|source| PackError::Contents { blob: blob.digest, source })?;
            store.put_memo(MEMO_CONTENTS, key, found.as_ref().map_or(&[][..], |digest| digest.as_bytes()))?;
            found
        }
    };
    Ok(digest.map(|digest| (CONTENTS.to_owned(), digest.to_string())).into_iter().collect())
}
