//! An image as it leaves the store: the manifest of one platform, or an index of the manifests of several and of attestations (OCI
//! image-spec, image-index.md).

use crate::attestation::Attestation;
use crate::media_types::MediaTypes;
use crate::pack::{Annotations, ImageBlobs, annotate};
use kiln_digest::Digest;
use serde_json::{Value, json};

/// An image of one platform or of several, as blobs.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The images, one for each platform, in the order that was asked for.
    pub images: Vec<ImageBlobs>,
    /// What is stated of them; only below an index.
    pub attestations: Vec<Attestation>,
    /// The index, if there is one. Without it there is one image.
    pub index: Option<Document>,
    /// Annotations of the index's descriptor.
    pub descriptor_annotations: Annotations,
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
        Self { images: vec![image], attestations: Vec::new(), index: None, descriptor_annotations: Annotations::new() }
    }

    /// An index of images and of what is stated of them, with annotations of its own.
    pub fn with_index(
        images: Vec<ImageBlobs>,
        attestations: Vec<Attestation>,
        types: MediaTypes,
        annotations: &Annotations,
        descriptor_annotations: Annotations,
    ) -> Self {
        let manifests: Vec<Value> =
            images.iter().map(ImageBlobs::descriptor).chain(attestations.iter().map(Attestation::descriptor)).collect();
        let mut index = json!({ "schemaVersion": 2, "mediaType": types.index(), "manifests": manifests });
        annotate(&mut index, annotations);
        let index = Some(Document::new(types.index(), index.to_string().into_bytes()));
        Self { images, attestations, index, descriptor_annotations }
    }

    /// What stands for the whole: the index, or the only manifest.
    pub fn root(&self) -> &Document {
        self.index.as_ref().unwrap_or_else(|| &self.images[0].manifest)
    }

    /// The descriptor of the whole; a manifest's tells its platform.
    pub fn descriptor(&self) -> Value {
        let mut descriptor = self.index.as_ref().map_or_else(|| self.images[0].descriptor(), Document::descriptor);
        annotate(&mut descriptor, &self.descriptor_annotations);
        descriptor
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
        annotate(&mut descriptor, &self.descriptor_annotations);
        descriptor["platform"] = self.platform.clone();
        descriptor
    }
}
