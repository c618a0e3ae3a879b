//! `go build` with no builder at all, in the root filesystem of the Go image by
//! chroot: the floor under every builder's time for an edited Go program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::mounts::Mounts;
use super::{Builder, Job, Sample, Setting, timed};
use crate::images;
use crate::places::{self, Places};
use crate::process;

pub(crate) struct PlainGo {
    root: PathBuf,
    log: PathBuf,
    /// The context that is mounted at `/app`, with its mount.
    app: Option<(PathBuf, Mounts)>,
    /// Only held.
    _mounts: Mounts,
}

impl PlainGo {
    /// Unpacks what the Go image is made of.
    pub(crate) fn new(places: &Places, setting: &Setting) -> Result<Self> {
        let context = images::GOLANG.context(places)?;
        let root = setting.own("plain-go");
        places::make_empty(&root)?;
        let mut tar = Command::new("tar");
        process::quiet(tar.arg("-xf").arg(context.join("rootfs.tar")).arg("-C").arg(&root))?;
        let mut mounts = Mounts::default();
        mounts.bind(&context.join("go"), &root.join("usr/local/go"))?;
        mounts.proc(&root.join("proc"))?;
        mounts.bind("/dev".as_ref(), &root.join("dev"))?;
        Ok(Self { root, log: setting.log("plain-go"), app: None, _mounts: mounts })
    }
}

impl Builder for PlainGo {
    fn name(&self) -> &str {
        "go build"
    }

    fn version(&self) -> Result<String> {
        Ok("go build by chroot into the Go image's files, no builder".to_owned())
    }

    fn build(&mut self, job: &Job) -> Result<Sample> {
        if self.app.as_ref().is_none_or(|(context, _)| *context != job.context) {
            self.app = None;
            let mut mounts = Mounts::default();
            mounts.bind(&job.context, &self.root.join("app"))?;
            self.app = Some((job.context.clone(), mounts));
        }
        // A builder's step starts without the program of the build before.
        places::remove(&self.root.join("tmp/app"))?;
        // The path that `go` gets is not the one to look for `chroot` in.
        let mut command = Command::new(process::find("chroot").context("`chroot` is not there")?);
        command.arg(&self.root).args(["/bin/sh", "-c"]);
        command.arg("cd /app && exec go build -buildvcs=false -o /tmp/app").env_clear();
        command.env("PATH", "/usr/local/go/bin:/usr/bin:/bin").env("HOME", "/root");
        command.env("GOTOOLCHAIN", "local").env("GOPATH", "/go");
        timed::run(&mut command, &self.log)
    }

    fn forget(&mut self) -> Result<()> {
        places::remove(&self.root.join("root/.cache/go-build"))
    }
}
