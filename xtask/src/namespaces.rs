//! Runs a task again inside mount and pid namespaces of its own: when it ends,
//! in whatever way, the kernel ends its daemons and removes its mounts.

use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

use crate::debian::{self, program};

/// Set in the run inside the namespaces.
const INSIDE: &str = "KILN_XTASK_INSIDE";

/// Whether this is the run inside.
pub(crate) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again, with the same arguments, where its mounts and
/// processes end with it. `purpose` names the task in errors.
pub(crate) fn enter(purpose: &str) -> Result<ExitStatus> {
    if !rustix::process::geteuid().is_root() {
        bail!("{purpose} mounts and starts daemons, so it needs root");
    }
    debian::ensure(purpose, &[program("util-linux", "setpriv"), program("tar", "tar")])?;
    let program = std::env::current_exe().context("cannot find this program")?;
    // When this process is interrupted, `unshare` dies of it, and with it the first process of the
    // pid namespace and so all of them.
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg("--mount-proc")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("cannot run `unshare`")
}
