//! What is wrong with the text of a location.

use kiln_digest::ParseDigestError;
use kiln_registry::ReferenceError;

/// A text that is not a location of a cache.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// No field at all.
    #[error("the cache is empty\nhint: for example `type=registry,ref=HOST/NAME:TAG`, or the reference alone")]
    Empty,
    /// A field between others that is not a pair.
    #[error("`{0}` is not `key=value`\nhint: a reference stands alone, or as `type=registry,ref=…`")]
    NotAPair(String),
    /// No `type`.
    #[error("no `type` is given\nhint: the types are `registry`, `local`, `s3` and `inline`")]
    NoType,
    /// A type that nobody knows.
    #[error("unknown type `{0}`\nhint: the types are `registry`, `local`, `s3` and `inline`")]
    UnknownType(String),
    /// A type or an attribute of BuildKit's that kiln does not have.
    #[error("`{what}` is not supported{}", .hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    Unsupported {
        /// `type=gha`, `oci-mediatypes=false`.
        what: String,
        /// What to do instead.
        hint: Option<&'static str>,
    },
    /// An attribute that the type must have.
    #[error("`type={kind}` needs `{name}`{}", .variable.map(|variable| format!(", or `{variable}` in the environment")).unwrap_or_default())]
    Missing {
        /// The type.
        kind: &'static str,
        /// The attribute.
        name: &'static str,
        /// The variable that stands in for it.
        variable: Option<&'static str>,
    },
    /// An attribute that the type does not have.
    #[error("unknown attribute `{name}` of `type={kind}`\nhint: it has {known}")]
    UnknownAttribute {
        /// The type.
        kind: &'static str,
        /// The attribute.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// An attribute given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value that means nothing.
    #[error("bad value `{value}` of `{name}`\nhint: expected {expected}")]
    BadValue {
        /// The attribute.
        name: &'static str,
        /// The value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A reference to where nothing can be written.
    #[error("`{0}` has a digest, which cannot be chosen\nhint: give a tag")]
    Digest(String),
    /// A malformed reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A malformed digest.
    #[error(transparent)]
    ParseDigest(#[from] ParseDigestError),
}

impl LocationError {
    /// Whether BuildKit has it and kiln does not.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }
}
