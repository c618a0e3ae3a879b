//! Where manifests and blobs of an image come from: a registry or a layout, behind one type.

use super::layout::{Layout, LayoutError};
use crate::patience::{Pieces, Stop, Stopped, unless};
use kiln_digest::Digest;
use kiln_registry::{Client, Reference, RegistryError};
use oci_spec::image::Descriptor;
use std::io::Read;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

impl From<Stopped> for FetchError {
    fn from(Stopped: Stopped) -> Self {
        Self::Cancelled
    }
}

/// Where blobs come from. Whoever reads verifies.
pub(super) enum Origin {
    Registry(Client, Reference),
    Layout(Layout),
}

impl Origin {
    /// The manifest or index that a reference means, or that has a digest.
    pub(super) fn manifest(&self, digest: Option<Digest>, stop: Stop<'_>) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::Registry(client, reference) => {
                let reference = digest.map_or_else(|| reference.clone(), |digest| reference.with_digest(digest));
                let client = client.clone();
                Ok(unless(stop, move || client.manifest(&reference))??.bytes)
            }
            Self::Layout(layout) => Ok(match digest {
                Some(digest) => layout.read(&digest)?,
                None => layout.manifest()?,
            }),
        }
    }

    /// The bytes of a blob.
    pub(super) fn blob<'a>(
        &self,
        descriptor: &Descriptor,
        digest: &Digest,
        stop: Stop<'a>,
    ) -> Result<Box<dyn Read + Send + 'a>, FetchError> {
        match self {
            Self::Registry(client, reference) => {
                let (client, repository) = (client.clone(), reference.repository().clone());
                let descriptor = descriptor.clone();
                let reader = unless(stop, move || client.blob(&repository, &descriptor))??;
                Ok(Box::new(Pieces::of(reader, stop)))
            }
            Self::Layout(layout) => Ok(Box::new(layout.open(digest)?)),
        }
    }
}
