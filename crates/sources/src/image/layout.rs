//! OCI image layouts on this machine (OCI image-spec, image-layout.md): `oci-layout`, `index.json`, `blobs/sha256/HEX`.

use kiln_digest::Digest;
use oci_spec::image::ImageIndex;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// As large may a manifest or an index be.
const MAX_DOCUMENT: u64 = 4 << 20;
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It is not there, or not a layout.
    #[error("`{path}` is not an OCI image layout\nhint: expected a directory with `index.json` and `blobs/sha256`")]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of it cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its index is malformed.
    #[error("malformed index `{path}`")]
    Index {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// It holds several images and none was named, or the named one is not there.
    #[error("no image `{wanted}` in the layout `{path}`\nhint: it has {names}")]
    NoImage {
        /// The directory.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What is there.
        names: String,
    },
    /// It has no such blob.
    #[error("the layout `{path}` has no blob `{digest}`")]
    NoBlob {
        /// The directory.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A blob is not what its name says.
    #[error("`{path}` does not have the digest that its name says")]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// A digest in the index that kiln cannot verify.
    #[error(transparent)]
    Digest(#[from] kiln_digest::ParseDigestError),
}

/// One image of a layout.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    path: PathBuf,
    /// A tag or a digest.
    wanted: Option<String>,
}

impl Layout {
    pub(super) fn new(path: &Path, wanted: Option<&str>) -> Self {
        Self { path: path.to_owned(), wanted: wanted.map(str::to_owned) }
    }

    /// The bytes of the manifest or index that is wanted.
    pub(super) fn manifest(&self) -> Result<Vec<u8>, LayoutError> {
        if let Some(digest) = self.wanted.as_deref().and_then(|wanted| wanted.parse().ok()) {
            return self.read(&digest);
        }
        let path = self.path.join("index.json");
        let file = File::open(&path).map_err(|source| LayoutError::NotALayout { path: self.path.clone(), source })?;
        let index: ImageIndex =
            serde_json::from_reader(file.take(MAX_DOCUMENT)).map_err(|source| LayoutError::Index { path, source })?;
        let name = |annotations: &Option<std::collections::HashMap<String, String>>| {
            annotations.as_ref().and_then(|annotations| annotations.get(REF_NAME).cloned())
        };
        let entries = index.manifests();
        let found = match &self.wanted {
            Some(wanted) => entries.iter().find(|entry| name(entry.annotations()).as_ref() == Some(wanted)),
            None if entries.len() == 1 => entries.first(),
            None => entries.iter().find(|entry| name(entry.annotations()).as_deref() == Some("latest")),
        };
        let entry = found.ok_or_else(|| {
            let names: Vec<String> = entries
                .iter()
                .map(|entry| name(entry.annotations()).unwrap_or_else(|| entry.digest().to_string()))
                .collect();
            LayoutError::NoImage {
                path: self.path.clone(),
                wanted: self.wanted.clone().unwrap_or_else(|| "latest".to_owned()),
                names: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            }
        })?;
        self.read(&entry.digest().to_string().parse()?)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    /// Opens a blob, unverified.
    pub(super) fn open(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = self.blob(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LayoutError::NoBlob { path: self.path.clone(), digest: *digest },
            _ => LayoutError::Read { path, source },
        })
    }

    /// Reads a small blob and verifies it.
    pub(super) fn read(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob(digest);
        let mut bytes = Vec::new();
        let read = self.open(digest)?.take(MAX_DOCUMENT).read_to_end(&mut bytes);
        read.map_err(|source| LayoutError::Read { path: path.clone(), source })?;
        if Digest::of_bytes(&bytes) != *digest {
            return Err(LayoutError::Corrupt { path });
        }
        Ok(bytes)
    }
}
