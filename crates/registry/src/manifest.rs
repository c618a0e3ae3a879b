//! Manifests and indexes, OCI's and Docker's schema 2, told apart and checked (OCI image-spec, manifest.md and image-index.md).
//!
//! A document that could be read as both kinds is refused: which one it is must not depend on who reads it.

use kiln_digest::Digest;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;

/// Most bytes of a manifest; what registries accept, and BuildKit as well, is about as much.
pub(crate) const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What kiln asks for, in the request's `Accept`.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest with the bytes that it was read from, verified against the descriptor's digest.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// Its digest.
    pub digest: Digest,
    /// The document as it was served: the only form that has this digest.
    pub bytes: Vec<u8>,
    /// The document, read.
    pub manifest: Manifest,
    /// The host that served it: the registry or one of its mirrors.
    pub host: String,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// One image: a config and layers.
    Image(Box<ImageManifest>),
    /// Several, by platform.
    Index(Box<ImageIndex>),
}

/// Why a document is not a manifest that kiln can use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestProblem {
    /// Neither JSON nor of the form that its media type promises.
    #[error("malformed manifest: {0}")]
    Json(#[source] serde_json::Error),
    /// Both an index and an image, or its declarations contradict each other.
    #[error("ambiguous manifest: {0}")]
    Ambiguous(String),
    /// Docker's schema 1, given up by everybody.
    #[error(
        "media type `{0}` is Docker's schema 1, which is not supported\nhint: push the image again with a tool from after 2017, \
         or convert it with `skopeo copy`"
    )]
    Schema1(String),
    /// Something else than an image, for instance a Helm chart's or a signature's own format.
    #[error("media type `{0}` is not an image's")]
    MediaType(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Image,
    Index,
}

/// As much of a document as is needed to tell what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads a document. `content_type` is what came with it: a response's header or a descriptor's media type.
    ///
    /// # Errors
    /// See [`ManifestProblem`].
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<(Self, MediaType), ManifestProblem> {
        let outline: Outline = serde_json::from_slice(bytes).map_err(ManifestProblem::Json)?;
        // Parameters (`; charset=utf-8`) don't matter, and some servers don't know better than `text/plain`.
        let declared = content_type
            .and_then(|value| value.split(';').next())
            .map(str::trim)
            .filter(|value| value.starts_with("application/vnd."));
        let inner = outline.media_type.as_deref();
        let media_type = inner.or(declared);
        if outline.schema_version == Some(1) || outline.fs_layers.is_some() {
            return Err(ManifestProblem::Schema1(media_type.unwrap_or("unknown").to_owned()));
        }
        if outline.manifests.is_some() && (outline.layers.is_some() || outline.config.is_some()) {
            return Err(ManifestProblem::Ambiguous("it has both `manifests` and `layers` or `config`".to_owned()));
        }
        if let (Some(inner), Some(declared)) = (inner, declared)
            && shape_of(inner)? != shape_of(declared)?
        {
            return Err(ManifestProblem::Ambiguous(format!("it was sent as `{declared}` and says it is `{inner}`")));
        }
        let (shape, media_type) = match media_type {
            Some(media_type) => (shape_of(media_type)?, media_type),
            None if outline.manifests.is_some() => (Shape::Index, OCI_INDEX),
            None => (Shape::Image, OCI_IMAGE),
        };
        let manifest = match shape {
            Shape::Image => Self::Image(Box::new(serde_json::from_slice(bytes).map_err(ManifestProblem::Json)?)),
            Shape::Index => Self::Index(Box::new(serde_json::from_slice(bytes).map_err(ManifestProblem::Json)?)),
        };
        Ok((manifest, MediaType::from(media_type)))
    }
}

/// Whether a media type is one of the four.
pub(crate) fn is_known(media_type: &str) -> bool {
    shape_of(media_type).is_ok()
}

fn shape_of(media_type: &str) -> Result<Shape, ManifestProblem> {
    match media_type {
        OCI_IMAGE | DOCKER_IMAGE => Ok(Shape::Image),
        OCI_INDEX | DOCKER_INDEX => Ok(Shape::Index),
        _ if media_type.starts_with("application/vnd.docker.distribution.manifest.v1+") => {
            Err(ManifestProblem::Schema1(media_type.to_owned()))
        }
        _ => Err(ManifestProblem::MediaType(crate::redact::text(media_type))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":2,
        "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;
    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    fn with(document: &str, field: &str) -> String {
        document.replacen('{', &format!("{{{field},"), 1)
    }

    #[test]
    fn kinds_are_told_apart() {
        let docker_image = with(IMAGE, &format!(r#""mediaType":"{DOCKER_IMAGE}""#));
        let docker_index = with(INDEX, &format!(r#""mediaType":"{DOCKER_INDEX}""#));
        let table = [
            (IMAGE, None, true, OCI_IMAGE),
            (IMAGE, Some("text/plain"), true, OCI_IMAGE),
            (IMAGE, Some(DOCKER_IMAGE), true, DOCKER_IMAGE),
            (
                &docker_image,
                Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"),
                true,
                DOCKER_IMAGE,
            ),
            (INDEX, None, false, OCI_INDEX),
            (&docker_index, Some("application/octet-stream"), false, DOCKER_INDEX),
        ];
        for (document, content_type, image, expected) in table {
            let (manifest, media_type) = Manifest::parse(document.as_bytes(), content_type).unwrap();
            assert_eq!(matches!(manifest, Manifest::Image(_)), image, "{document}");
            assert_eq!(media_type.to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_an_image_is_refused() {
        let both = with(IMAGE, r#""manifests":[]"#);
        let lying = with(INDEX, &format!(r#""mediaType":"{OCI_INDEX}""#));
        let table = [
            ("<html>", None, "malformed manifest"),
            (r#"{"schemaVersion":2}"#, None, "malformed manifest: missing field"),
            (&both, None, "ambiguous manifest: it has both"),
            (&lying, Some(OCI_IMAGE), "ambiguous manifest: it was sent as"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1"),
            (IMAGE, Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), "schema 1"),
            (IMAGE, Some("application/vnd.cncf.helm.config.v1+json"), "is not an image's"),
            (&"[".repeat(100_000), None, "malformed manifest"),
        ];
        for (document, content_type, expected) in table {
            let error = Manifest::parse(document.as_bytes(), content_type).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
