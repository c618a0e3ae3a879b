//! Docker's default seccomp policy as a BPF program.
//!
//! [`syscalls`] is the policy as a table, [`policy`] turns it into decisions per architecture, [`bpf`] into a program: one
//! for all architectures that the host's kernel runs, a binary search each, so that about nine comparisons decide
//! a call. The kernel skips the program altogether for calls that it always allows.
//!
//! The program is compiled on first use, in some tens of microseconds, and serves all spawns of the process.

mod bpf;
mod policy;
mod syscalls;

use std::io;
use std::sync::OnceLock;

use libc::{sock_filter, sock_fprog};

use crate::error::SpawnError;
use crate::mounts::last_errno;

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct Program {
    instructions: Vec<sock_filter>,
}

/// Docker's default policy for this machine.
pub(crate) fn default_policy() -> Result<&'static Program, SpawnError> {
    static POLICY: OnceLock<Option<Program>> = OnceLock::new();
    let compile = || {
        let instructions = policy::compile(policy::host_architectures())?;
        Some(Program { instructions })
    };
    POLICY.get_or_init(compile).as_ref().ok_or_else(|| {
        let source = io::Error::from(io::ErrorKind::Unsupported);
        SpawnError::setup(format!("compile the seccomp policy for `{}`", std::env::consts::ARCH), source)
    })
}

impl Program {
    /// Confines the calling task, for good. Allocates nothing.
    pub(crate) fn install(&self) -> rustix::io::Result<()> {
        // The program is bounded by `BPF_MAXINSNS`, which `compile` checks.
        let length = self.instructions.len() as libc::c_ushort;
        let program = sock_fprog { len: length, filter: self.instructions.as_ptr().cast_mut() };
        // Kernels before 5.16 otherwise slow the program down to guard against speculation; the usual runtimes don't either.
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        // SAFETY: the kernel reads `length` instructions, which live as long as `self`, and writes none.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
        if result == 0 { Ok(()) } else { Err(last_errno()) }
    }
}
