//! The OCI distribution protocol (distribution-spec v1.1): resolving references, fetching and pushing manifests and blobs.
//!
//! This crate owns everything between a [`Reference`] and verified bytes: which hosts to ask (the [`Config`]'s mirrors, then the
//! registry), TLS and plain HTTP, logging in, retrying, resuming. It leaves to others where the bytes go (the store), which
//! image of an index is wanted, and when to ask at all.
//!
//! Invariants:
//! - Whatever is handed out has been verified: a manifest entirely before it is returned, a blob at the latest when its reader
//!   reports the end.
//! - Nothing waits for ever: connecting, waiting for a response, and each read have a limit, and retries are counted ([`Policy`]).
//! - Credentials go to the registry they were stored for, and to the token service that it names, over TLS unless the registry itself
//!   is configured without; never to where a redirect leads. No message holds them, nor the query of a URL.
//! - Nothing is loaded before the first request: [`Client::new`] costs nothing, since most builds ask no registry.

mod blob;
mod client;
mod config;
mod credentials;
mod error;
mod exchange;
mod hosts;
mod login;
mod manifest;
mod push;
mod redact;
mod reference;
mod retry;
mod token;
mod transport;
mod upload;

pub use blob::BlobReader;
pub use client::{Client, Resolved};
pub use config::{Config, ConfigError, HostConfig, Mirror, MirrorError, Registries};
pub use credentials::{Credential, Credentials, CredentialsError, Stored};
pub use error::{Attempt, RegistryError};
pub use manifest::{FetchedManifest, Manifest, ManifestProblem};
pub use push::Pushed;
pub use reference::{DEFAULT_TAG, DOCKER_HUB, Reference, ReferenceError, ReferenceProblem, Repository};
pub use retry::Policy;
pub use upload::{BlobSource, Upload, Watch};

pub use oci_spec::image::{Descriptor, Digest as OciDigest, ImageIndex, ImageManifest, MediaType};
