//! Locations in an object store that speaks S3's protocol.

use std::fmt;

/// Objects of a bucket: blobs at `{prefix}{blobs_prefix}sha256:HEX`, and the manifest at `{prefix}{manifests_prefix}{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The server, if it is not Amazon's of that region.
    pub endpoint_url: Option<String>,
    /// Before the name of every object.
    pub prefix: String,
    /// Before the names of blobs.
    pub blobs_prefix: String,
    /// Before the names of manifests.
    pub manifests_prefix: String,
    /// The cache's names: all are written, the first is read.
    pub names: Vec<String>,
    /// Whether the bucket is in the path of a URL, and not in its host.
    pub use_path_style: bool,
    /// What lets us in; without it a key of `~/.aws/credentials`, or what the environment's roles give.
    pub credentials: Option<S3Credentials>,
    /// How many parts of a blob are sent at once.
    pub upload_parallelism: usize,
}

/// A key of an object store.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// Who.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// What a temporary key comes with.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Credentials(…)")
    }
}
