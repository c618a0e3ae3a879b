//! The exec op: one process in a tree.

use crate::{Port, Variables};
use serde::{Deserialize, Serialize};

/// One process in a root filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The root filesystem; an empty one if absent.
    pub root: Option<Port>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The environment.
    pub env: Variables,
    /// The names in `env` that come from build arguments.
    pub arguments: Vec<String>,
    /// Environment that the process sees but that says nothing about the result: proxy arguments. Not part of any key.
    pub transparent_env: Vec<(String, String)>,
    /// Absolute working directory; only with a `..` is it other than clean.
    pub cwd: String,
    /// `user[:group]`, names or numbers, looked up in the root; root if absent.
    pub user: Option<String>,
    /// Host name inside; `buildkitsandbox` by default, as scripts expect of a build.
    pub hostname: Option<String>,
    /// What is mounted, in order.
    pub mounts: Vec<Mount>,
    /// The network it sees.
    pub network: Network,
    /// How far it is confined.
    pub security: Security,
    /// Size of `/dev/shm` in bytes; 64 MiB if absent.
    pub shm_size: Option<u64>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<HostEntry>,
    /// The cgroup below which it runs. Not part of any key.
    pub cgroup_parent: Option<String>,
    /// What it may use of the machine. Not part of any key.
    pub resources: Resources,
    /// Exit codes that count as success; only 0 if empty.
    pub valid_exit_codes: Vec<i32>,
    /// Caches that the step gets without having asked for them. Part of no key, nor of the vertex's definition: they are set by
    /// [`Graph::give_caches`](crate::Graph::give_caches). What a step left with pure caches lacks their directories, so a record
    /// of it may only stand for a vertex that is given at least the same ones.
    pub auto_caches: Vec<AutoCache>,
}

/// A directory in which a tool keeps a cache, given to a step whose Dockerfile mounts none there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoCache {
    /// The command that was recognised, as the progress names it: `go build`.
    pub command: String,
    /// Where the tool looks for it.
    pub directory: CacheDirectory,
    /// Its name; steps of the same name share it. Names the tool, and the version family and platform where those matter. Of the
    /// pure caches of one name a step gets the first that it may.
    pub id: String,
    /// What happens when two steps want it at once.
    pub sharing: CacheSharing,
    /// What becomes of what the step leaves there.
    pub purpose: CachePurpose,
    /// Variables that the step sees along with it, so that the tool looks there. Not part of any key.
    pub env: Vec<(String, String)>,
    /// Small files, by name, that are written there each time before the step runs.
    pub files: Vec<(String, String)>,
    /// The cache is only given if the root has this absolute path.
    pub requires: Option<String>,
    /// The files that an output is made from and nothing else tells of, by absolute path: the step goes on from what its last run
    /// left if only these changed since. Empty where the tool finds out by itself what changed.
    pub made_from: Vec<String>,
    /// The files that the tool may build from without looking at them again: only steps that see the same ones share the cache.
    pub unseen: Unseen,
}

/// Files that go into what a tool keeps, though it does not notice when they change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unseen {
    /// None.
    #[default]
    Nothing,
    /// What compilers of C and its like read, libraries included.
    C,
    /// That and archives of sources.
    CAndArchives,
}

/// Where a tool looks for its cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheDirectory {
    /// An absolute path in the root.
    Absolute(String),
    /// A path below the home directory of the step's user, which the root's `/etc/passwd` tells.
    Home(String),
}

/// What becomes of what a step leaves in a cache directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CachePurpose {
    /// Nothing that a later step could read depends on it: it is kept outside the layer.
    Pure,
    /// Later steps read it: it becomes part of the layer, and seeds the next run of the step.
    Output,
}

/// A line of `/etc/hosts`: a name and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The host's name.
    pub host: String,
    /// Its address.
    pub ip: String,
}

/// A resource limit, by its `setrlimit` name without the prefix, in lower case (`nofile`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The resource: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// The soft limit; negative means unlimited.
    pub soft: i64,
    /// The hard limit; negative means unlimited.
    pub hard: i64,
}

/// What a process, with all that it starts, may use of the machine. What is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes; -1 for no limit. Twice the memory if absent.
    pub memory_swap: Option<i64>,
    /// Weight among those who want the processor; 1024 is everybody's.
    pub cpu_shares: Option<u64>,
    /// Length in microseconds of the time that `cpu_quota` is for; 100 ms if absent.
    pub cpu_period: Option<u64>,
    /// Processor time in microseconds that may be used in each period.
    pub cpu_quota: Option<u64>,
    /// The processors that may be used, as `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used, as `0-1`.
    pub cpuset_mems: Option<String>,
}

/// The network that a process sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// What the builder gives by default.
    #[default]
    Default,
    /// A loopback device of its own and nothing else.
    None,
    /// The host's.
    Host,
}

/// How far a process is confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default capabilities, system-call policy and masked paths.
    #[default]
    Sandbox,
    /// All capabilities, no policy (`--security=insecure`, must be allowed by the user).
    Insecure,
}

/// One mount of a RUN step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the root.
    pub target: String,
    /// Whether the process cannot write there.
    pub read_only: bool,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of another tree. Writes, where allowed, are thrown away.
    Bind {
        /// The tree.
        from: Port,
        /// The path in it; `/` for all of it.
        source: String,
    },
    /// A directory that outlives builds.
    Cache {
        /// Its name; mounts of the same name share it.
        id: String,
        /// What happens when two steps want it at once.
        sharing: CacheSharing,
        /// What it starts as: a path in a tree.
        from: Option<Port>,
        /// The path in `from`, or the sub-directory of the cache that is mounted.
        source: String,
        /// Mode of its root when it is made, if it is one that belongs to somebody; 0755 if absent.
        mode: Option<u32>,
        /// Owner when it is made.
        uid: u32,
        /// Group when it is made.
        gid: u32,
    },
    /// Memory that is gone after the step.
    Tmpfs {
        /// Its size in bytes; half of the memory if absent.
        size: Option<u64>,
    },
    /// A secret of the user's.
    Secret {
        /// Its id.
        id: String,
        /// Where it is shown.
        target: SecretTarget,
        /// Whether the step fails without it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The user's ssh agent, as a socket.
    Ssh {
        /// Its id, `default` by default.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// Where a secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretTarget {
    /// As a file at the mount's target.
    File,
    /// As an environment variable.
    Env(String),
    /// Both.
    FileAndEnv(String),
}

/// What happens when two steps want one cache mount at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheSharing {
    /// Both write to it.
    #[default]
    Shared,
    /// The second gets another one.
    Private,
    /// The second waits.
    Locked,
}
