//! What a caller says about one sandbox: plain owned data, nothing computed.
//!
//! Host paths ([`Root`], the sources in [`MountKind`], `resolv_conf`, `hosts`) are chosen by the caller and trusted.
//! Container paths (`cwd`, [`Mount::target`], `subpath`) come from Dockerfiles and images and are not: they
//! are resolved with `openat2` inside the root that they belong to, and may be symbolic links to anywhere.

use std::path::PathBuf;

/// One process and the root filesystem, mounts and limits it runs under.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The root filesystem.
    pub root: Root,
    /// Whether the root filesystem is read-only for the process; mounts are not affected.
    pub read_only: bool,
    /// The program and its arguments. A program without a `/` is looked up in `PATH` from `env`, in the new root.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Working directory in the container. It must exist.
    pub cwd: String,
    /// Ids to run as; names are resolved by the caller.
    pub user: User,
    /// Host name in the sandbox's own UTS namespace.
    pub hostname: String,
    /// Mounts in the order in which they are made, after `/proc`, `/sys` and `/dev`.
    pub mounts: Vec<Mount>,
    /// User and group id of the directories that are created for mounts.
    pub mount_point_owner: (u32, u32),
    /// Host file shown read-only at `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// Host file shown read-only at `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// Which network the process sees.
    pub network: Network,
    /// How far the process is confined.
    pub security: Security,
    /// Resource limits set on top of the inherited ones.
    pub rlimits: Vec<Rlimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// A control group of the sandbox's own; the caller's without.
    pub cgroup: Option<Cgroup>,
    /// Where standard input comes from.
    pub stdin: Stdin,
    /// Where standard output and standard error go.
    pub output: Output,
}

impl Spec {
    /// A spec for `args` in `root`: root user, `/`, host network, default confinement, piped output.
    pub fn new(root: Root, args: Vec<String>) -> Self {
        Self {
            root,
            read_only: false,
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            hostname: "buildkitsandbox".to_owned(),
            mounts: Vec::new(),
            mount_point_owner: (0, 0),
            resolv_conf: None,
            hosts: None,
            network: Network::Host,
            security: Security::Sandbox,
            rlimits: Vec::new(),
            shm_size: 64 << 20,
            cgroup: None,
            stdin: Stdin::Ended,
            output: Output::Piped,
        }
    }
}

/// The root filesystem of a sandbox.
#[derive(Debug, Clone)]
pub enum Root {
    /// A stack of layers with a writable one on top, mounted in the sandbox's own mount namespace.
    Overlay {
        /// Read-only directories, the bottom one first. At least one.
        lower: Vec<PathBuf>,
        /// Receives what the process writes. It must not be in use by another sandbox.
        upper: PathBuf,
        /// An empty directory on the same filesystem as `upper`; a fresh one for each spawn.
        work: PathBuf,
    },
    /// A directory as it is; writes go into it.
    Directory(PathBuf),
}

/// Numeric ids of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub additional_gids: Vec<u32>,
}

/// One mount in the sandbox.
///
/// A target that does not exist is created, and so are its parents, as directories of mode 0755 (or an empty file of
/// mode 0644 when the source is a file). What was created in the root filesystem is remembered in [`crate::Stubs`].
#[derive(Debug, Clone)]
pub struct Mount {
    /// Path in the container.
    pub target: PathBuf,
    /// What appears there.
    pub kind: MountKind,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind {
        /// Host path, trusted.
        source: PathBuf,
        /// A path below `source` to show in its stead, resolved inside `source`; empty for `source` itself.
        subpath: PathBuf,
        /// Whether writes are refused.
        read_only: bool,
        /// Whether what is mounted below `source` on the host is shown as well.
        recursive: bool,
    },
    /// A stack of layers: read-only without `writable`, otherwise writes go to its `upper`.
    Overlay {
        /// Read-only directories, the bottom one first. At least one.
        lower: Vec<PathBuf>,
        /// Where writes go. The caller keeps or discards it.
        writable: Option<Writable>,
        /// A path in the stack to show in place of its root, resolved inside it; empty for the root.
        subpath: PathBuf,
    },
    /// A new, empty, memory-backed directory.
    Tmpfs {
        /// Largest size in bytes; the kernel's default (half of memory) if `None`.
        size: Option<u64>,
        /// Permission bits of its root, `0o1777` as a rule. Where there is a directory, that one's count.
        mode: u32,
        /// Whether writes are refused.
        read_only: bool,
    },
    /// A read-only file in memory that no other process ever sees: a secret. It is gone with the sandbox.
    Memory {
        /// Its contents.
        data: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// The writable part of a [`MountKind::Overlay`].
#[derive(Debug, Clone)]
pub struct Writable {
    /// Receives the writes.
    pub upper: PathBuf,
    /// An empty directory on the same filesystem as `upper`.
    pub work: PathBuf,
}

/// The network that a process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The caller's.
    #[default]
    Host,
    /// A network namespace with nothing but a loopback device that is up.
    None,
}

/// How far a process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Docker's default capabilities, seccomp policy, masked and read-only paths.
    #[default]
    Sandbox,
    /// All of the caller's capabilities, no seccomp policy, a writable `/sys`, device nodes usable everywhere.
    Insecure,
}

/// One resource limit, with the resource as `setrlimit(2)` numbers it (`libc::RLIMIT_NOFILE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// The resource's number.
    pub resource: u32,
    /// Soft limit; `u64::MAX` for none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` for none.
    pub hard: u64,
}

/// A control group of the sandbox's own, made before its process starts and removed after it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The group that it is made in: a path from the root of the hierarchy, made if it is missing; `kiln` without.
    pub parent: Option<String>,
    /// What all of the sandbox may use together.
    pub limits: Limits,
}

/// Limits of a control group. What is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes; negative for no limit. Twice the memory if absent.
    pub memory_swap: Option<i64>,
    /// Weight among those who want the processor; 1024 is everybody's.
    pub cpu_shares: Option<u64>,
    /// Length in microseconds of the time that `cpu_quota` is for; 100 ms if absent.
    pub cpu_period: Option<u64>,
    /// Processor time in microseconds in each period.
    pub cpu_quota: Option<u64>,
    /// The processors that may be used, as `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used, as `0-1`.
    pub cpuset_mems: Option<String>,
}

/// Where standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// A pipe at its end, as Docker has it: programs tell it from a file.
    #[default]
    Ended,
    /// The caller's.
    Inherit,
}

/// Where standard output and standard error go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Two pipes, whose reading ends are in [`crate::Child`].
    #[default]
    Piped,
    /// The caller's.
    Inherit,
}
