//! An image as it leaves the store: the manifest of one platform, or an index of the manifests of several (OCI image-spec,
//! image-index.md).

use crate::pack::ImageBlobs;
use kiln_digest::Digest;
use serde_json::{Value, json};

/// An image of one platform or of several, as blobs.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The images, one for each platform, in the order that was asked for.
    pub images: Vec<ImageBlobs>,
    /// The index, if there is one. Without it there is one image.
    pub index: Option<Document>,
}

/// A manifest or an index: bytes with their media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub media_type: &'static str,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    /// Media type of an index.
    pub const INDEX: &'static str = "application/vnd.oci.image.index.v1+json";

    /// A document of these bytes.
    pub fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: Digest::of_bytes(&bytes), bytes }
    }

    /// The descriptor of the document, without a platform.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.bytes.len() })
    }
}

impl Assembly {
    /// An image of one platform.
    pub fn single(image: ImageBlobs) -> Self {
        Self { images: vec![image], index: None }
    }

    /// An index of images.
    pub fn with_index(images: Vec<ImageBlobs>) -> Self {
        let manifests: Vec<Value> = images.iter().map(ImageBlobs::descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": Document::INDEX, "manifests": manifests });
        Self { images, index: Some(Document::new(Document::INDEX, index.to_string().into_bytes())) }
    }

    /// What stands for the whole: the index, or the only manifest.
    pub fn root(&self) -> &Document {
        self.index.as_ref().unwrap_or_else(|| &self.images[0].manifest)
    }

    /// The descriptor of the whole; a manifest's tells its platform.
    pub fn descriptor(&self) -> Value {
        self.index.as_ref().map_or_else(|| self.images[0].descriptor(), Document::descriptor)
    }

    /// The digest of the config, the image's id; an index has none.
    pub fn config_digest(&self) -> Option<Digest> {
        self.index.is_none().then(|| self.images[0].config_digest)
    }
}

impl ImageBlobs {
    /// The manifest's descriptor, with the platform.
    pub fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest.descriptor();
        descriptor["platform"] = self.platform.clone();
        descriptor
    }
}
