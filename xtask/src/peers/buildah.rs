//! buildah as the machine's packages have it, run by runc, with a store of its
//! own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use rustix::mount::{UnmountFlags, unmount};

use super::{Builder, Job, Output, Sample, Setting, timed};
use crate::debian::{self, program};
use crate::{places, process};

/// The name under which a built image waits for its export.
const IMAGE: &str = "localhost/bench";

pub(crate) struct Buildah {
    setting: Setting,
    registries: PathBuf,
    policy: PathBuf,
}

impl Buildah {
    pub(crate) fn is_installed() -> bool {
        process::find("buildah").is_some() && process::find("runc").is_some()
    }

    pub(crate) fn install() -> Result<()> {
        let needs = [program("buildah", "buildah"), program("runc", "runc")];
        debian::ensure("setting up buildah as a peer", &needs)
    }

    pub(crate) fn new(setting: Setting) -> Result<Self> {
        let registries = setting.folder.join("registries.conf");
        let policy = setting.folder.join("policy.json");
        places::write(
            &registries,
            format!(
                "unqualified-search-registries = [\"docker.io\"]\n\n\
                 [[registry]]\nprefix = \"docker.io\"\nlocation = \"{}\"\ninsecure = true\n",
                setting.registry
            ),
        )?;
        places::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)?;
        let mut buildah = Self { setting, registries, policy };
        buildah.forget()?;
        Ok(buildah)
    }

    fn command(&self, subcommand: &str) -> Command {
        let own = self.setting.own("buildah");
        let mut command = Command::new("buildah");
        command.arg("--root").arg(own.join("root")).arg("--runroot").arg(own.join("run"));
        command.args(["--storage-driver", "overlay", "--registries-conf"]).arg(&self.registries);
        command.arg(subcommand).arg("--signature-policy").arg(&self.policy);
        command
    }
}

impl Builder for Buildah {
    fn name(&self) -> &str {
        "buildah"
    }

    fn version(&self) -> Result<String> {
        let version = process::stdout(Command::new("buildah").arg("--version"))?;
        Ok(format!("{}, by runc", version.trim()))
    }

    fn build(&mut self, job: &Job) -> Result<Sample> {
        let mut command = self.command("build");
        command.args(["--layers", "--runtime", "runc", "--network", "host", "--tag", IMAGE]);
        command.arg("--file").arg(job.dockerfile());
        if job.travel.is_some() {
            bail!("caches that travel are measured with Docker's BuildKit");
        }
        if job.no_cache {
            command.arg("--no-cache");
        }
        let built = timed::run(command.arg(&job.context), &self.setting.log("buildah"))?;
        if job.output == Output::Cache {
            return Ok(built);
        }
        let output = self.setting.output("buildah");
        places::remove(&output)?;
        let mut command = self.command("push");
        command.args(["--format", "oci", IMAGE]);
        command.arg(format!("oci-archive:{}", output.display()));
        let pushed = timed::run(&mut command, &self.setting.log("buildah-push"))?;
        Ok(Sample {
            seconds: built.seconds + pushed.seconds,
            peak_kib: built.peak_kib.max(pushed.peak_kib),
            sent: None,
        })
    }

    fn forget(&mut self) -> Result<()> {
        let own = self.setting.own("buildah");
        // The storage library leaves a mount of its folder onto itself.
        let _ = unmount(own.join("root/overlay"), UnmountFlags::DETACH);
        places::remove(&own)
    }
}
