//! BuildKit itself, where the machine has `buildkitd` and `buildctl`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Builder, Job, Output, Sample, Setting, oci_output, timed};
use crate::{places, process};

pub(crate) struct BuildKit {
    setting: Setting,
    address: String,
    daemon: Child,
}

impl BuildKit {
    pub(crate) fn is_installed() -> bool {
        process::find("buildkitd").is_some() && process::find("buildctl").is_some()
    }

    /// Starts the daemon with an empty store.
    pub(crate) fn start(setting: Setting) -> Result<Self> {
        let own = setting.own("buildkit");
        places::make_empty(&own)?;
        let config = own.join("buildkitd.toml");
        let registry = &setting.registry;
        places::write(
            &config,
            format!(
                "[registry.\"docker.io\"]\n  mirrors = [\"{registry}\"]\n\n\
                 [registry.\"{registry}\"]\n  http = true\n"
            ),
        )?;
        let address = format!("unix://{}", own.join("sock").display());
        let log = setting.log("buildkitd");
        let file = std::fs::File::create(&log).context("cannot make buildkitd's log")?;
        let daemon = Command::new("buildkitd")
            .arg("--root")
            .arg(own.join("root"))
            .args(["--addr", &address, "--oci-worker-net", "host", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start buildkitd")?;
        let mut buildkit = Self { setting, address, daemon };
        buildkit.wait_until_ready(&log)?;
        Ok(buildkit)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while process::quiet(self.client().args(["debug", "workers"])).is_err() {
            let ended = self.daemon.try_wait().context("cannot wait for buildkitd")?.is_some();
            if ended || Instant::now() > deadline {
                bail!("buildkitd did not start:\n{}", process::log_tail(log));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn client(&self) -> Command {
        let mut command = Command::new("buildctl");
        command.args(["--addr", &self.address]);
        command
    }
}

impl Builder for BuildKit {
    fn name(&self) -> &str {
        "BuildKit"
    }

    fn version(&self) -> Result<String> {
        Ok(process::stdout(Command::new("buildkitd").arg("--version"))?.trim().to_owned())
    }

    fn build(&mut self, job: &Job) -> Result<Sample> {
        timed::reset_high_water(self.daemon.id());
        let mut command = self.client();
        command.args(["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
        command.arg("--local").arg(format!("context={}", job.context.display()));
        command.arg("--local").arg(format!("dockerfile={}", job.context.display()));
        command.args(["--opt", &format!("filename={}", job.dockerfile)]);
        if job.travel.is_some() {
            bail!("caches that travel are measured with Docker's BuildKit");
        }
        if job.no_cache {
            command.arg("--no-cache");
        }
        if job.output == Output::OciTar {
            command.arg("--output").arg(oci_output(&self.setting.output("buildkit")));
        }
        let mut sample = timed::run(&mut command, &self.setting.log("buildkit"))?;
        sample.peak_kib += timed::high_water(self.daemon.id()).unwrap_or(0);
        Ok(sample)
    }

    fn forget(&mut self) -> Result<()> {
        process::quiet(self.client().args(["prune", "--all"]))
    }
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.daemon.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if !matches!(self.daemon.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
