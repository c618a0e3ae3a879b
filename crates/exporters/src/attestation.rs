//! Attestations of an image, as BuildKit keeps them: a manifest beside the image's in the index, for the platform `unknown/unknown`,
//! whose layers are in-toto statements and whose annotations name the image's manifest (BuildKit, *Attestation storage*).

use crate::assembly::Document;
use crate::media_types::MediaTypes;
use crate::pack::ImageBlobs;
use kiln_digest::Digest;
use serde_json::{Value, json};

/// The media type of an in-toto statement.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The annotation of a statement's descriptor that says what it states.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The annotations of the attestation manifest's descriptor.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION_MANIFEST: &str = "attestation-manifest";

/// What is stated of an image.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What kind of statement it is: a URI.
    pub predicate_type: &'static str,
    /// The in-toto statement.
    pub bytes: Vec<u8>,
}

/// The statements about the image of one platform, as blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The manifest of the image that they are about.
    pub subject: Digest,
    /// The config that a manifest must have; it says nothing.
    pub config: Document,
    /// The statements.
    pub statements: Vec<Document>,
    /// The manifest of config and statements.
    pub manifest: Document,
}

impl Attestation {
    /// Statements about an image.
    pub fn new(image: &ImageBlobs, statements: Vec<Statement>) -> Self {
        let types = MediaTypes::Oci;
        let (kinds, statements): (Vec<_>, Vec<_>) = statements
            .into_iter()
            .map(|statement| (statement.predicate_type, Document::new(STATEMENT, statement.bytes)))
            .unzip();
        let diff_ids: Vec<String> = statements.iter().map(|statement| statement.digest.to_string()).collect();
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Document::new(types.config(), config.to_string().into_bytes());
        let layer = |(kind, statement): (&str, &Document)| {
            let mut layer = statement.descriptor();
            layer["annotations"] = json!({ PREDICATE_TYPE: kind });
            layer
        };
        let layers: Vec<Value> = kinds.into_iter().zip(&statements).map(layer).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": types.manifest(), "config": config.descriptor(), "layers": layers,
        });
        let manifest = Document::new(types.manifest(), manifest.to_string().into_bytes());
        Self { subject: image.manifest.digest, config, statements, manifest }
    }

    /// The manifest's descriptor in the index.
    pub fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest.descriptor();
        descriptor["annotations"] =
            json!({ REFERENCE_DIGEST: self.subject.to_string(), REFERENCE_TYPE: ATTESTATION_MANIFEST });
        descriptor["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
        descriptor
    }

    /// Everything that it is made of; the manifest comes last.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        [&self.config].into_iter().chain(&self.statements).chain([&self.manifest])
    }

    /// The image that an entry of an index is about, and the digest of the entry, if it is one of attestations.
    pub fn of_entry(entry: &Value) -> Option<(Digest, Digest)> {
        let annotations = entry.get("annotations")?;
        if annotations.get(REFERENCE_TYPE)?.as_str()? != ATTESTATION_MANIFEST {
            return None;
        }
        let digest = |value: &Value| value.as_str()?.parse().ok();
        Some((digest(annotations.get(REFERENCE_DIGEST)?)?, digest(entry.get("digest")?)?))
    }

    /// Reads one again from its manifest; `blob` gives the bytes of others.
    ///
    /// # Errors
    /// Those of `blob`; nothing where the manifest is malformed.
    pub fn read<E>(
        subject: Digest,
        manifest: Vec<u8>,
        mut blob: impl FnMut(&Digest) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Self>, E> {
        let parsed: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let digest = |descriptor: &Value| descriptor.get("digest")?.as_str()?.parse().ok();
        let (Some(config), Some(layers)) = (digest(&parsed["config"]), parsed["layers"].as_array()) else {
            return Ok(None);
        };
        let Some(layers) = layers.iter().map(digest).collect::<Option<Vec<Digest>>>() else { return Ok(None) };
        let types = MediaTypes::Oci;
        let config = Document::new(types.config(), blob(&config)?);
        let statements = layers.iter().map(|layer| Ok(Document::new(STATEMENT, blob(layer)?)));
        let statements = statements.collect::<Result<_, E>>()?;
        Ok(Some(Self { subject, config, statements, manifest: Document::new(types.manifest(), manifest) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn it_is_read_as_it_was_written() {
        let manifest = Document::new(MediaTypes::Oci.manifest(), b"{}".to_vec());
        let image = ImageBlobs {
            config: Vec::new(),
            config_digest: Digest::of_bytes(b""),
            manifest,
            layers: Vec::new(),
            platform: json!({}),
            descriptor_annotations: Default::default(),
        };
        let statement = Statement { predicate_type: "https://spdx.dev/Document", bytes: b"{\"a\":1}".to_vec() };
        let written = Attestation::new(&image, vec![statement]);
        let entry = written.descriptor();
        assert_eq!(Attestation::of_entry(&entry), Some((image.manifest.digest, written.manifest.digest)));
        assert_eq!(Attestation::of_entry(&image.manifest.descriptor()), None);
        let blob = |digest: &Digest| {
            let document = written.documents().find(|document| document.digest == *digest).unwrap();
            Ok::<_, Infallible>(document.bytes.clone())
        };
        let read = Attestation::read(written.subject, written.manifest.bytes.clone(), blob).unwrap();
        assert_eq!(read, Some(written));
    }
}
