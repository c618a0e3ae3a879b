//! What a cache holds: one JSON document, versioned, which names every blob of the cache.
//!
//! ```json
//! {"version":1,"created":1790000000,
//!  "records":{"digest":"sha256:…","size":1234},
//!  "layers":[{"diff_id":"sha256:…","blob":{"digest":"sha256:…","size":99},"media_type":"application/vnd.oci.…"}],
//!  "mounts":[{"key":"…","index":{"digest":"sha256:…","size":88},"packs":[{"digest":"sha256:…","size":77}],"size":500,"used":1790000000,
//!             "mode":493,"uid":0,"gid":0}]}
//! ```

use crate::blob::BlobRef;
use crate::error::ManifestProblem;
use kiln_digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The version of the document that is written, and the only one that is read.
pub const MANIFEST_VERSION: u32 = 1;

/// Most bytes of the document that are read.
pub(crate) const MANIFEST_MAX: u64 = 32 << 20;

/// Most bytes of a layer's media type.
const MEDIA_TYPE_MAX: usize = 127;

/// The media types of a cache's own blobs.
pub(crate) const RECORDS_TYPE: &str = "application/vnd.kiln.cache.records.v1";
pub(crate) const MOUNT_INDEX_TYPE: &str = "application/vnd.kiln.cache.mount.index.v1";
pub(crate) const MOUNT_PACK_TYPE: &str = "application/vnd.kiln.cache.mount.pack.v1";

/// What a cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheManifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The cache records, a document of the engine's.
    pub records: BlobRef,
    /// The layers that the records speak of.
    pub layers: Vec<CachedLayer>,
    /// The cache mounts.
    pub mounts: Vec<CachedMount>,
}

/// A layer as a cache has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedLayer {
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// The tar stream, compressed as the media type says.
    pub blob: BlobRef,
    /// As in an OCI image manifest.
    pub media_type: String,
}

/// A cache mount as a cache has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedMount {
    /// Which mount it is.
    pub key: String,
    /// Its files.
    pub index: BlobRef,
    /// Their chunks.
    pub packs: Vec<BlobRef>,
    /// The size of its files in bytes.
    pub size: u64,
    /// When a step last used it, in seconds since 1970.
    pub used: u64,
    /// The mode of its directory.
    pub mode: u32,
    /// The owner of its directory.
    pub uid: u32,
    /// The group of its directory.
    pub gid: u32,
}

impl CacheManifest {
    /// Every blob that it names, each once, with its media type.
    pub fn blobs(&self) -> Vec<(BlobRef, &str)> {
        let layers = self.layers.iter().map(|layer| (layer.blob, layer.media_type.as_str()));
        let mounts = self.mounts.iter().flat_map(|mount| {
            let packs = mount.packs.iter().map(|pack| (*pack, MOUNT_PACK_TYPE));
            [(mount.index, MOUNT_INDEX_TYPE)].into_iter().chain(packs)
        });
        let mut seen = HashSet::new();
        let all = [(self.records, RECORDS_TYPE)].into_iter().chain(layers).chain(mounts);
        all.filter(|(blob, _)| seen.insert(blob.digest)).collect()
    }

    /// The document.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has no keys but strings")
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`ManifestProblem`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestProblem> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let size = bytes.len() as u64;
        if size > MANIFEST_MAX {
            return Err(ManifestProblem::TooLarge { size, limit: MANIFEST_MAX });
        }
        // Another version may well be of another form, and should be told as such.
        let Version { version: found } = serde_json::from_slice(bytes)?;
        if found != MANIFEST_VERSION {
            return Err(ManifestProblem::Version { found });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check().map(|()| manifest)
    }

    /// Refuses what a well-formed document may still say.
    pub(crate) fn check(&self) -> Result<(), ManifestProblem> {
        match self.layers.iter().find(|layer| !is_media_type(&layer.media_type)) {
            Some(layer) => {
                let shown = layer.media_type.chars().take(MEDIA_TYPE_MAX).filter(|c| !c.is_control());
                Err(ManifestProblem::MediaType(shown.collect()))
            }
            None => Ok(()),
        }
    }
}

fn is_media_type(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&c);
    text.len() <= MEDIA_TYPE_MAX && text.contains('/') && text.bytes().all(plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest of a layer and a mount; `text` is what the blobs are made of.
    pub(crate) fn example(text: &str) -> (CacheManifest, Vec<Vec<u8>>) {
        let contents: Vec<Vec<u8>> =
            ["records", "layer", "index", "pack"].iter().map(|kind| format!("{kind} of {text}").into_bytes()).collect();
        let blob = |number: usize| BlobRef::of_bytes(&contents[number]);
        let layer = CachedLayer {
            diff_id: Digest::of_bytes(b"tar"),
            blob: blob(1),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        };
        let mount = CachedMount {
            key: "go-build".to_owned(),
            index: blob(2),
            packs: vec![blob(3)],
            size: 10,
            used: 1,
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let manifest = CacheManifest {
            version: MANIFEST_VERSION,
            created: 1,
            records: blob(0),
            layers: vec![layer.clone(), layer],
            mounts: vec![mount],
        };
        (manifest, contents)
    }

    #[test]
    fn the_document_round_trips_and_names_each_blob_once() {
        let (manifest, contents) = example("a");
        assert_eq!(CacheManifest::from_json(&manifest.to_json()).unwrap(), manifest);
        let named: Vec<_> = manifest.blobs().into_iter().map(|(blob, _)| blob).collect();
        assert_eq!(named, contents.iter().map(|bytes| BlobRef::of_bytes(bytes)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_manifest_is_told() {
        let mut hostile = example("a").0;
        hostile.layers[0].media_type = "text/\u{1b}[31mred".to_owned();
        let table = [
            (b"{}".to_vec(), "malformed document: missing field `version`"),
            (br#"{"version":2,"steps":[]}"#.to_vec(), "it is of version 2, and this kiln reads version 1"),
            (br#"{"version":1}"#.to_vec(), "malformed document: missing field `created`"),
            (hostile.to_json(), "a layer of the media type `text/[31mred`"),
        ];
        for (bytes, expected) in table {
            let problem = CacheManifest::from_json(&bytes).unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{problem}");
        }
    }
}
