//! Where a cache is, and what of a build goes there: `type=registry,ref=…,mode=max`, the fields of `--cache-to` and `--cache-from`, under
//! BuildKit's names and with its defaults.
//!
//! | type | where | its attributes |
//! |---|---|---|
//! | `registry` | a tag of a repository | `ref`, `registry.insecure` |
//! | `local` | a tag of an OCI layout | `dest` or `src`, `tag`, `digest` |
//! | `s3` | objects of a bucket | `bucket`, `region`, `name`, `prefix`, … |
//! | `inline` | the config of the image that is built | |
//!
//! A field alone, without `=`, is the `ref` of a registry.

mod attributes;
mod error;
mod s3;
#[cfg(test)]
mod tests;

pub use error::LocationError;
pub use s3::{S3Credentials, S3Location};

use attributes::Attributes;
use kiln_digest::Digest;
use kiln_layer::BlobCompression;
use kiln_registry::Reference;
use std::path::PathBuf;

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheLocation {
    /// A tag of a repository, or when reading also a digest.
    Registry {
        /// The tag.
        reference: Reference,
        /// Whether plain HTTP and anybody's certificate will do.
        insecure: bool,
    },
    /// A tag of an OCI layout.
    Local {
        /// The layout.
        directory: PathBuf,
        /// The tag.
        tag: String,
        /// The manifest to read instead of the tag's.
        digest: Option<Digest>,
    },
    /// Objects of a bucket.
    S3(Box<S3Location>),
    /// The config of the image that is built. Such a cache is read as one of the image's registry.
    Inline,
}

/// One `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheExport {
    /// Where to.
    pub location: CacheLocation,
    /// What, and how.
    pub options: ExportOptions,
}

/// What goes into a cache, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Which steps.
    pub mode: Mode,
    /// Which cache mounts.
    pub mounts: Mounts,
    /// How layers are compressed that have no blob yet, and with `force_compression` those that have one.
    pub compression: Option<BlobCompression>,
    /// Whether blobs that are compressed otherwise are made anew.
    pub force_compression: bool,
    /// Whether the build succeeds where the export does not.
    pub ignore_error: bool,
}

/// Which steps a cache has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those whose layers are in the image.
    #[default]
    Min,
    /// All.
    Max,
}

/// Which cache mounts a cache has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mounts {
    /// Those that the build's steps have.
    #[default]
    Used,
    /// All of the store.
    All,
    /// None.
    None,
    /// Those with these ids.
    Ids(Vec<String>),
}

/// One `--cache-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheImport {
    /// Where from.
    pub location: CacheLocation,
}

impl CacheLocation {
    /// The word for `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Registry { .. } => "registry",
            Self::Local { .. } => "local",
            Self::S3(_) => "s3",
            Self::Inline => "inline",
        }
    }
}

impl CacheExport {
    /// Reads the fields of one `--cache-to`; those that are references alone are a cache each. `env` is the environment, where BuildKit
    /// looks for what an S3 location leaves open.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn parse(fields: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Self>, LocationError> {
        let parse = |mut attributes: Attributes| {
            let location = attributes.location(true, env)?;
            let options = attributes.export_options()?;
            attributes.finish(&location)?;
            Ok(Self { location, options })
        };
        Attributes::read(fields)?.into_iter().map(parse).collect()
    }
}

impl CacheImport {
    /// Reads the fields of one `--cache-from`, as [`CacheExport::parse`] does.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn parse(fields: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Self>, LocationError> {
        let parse = |mut attributes: Attributes| {
            let location = attributes.location(false, env)?;
            attributes.finish(&location)?;
            Ok(Self { location })
        };
        Attributes::read(fields)?.into_iter().map(parse).collect()
    }
}
