//! One process in a root filesystem of its own.
//!
//! This crate owns namespaces, mounts, control groups, devices, capabilities, the seccomp policy and the life of one process; it knows
//! nothing of builds. It is the only crate that may hold `unsafe`, and needs Linux 5.12 or newer.
//!
//! # How a process gets into its sandbox
//!
//! 1. [`spawn`](Sandbox::spawn) turns a [`Spec`] into a `Plan`: every string the kernel will see, every pointer array and
//!    every buffer, allocated ahead.
//! 2. The calling thread clones a child in new namespaces that *shares its memory* (`CLONE_VM | CLONE_VFORK`) but runs on
//!    a stack of its own. The thread sleeps until the child has executed the program or has failed. No page table is
//!    copied, however large the caller is, and no lock can be found taken by a thread that does not exist in the
//!    child, which is what makes allocation after `fork` deadlock.
//! 3. The child interprets the plan: mounts, `pivot_root`, devices, masks, seccomp, ids, exec. It reports failure
//!    and the mount points that it created by writing into the plan.
//! 4. The thread wakes and has a [`Child`] or a [`SpawnError`].
//!
//! # Invariants
//!
//! - The child neither allocates, nor panics, nor calls a libc function that takes a lock or tells other threads
//!   (`setresuid`, `setgroups`).
//! - The child leaves no `OwnedFd` in the plan: its descriptors are numbers of its own table, and dropping the plan would
//!   close whatever has that number in the parent's.
//! - A path from an image or a Dockerfile is only ever resolved by `openat2` below the root that it belongs to, without
//!   magic links; mounts are attached by descriptor.
//! - Nothing of the caller's reaches the program but what the spec names: no descriptor above 2, no variable, no signal
//!   disposition, no mount.
//! - All mounts are made in the child's mount namespace. Whoever dies at any instant leaves none behind.
//! - Whoever is killed may leave an empty control group, which the next sandbox with the same parent removes.
//!
//! # Differences from Docker
//!
//! There is no device cgroup. Instead the root filesystem and all mounts are `nodev`, and `/dev` holds bind mounts of the
//! host's harmless devices: a device node in an image, or one that a step makes, can exist but not be opened.
//! The cgroup tree is shown (read-only) on hosts with the unified hierarchy only.

#![expect(unsafe_code, reason = "clone with shared memory, exec, seccomp and wait4 have no safe interface")]

mod caps;
mod cgroup;
mod child;
mod clone;
mod error;
mod exec;
mod machine;
mod mounts;
mod openat2;
mod overlay;
mod plan;
mod seccomp;
mod spec;
mod stubs;
mod system;
mod wait;

pub use error::SpawnError;
pub use machine::Machine;
pub use spec::{
    Cgroup, Limits, Mount, MountKind, Network, Output, Rlimit, Root, Security, Spec, Stdin, User, Writable,
};
pub use stubs::{CleanUpError, Stub, Stubs};
pub use wait::{Child, Exit, ExitStatus, Killer, Usage, WaitError};

/// Runs processes in sandboxes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sandbox;

impl Sandbox {
    /// Starts a process. Returns once its program has been executed, or with the reason why it could not.
    ///
    /// The process is killed when the calling *thread* ends, which is why [`Child`] cannot leave it.
    pub fn spawn(spec: &Spec) -> Result<Child, SpawnError> {
        clone::spawn(spec)
    }
}
