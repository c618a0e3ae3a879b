//! What the user asks for besides the Dockerfile: the command line's options that say what the image will be.

use crate::auto_cache::AutoCacheMode;
use kiln_graph::{GitTree, HostEntry, HttpFile, Network, Platform, Resources, Ulimit};
use std::collections::BTreeMap;

/// What the user asks for besides the Dockerfile.
#[derive(Debug, Clone)]
pub struct Options {
    /// The stage to build, by name or number; the last one if absent.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`; they come after those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// What the image is built for (`TARGETPLATFORM`).
    pub platform: Platform,
    /// Whether `platform` is just what kiln runs on, because the user asked for none: the image then keeps the platform that its
    /// base says it has.
    pub implicit_platform: bool,
    /// What the build runs on (`BUILDPLATFORM`).
    pub build_platform: Platform,
    /// Which steps may not be answered from the cache.
    pub no_cache: NoCache,
    /// The network of steps that do not ask for one.
    pub network: Network,
    /// Whether the main context's files have owners of their own, since it is an archive or a repository, and no directory of the
    /// user's.
    pub context_has_owners: bool,
    /// `--build-context`: what names mean besides the stages and the main context.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The host name that steps see; `buildkitsandbox` if absent.
    pub hostname: Option<String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits of steps.
    pub ulimits: Vec<Ulimit>,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<HostEntry>,
    /// The cgroup below which steps run.
    pub cgroup_parent: Option<String>,
    /// What steps may use of the machine.
    pub resources: Resources,
    /// Whether several platforms are built in one go: labels then name the platform.
    pub multi_platform: bool,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// `--allow network.host`: steps may ask for it even if [`network`](Self::network) is none.
    pub allow_network_host: bool,
    /// `SOURCE_DATE_EPOCH`, in seconds: the image's time, instead of now.
    pub source_date_epoch: Option<i64>,
    /// Which caches steps get without asking (`--auto-cache`).
    pub auto_cache: AutoCacheMode,
    /// Whether all stages are lowered, not only those that the target needs: to find what is wrong anywhere in a Dockerfile.
    pub all_stages: bool,
    /// Whether the lints are to be told what the steps do ([`Lowered::steps`](crate::Lowered::steps)).
    pub advice: bool,
    /// Whether images that cannot be resolved are passed over, and taken for empty ones: to find what else there is to say of a
    /// Dockerfile. [`Lowered::unresolved`](crate::Lowered::unresolved) tells of the first.
    pub pass_over_images: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: Platform::host(),
            implicit_platform: true,
            build_platform: Platform::host(),
            no_cache: NoCache::No,
            network: Network::Default,
            context_has_owners: false,
            contexts: BTreeMap::new(),
            hostname: None,
            shm_size: None,
            ulimits: Vec::new(),
            extra_hosts: Vec::new(),
            cgroup_parent: None,
            resources: Resources::default(),
            multi_platform: false,
            allow_insecure: false,
            allow_network_host: false,
            source_date_epoch: None,
            auto_cache: AutoCacheMode::default(),
            all_stages: false,
            advice: false,
            pass_over_images: false,
        }
    }
}

/// Which steps may not be answered from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// All may.
    #[default]
    No,
    /// None may (`--no-cache`).
    All,
    /// Those of these stages may not (`--no-cache-filter`).
    Stages(Vec<String>),
}

/// What a name given with `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory that the engine knows under that name.
    Local,
    /// `docker-image://REFERENCE`.
    Image(String),
    /// `oci-layout://PATH[:tag][@digest]`.
    OciLayout {
        /// The layout's directory.
        path: String,
        /// The tag or digest in it; its only image if absent.
        reference: Option<String>,
    },
    /// A git repository.
    Git(GitTree),
    /// A file from a URL.
    Http(HttpFile),
}
