//! Attestations: in-toto statements about the images of a build, asked for with `--attest`, `--provenance` and `--sbom`.
//!
//! [`provenance`] tells how an image was made (SLSA provenance v1), [`inventory`] what is in it (SPDX). Here they become statements
//! about the manifest of each image, or files of a `local` or `tar` output. Where they are kept in an index is for `exporters`.

mod inventory;
mod options;
mod provenance;
mod repository;

pub use options::{AttestationOptions, ProvenanceMode, ProvenanceOptions};

use crate::build::Build;
use crate::error::EngineError;
use crate::export::Image;
use crate::request::BuildRequest;
use kiln_digest::Digest;
use kiln_exporters::{Attestation, ImageBlobs, Statement};
use kiln_registry::Reference;
use provenance::Facts;
use serde_json::{Value, json};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v0.1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

/// What is to be stated of the images of a build.
pub(crate) struct Attestor<'a> {
    build: &'a Build<'a>,
    options: &'a AttestationOptions,
    facts: Option<Facts<'a>>,
}

/// A statement as a file of an output directory.
pub(crate) struct StatementFile {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Attestor<'a> {
    /// Whoever makes the attestations that a request asks for, if it asks for any.
    pub(crate) fn new(build: &'a Build<'a>, request: &'a BuildRequest) -> Option<Self> {
        let options = &request.attestations;
        let facts = options.provenance.as_ref().map(|provenance| Facts::new(build, request, provenance));
        options.any().then_some(Self { build, options, facts })
    }

    /// Whether anything is stated in outputs that are no images.
    pub(crate) fn has_files(&self) -> bool {
        self.options.sbom || self.options.provenance.as_ref().is_some_and(|provenance| !provenance.inline_only)
    }

    /// The provenance of an image, for `--metadata-file`.
    pub(crate) fn provenance(&self, image: &Image) -> Option<Value> {
        self.facts.as_ref().map(|facts| facts.predicate(image))
    }

    /// What is stated of an image that has these names.
    pub(crate) fn attest(
        &self,
        image: &Image,
        packed: &ImageBlobs,
        names: &[Reference],
    ) -> Result<Attestation, EngineError> {
        let digest = packed.manifest.digest;
        let subjects = subjects(image, names, &digest);
        let predicates = self.predicates(image, &packed.config, names, &digest)?;
        let statement = |(predicate_type, predicate): (&'static str, Value)| Statement {
            predicate_type,
            bytes: statement(predicate_type, &subjects, &predicate),
        };
        Ok(Attestation::new(packed, predicates.into_iter().map(statement).collect()))
    }

    /// The same as files beside those of the image, which has no manifest and is known by its config there.
    pub(crate) fn files(&self, image: &Image, config: &[u8]) -> Result<Vec<StatementFile>, EngineError> {
        let id = Digest::of_bytes(config);
        let subjects = subjects(image, &[], &id);
        let inline = |kind: &str| {
            kind == PROVENANCE && self.options.provenance.as_ref().is_some_and(|provenance| provenance.inline_only)
        };
        let predicates = self.predicates(image, config, &[], &id)?.into_iter().filter(|(kind, _)| !inline(kind));
        let file = |(kind, predicate): (&'static str, Value)| StatementFile {
            name: if kind == SPDX { "sbom.spdx.json" } else { "provenance.json" },
            bytes: statement(kind, &subjects, &predicate),
        };
        Ok(predicates.map(file).collect())
    }

    fn predicates(
        &self,
        image: &Image,
        config: &[u8],
        names: &[Reference],
        digest: &Digest,
    ) -> Result<Vec<(&'static str, Value)>, EngineError> {
        let mut predicates = Vec::new();
        if let Some(provenance) = self.provenance(image) {
            predicates.push((PROVENANCE, provenance));
        }
        if self.options.sbom {
            predicates.push((SPDX, inventory::document(self.build, image, config, names, digest)?));
        }
        Ok(predicates)
    }
}

fn statement(predicate_type: &str, subjects: &[Value], predicate: &Value) -> Vec<u8> {
    let statement = json!({
        "_type": STATEMENT_TYPE, "predicateType": predicate_type, "subject": subjects, "predicate": predicate,
    });
    statement.to_string().into_bytes()
}

/// What a statement is about: the manifest, under each of its names.
fn subjects(image: &Image, names: &[Reference], digest: &Digest) -> Vec<Value> {
    let platform = image.platform.to_string();
    let subject = |name: String| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    match names {
        [] => vec![subject("_".to_owned())],
        names => names.iter().map(|name| subject(image_url(&name.to_string(), &platform))).collect(),
    }
}

/// The package URL of an image (the package-url specification, type `docker`).
fn image_url(reference: &str, platform: &str) -> String {
    let Ok(reference) = Reference::parse(reference) else { return reference.to_owned() };
    let digest = || reference.digest().map(|digest| digest.to_string());
    let version = reference.tag().map(str::to_owned).or_else(digest);
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    format!("pkg:docker/{}{version}?platform={}", reference.repository().familiar(), platform.replace('/', "%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_images_have_names_versions_and_platforms() {
        for (reference, expected) in [
            ("golang:1.25", "pkg:docker/golang@1.25?platform=linux%2Famd64"),
            ("localhost:5000/team/app:v1", "pkg:docker/localhost:5000/team/app@v1?platform=linux%2Famd64"),
            ("debian", "pkg:docker/debian@latest?platform=linux%2Famd64"),
        ] {
            assert_eq!(image_url(reference, "linux/amd64"), expected);
        }
    }
}
