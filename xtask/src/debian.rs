//! Installs Debian packages (Ubuntu's too), but only those that are missing.
//!
//! What is installed is said first. Services that packages bring are not
//! started: a task wants the programs, and starts them itself where it needs
//! them. Without root nothing is tried; the error holds the command to run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::process;

/// A package, and the program for which it is wanted: where that program is
/// there by another way, the package is not missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) program: Option<&'static str>,
}

/// A package wanted for one program.
pub(crate) const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, program: Some(program) }
}

/// A package wanted for its files.
pub(crate) const fn files(name: &'static str) -> Package {
    Package { name, program: None }
}

/// Installs those of `packages` that this machine lacks.
pub(crate) fn ensure(purpose: &str, packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|package| is_missing(package)).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = install_command(&missing);
    if process::find("apt-get").is_none() {
        bail!(
            "{purpose} needs {}\n\
             hint: this system has no `apt-get`; install the equivalents of these Debian packages",
            missing.join(", ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{purpose} needs {}\nhint: sudo apt-get update && sudo {}",
            missing.join(", "),
            process::describe(&command)
        );
    }
    eprintln!("{purpose} needs Debian packages that are missing, installing: {}", missing.join(" "));
    install(command)
}

fn install_command(packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]).args(packages);
    command
}

fn install(mut command: Command) -> Result<()> {
    static UPDATED: AtomicBool = AtomicBool::new(false);
    if !UPDATED.swap(true, Ordering::Relaxed) {
        process::quiet(Command::new("apt-get").args(["update", "--quiet", "-o", "DPkg::Lock::Timeout=300"]))?;
    }
    let _guard = NoServices::begin()?;
    process::quiet(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_missing(package: &Package) -> bool {
    if package.program.is_some_and(|program| process::find(program).is_some()) {
        return false;
    }
    let status = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Status}", package.name])
        .stderr(Stdio::null())
        .output();
    !status.is_ok_and(|output| output.stdout == b"install ok installed")
}

/// While it lives, package scripts start no services: `docker-registry`, for
/// one, would otherwise listen on this machine's addresses.
struct NoServices {
    made: Option<PathBuf>,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self { made: None });
        }
        let write = || {
            std::fs::write(policy, "#!/bin/sh\nexit 101\n")?;
            std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o755))
        };
        write().with_context(|| format!("cannot write `{}`", policy.display()))?;
        Ok(Self { made: Some(policy.to_owned()) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.made {
            let _ = std::fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_satisfies() {
        assert!(!is_missing(&program("no-such-package", "sh")));
        assert!(is_missing(&program("no-such-package", "no-such-program")));
    }

    #[test]
    fn the_command_names_what_is_missing() {
        let text = process::describe(&install_command(&["skopeo", "umoci"]));
        assert!(text.starts_with("apt-get install") && text.ends_with("skopeo umoci"), "{text}");
    }
}
