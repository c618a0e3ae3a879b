//! What a user asks for: everything that a build depends on besides the store. Plain data, no terminal.

pub use kiln_lower::AutoCacheMode;

use crate::archive::ContextArchive;
use crate::attest::AttestationOptions;
use crate::output::Output;
use kiln_graph::{GitTree, HostEntry, Network, Platform, Resources, Ulimit, without_credentials};
use kiln_remote::{CacheExport, CacheImport};
use kiln_ssh::Agent as SshAgent;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The build context.
    pub context: ContextSource,
    /// Where the Dockerfile is; `Dockerfile` in the context if absent.
    pub dockerfile: Option<DockerfileSource>,
    /// The stage to build; the last one if absent.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Named contexts (`--build-context`).
    pub contexts: BTreeMap<String, NamedContextSource>,
    /// Names that the image gets (`--tag`), as the user wrote them.
    pub tags: Vec<String>,
    /// Platforms of the image; the host's if empty.
    pub platforms: Vec<Platform>,
    /// Which steps run again even though there is a record of them.
    pub no_cache: NoCache,
    /// Which caches steps get without having asked for them.
    pub auto_cache: AutoCacheMode,
    /// Empties every cache mount that a step uses, before it is used first.
    pub no_cache_mounts: bool,
    /// Asks registries again for every base image.
    pub pull: bool,
    /// What steps may ask for that reaches beyond their sandbox (`--allow`).
    pub entitlements: Entitlements,
    /// Default network of RUN steps.
    pub network: Network,
    /// Further lines of `/etc/hosts` in RUN steps.
    pub extra_hosts: Vec<HostEntry>,
    /// Size of `/dev/shm` in RUN steps, in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits of RUN steps.
    pub ulimits: Vec<Ulimit>,
    /// The cgroup below which RUN steps run (`--cgroup-parent`).
    pub cgroup_parent: Option<String>,
    /// What each RUN step may use of the machine.
    pub resources: Resources,
    /// Secrets by their ids (`--secret`).
    pub secrets: BTreeMap<String, SecretSource>,
    /// SSH agents by their ids (`--ssh`).
    pub ssh: BTreeMap<String, Arc<SshAgent>>,
    /// What is stated of the image (`--attest`).
    pub attestations: AttestationOptions,
    /// What happens with the result; kiln's image store if empty.
    pub outputs: Vec<Output>,
    /// Caches of other machines to look in (`--cache-from`), the first that has something first.
    pub cache_from: Vec<CacheImport>,
    /// Caches that get what the build made (`--cache-to`).
    pub cache_to: Vec<CacheExport>,
}

impl BuildRequest {
    /// A build of a context with all defaults.
    pub fn new(context: ContextSource) -> Self {
        Self {
            context,
            dockerfile: None,
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            tags: Vec::new(),
            platforms: Vec::new(),
            no_cache: NoCache::No,
            auto_cache: AutoCacheMode::default(),
            no_cache_mounts: false,
            pull: false,
            entitlements: Entitlements::default(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            cgroup_parent: None,
            resources: Resources::default(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            attestations: AttestationOptions::default(),
            outputs: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
        }
    }
}

/// The main build context.
#[derive(Debug, Clone)]
pub enum ContextSource {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A git repository.
    Git(GitTree),
    /// An archive at an http(s) URL, or a Dockerfile without a context.
    Http(String),
    /// An archive that is read from a pipe.
    Archive(ContextArchive),
    /// No files at all.
    Empty,
}

impl fmt::Display for ContextSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Git(tree) => f.write_str(&without_credentials(&tree.remote)),
            Self::Http(url) => f.write_str(&without_credentials(url)),
            Self::Archive(_) => f.write_str("an archive from a pipe"),
            Self::Empty => f.write_str("no files"),
        }
    }
}

/// Where the Dockerfile's text comes from.
#[derive(Debug, Clone)]
pub enum DockerfileSource {
    /// A file; a relative path is looked up in the current directory, as `docker build -f` does, but in the context if that is not a
    /// directory of this machine.
    File(PathBuf),
    /// A file at an http(s) URL.
    Url(String),
    /// The text itself, with a name for messages (`-f -`).
    Text {
        /// What messages call it.
        name: String,
        /// The Dockerfile.
        text: String,
    },
}

/// A named context.
#[derive(Debug, Clone)]
pub enum NamedContextSource {
    /// A directory of this machine.
    Directory(PathBuf),
    /// An image of a registry (`docker-image://`).
    Image(String),
    /// An OCI image layout (`oci-layout://DIR[:TAG][@DIGEST]`).
    OciLayout {
        /// The layout's directory.
        path: PathBuf,
        /// Tag or digest of the image in it.
        reference: Option<String>,
    },
    /// A git repository.
    Git(GitTree),
    /// A file at an http(s) URL, which is called `context` then.
    Http(String),
}

/// What the user lets steps ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `RUN --network=host`.
    pub network_host: bool,
    /// `RUN --security=insecure`.
    pub security_insecure: bool,
}

/// Where a secret comes from. It is read when a step needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// An environment variable of kiln's own process, read by whoever makes the request.
    Value(SecretValue),
}

/// Bytes that no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub Vec<u8>);

impl SecretValue {
    /// The size in bytes of the largest secret that a step can have, as in BuildKit.
    pub const MAX_SIZE: u64 = 500 * 1024;
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Which steps run again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None but those without a record.
    #[default]
    No,
    /// All.
    All,
    /// Those of the named stages.
    Stages(Vec<String>),
}
