//! References: `[REGISTRY/]NAME[:TAG][@DIGEST]`, as people write images.
//!
//! Docker's conventions apply (distribution/reference, Grammar and its "familiar" names): no registry means `docker.io`, a
//! single-component name there lives under `library/`, neither tag nor digest means `latest`. What is beyond that grammar
//! is refused with the reason. A digest is `sha256` or it is refused, since kiln could not verify it.
//!
//! The parser is our own scanner rather than `oci_spec::distribution::Reference`: that one compiles a regular expression on its
//! first use (45 ms, where a whole build may take 20; the test `speed` prints it), accepts non-ASCII tags, knows no IPv6
//! registries, and gives one message for all mistakes. A test holds the two against each other.

mod parse;
#[cfg(test)]
mod tests;

pub use parse::{ReferenceError, ReferenceProblem};
pub(crate) use parse::{is_name_part, is_registry};

use kiln_digest::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The registry that a reference without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// Where the official images of Docker Hub live.
const OFFICIAL: &str = "library/";

/// The tag that a reference with neither tag nor digest means.
pub const DEFAULT_TAG: &str = "latest";

/// A repository of a registry: `docker.io/library/ubuntu`, without tag or digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    name: String,
}

impl Repository {
    /// The registry as it is written in a reference, with its port: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry: `library/ubuntu`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shortest text that means this repository: `ubuntu` for `docker.io/library/ubuntu`.
    pub fn familiar(&self) -> String {
        match self.name.strip_prefix(OFFICIAL) {
            _ if self.registry != DOCKER_HUB => self.to_string(),
            // Alone, it would be an image's id.
            Some(name) if parse::is_id(name) => self.to_string(),
            Some(name) if !name.contains('/') => name.to_owned(),
            // Alone, it would be the name of another registry's repository.
            _ if self.name.split_once('/').is_some_and(|(first, _)| parse::is_registry_like(first)) => self.to_string(),
            _ => self.name.clone(),
        }
    }

    /// This repository with a tag; `None` when `tag` is not one (`[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`).
    pub fn tagged(&self, tag: &str) -> Option<Reference> {
        parse::is_tag(tag).then(|| Reference { repository: self.clone(), tag: Some(tag.to_owned()), digest: None })
    }

    /// This repository with a digest.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

/// A reference to an image: a repository, and a tag or a digest or both.
///
/// Displayed in full: `docker.io/library/ubuntu:24.04`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference; the same as [`str::parse`].
    ///
    /// # Errors
    /// With the text, what is wrong with it, and what could have been meant.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse::reference(text)
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The registry as written, with its port: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.repository.registry
    }

    /// The tag; there is at least one of tag and digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which wins over the tag where both are given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository and tag, pinned to `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The shortest text that means this: `ubuntu:24.04`. The tag is always shown if there is one.
    pub fn familiar(&self) -> String {
        self.suffixed(self.repository.familiar())
    }

    /// What goes into the protocol's `/manifests/…`: the digest where there is one, else the tag.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn suffixed(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.repository.to_string()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
