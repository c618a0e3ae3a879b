//! kiln itself, with a store of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Builder, Job, Output, Sample, Setting, Travel, oci_output, timed};
use crate::kiln::Binary;
use crate::{places, process};

pub(crate) struct Kiln {
    binary: Binary,
    setting: Setting,
    config: PathBuf,
}

impl Kiln {
    pub(crate) fn new(binary: Binary, setting: Setting) -> Result<Self> {
        let config = setting.folder.join("kiln.toml");
        let registry = &setting.registry;
        places::write(
            &config,
            format!(
                "[registry.\"docker.io\"]\nmirrors = [\"{registry}\"]\n\n\
                 [registry.\"{registry}\"]\nhttp = true\n"
            ),
        )?;
        Ok(Self { binary, setting, config })
    }

    /// A call of kiln with this store, pulling from the setting's registry.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.binary.command(&self.setting.own("kiln"));
        command.arg("--config").arg(&self.config);
        command
    }
}

impl Builder for Kiln {
    fn name(&self) -> &str {
        "kiln"
    }

    fn version(&self) -> Result<String> {
        let mut command = self.binary.plain_command();
        Ok(process::stdout(command.arg("--version"))?.trim().to_owned())
    }

    fn build(&mut self, job: &Job) -> Result<Sample> {
        let mut command = self.command();
        command.args(["build", "--progress", "plain"]);
        command.arg("--file").arg(job.dockerfile());
        if job.no_cache {
            command.arg("--no-cache");
        }
        if let Some(travel) = job.travel {
            command.arg(self.setting.travel("kiln", travel)?);
        }
        command.arg("--output").arg(match (job.travel, job.output) {
            (Some(Travel::Pushed), _) => self.setting.pushed("kiln"),
            (_, Output::Cache) => "type=cacheonly".to_owned(),
            (_, Output::OciTar) => oci_output(&self.setting.output("kiln")),
        });
        let log = self.setting.log("kiln");
        let sample = timed::run(command.arg(&job.context), &log)?;
        Ok(Sample { sent: sent(&places::read(&log)?), ..sample })
    }

    fn mend(&self, dockerfile: &Path) -> Result<bool> {
        let before = places::read(dockerfile)?;
        // Its exit code says whether something is left that only people can mend.
        let _ = self.command().args(["check", "--fix"]).arg(dockerfile).output().context("cannot run kiln")?;
        if places::read(dockerfile)? == before {
            bail!("`kiln check --fix` left `{}` as it was", dockerfile.display());
        }
        Ok(true)
    }

    fn forget(&mut self) -> Result<()> {
        places::remove_store(&self.setting.own("kiln"))
    }
}

/// The bytes that a build says it has sent to a cache.
fn sent(log: &str) -> Option<u64> {
    let counts = log.lines().filter_map(|line| line.split_once(" sent ")?.1.split_once(" bytes, "));
    counts.filter_map(|(count, _)| count.parse().ok()).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_from_the_log() {
        assert_eq!(
            sent("#9 exporting cache to directory `/c`\n#9 0.112 sent 4711 bytes, 10 bytes were there\n"),
            Some(4711)
        );
        assert_eq!(sent("#9 0.1 he sent nothing\n"), None);
    }
}
