//! Sources: what comes into a build from outside.

use crate::{GitTree, HttpFile, Platform};
use kiln_digest::Digest;
use serde::{Deserialize, Serialize};

/// Something from outside the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// An image, resolved to a manifest while lowering.
    Image(Image),
    /// A directory of the user's: the build context or a named one.
    Local(Local),
    /// One file from an http(s) URL.
    Http(HttpFile),
    /// The files of a commit of a git repository.
    Git(GitTree),
}

/// A resolved image. Its tree is the stack of its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The canonical name, `docker.io/library/golang:1.25-trixie`, for people and for pulling.
    pub reference: String,
    /// Digest of the manifest of the one platform that is used, or of the config for an image that was never packed.
    pub digest: Digest,
    /// The platform chosen.
    pub platform: Platform,
    /// Where the manifest was found.
    pub location: ImageLocation,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageLocation {
    /// A registry, or kiln's own image store once pulled or built.
    Registry,
    /// An OCI image layout on this machine (`--build-context name=oci-layout://DIR`).
    Layout(String),
}

/// A directory of the user's, by the name of the context: `context` for the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// The context's name; the engine knows its directory.
    pub name: String,
}
