//! Mounts that end with the value that made them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use crate::{places, process};

/// Mounts made for one builder, unmounted in reverse order when dropped.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    targets: Vec<PathBuf>,
}

impl Mounts {
    /// Shows `source` at `target` too, with the mounts below it.
    pub(super) fn bind(&mut self, source: &Path, target: &Path) -> Result<()> {
        places::make(target)?;
        self.mount(Command::new("mount").arg("--rbind").arg(source).arg(target), target)
    }

    /// A `proc` of this process's pid namespace.
    pub(super) fn proc(&mut self, target: &Path) -> Result<()> {
        places::make(target)?;
        self.mount(Command::new("mount").args(["-t", "proc", "proc"]).arg(target), target)
    }

    fn mount(&mut self, command: &mut Command, target: &Path) -> Result<()> {
        process::quiet(command)?;
        self.targets.push(target.to_owned());
        // Unmounting here must not reach the mounts that were bound.
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change(target, flags).with_context(|| format!("cannot make the mount at `{}` private", target.display()))
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for target in self.targets.iter().rev() {
            let _ = unmount(target, UnmountFlags::DETACH);
        }
    }
}
