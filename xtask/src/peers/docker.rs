//! BuildKit as a current Docker carries it, in a root filesystem of its own.
//!
//! Debian trixie's Docker is unpacked into `CACHE/peers/docker-v2` and its daemon
//! runs there by chroot, with the containerd image store (without it Docker's
//! BuildKit writes no OCI archives). The task's folder is bound to the same
//! path inside, so contexts and outputs have one name on both sides. What the
//! daemon writes lies in that folder too, not in the tree, so several work trees
//! can use the tree at once, each from mount namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::mounts::Mounts;
use super::{Builder, Job, Output, Place, Sample, Setting, Travel, oci_output, timed};
use crate::debian::{self, files, program};
use crate::places::{self, Places};
use crate::process;

const SOCKET: &str = "unix:///run/dk.sock";
const DATA: &str = "var/lib/dk";

pub(crate) struct Docker {
    setting: Setting,
    tree: PathBuf,
    daemon: Child,
    /// Only held; dropped after the daemon has ended.
    _mounts: Mounts,
}

impl Docker {
    /// Whether an earlier run left a root filesystem with Docker.
    pub(crate) fn is_installed(places: &Places) -> bool {
        tree(places).is_dir()
    }

    /// Unpacks Debian trixie's Docker.
    pub(crate) fn install(places: &Places) -> Result<()> {
        let needs = [program("mmdebstrap", "mmdebstrap"), files("debian-archive-keyring")];
        debian::ensure("setting up Docker as a peer", &needs)?;
        places::make(&places.peers())?;
        let part = places.peers().join("docker-v2.part");
        places::remove(&part)?;
        // BuildKit calls git for contexts and sources, and xz for archives.
        let packages = "--include=ca-certificates,docker.io,docker-buildx,docker-cli,git,iptables,xz-utils";
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=minbase", packages, "trixie"]).arg(&part);
        process::run(&mut command)?;
        std::fs::rename(&part, tree(places)).context("cannot move Docker's root filesystem")
    }

    /// Starts the daemon with an empty store. It sees the setting's folder and
    /// the further `folders` under their own paths.
    pub(crate) fn start(places: &Places, setting: Setting, folders: &[&Path]) -> Result<Self> {
        let tree = tree(places);
        let mut mounts = Mounts::default();
        // Docker wants its root to be a mount point.
        mounts.bind(&tree, &tree)?;
        mounts.proc(&tree.join("proc"))?;
        mounts.bind(Path::new("/sys"), &tree.join("sys"))?;
        mounts.bind(Path::new("/dev"), &tree.join("dev"))?;
        for folder in folders.iter().copied().chain([setting.folder.as_path()]) {
            mounts.bind(folder, &inside(&tree, folder))?;
        }
        for own in [DATA, "run", "etc/docker", "root"] {
            let folder = setting.own("docker").join(own);
            places::make_empty(&folder)?;
            mounts.bind(&folder, &tree.join(own))?;
        }
        let config = serde_json::json!({
            "features": { "containerd-snapshotter": true },
            "registry-mirrors": [format!("http://{}", setting.registry)],
            "insecure-registries": [setting.registry],
            "iptables": false,
            "ip6tables": false,
            "bridge": "none",
        });
        places::write(&tree.join("etc/docker/daemon.json"), config.to_string())?;

        let log = setting.log("dockerd");
        let file = std::fs::File::create(&log).context("cannot make dockerd's log")?;
        let daemon = Command::new("chroot")
            .arg(&tree)
            .args(["dockerd", "--data-root"])
            .arg(Path::new("/").join(DATA))
            .args(["--exec-root", "/run/dk", "--pidfile", "/run/dk.pid", "-H", SOCKET])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start dockerd")?;
        let mut docker = Self { setting, tree, daemon, _mounts: mounts };
        docker.wait_until_ready(&log)?;
        Ok(docker)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if process::quiet(self.client().arg("version")).is_ok() {
                return Ok(());
            }
            let ended = self.daemon.try_wait().context("cannot wait for dockerd")?.is_some();
            if ended || Instant::now() > deadline {
                bail!("dockerd did not start:\n{}", process::log_tail(log));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// A call of Docker's client; `docker` itself is the program.
    pub(crate) fn client(&self) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.tree).args(["docker", "-H", SOCKET]).env("HOME", "/root");
        command
    }

    /// The daemon, and the containerd that it started.
    fn daemons(&self) -> Vec<u32> {
        let daemon = self.daemon.id();
        let mut pids = vec![daemon];
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{daemon}/task")) else { return pids };
        for task in tasks.filter_map(Result::ok) {
            let children = std::fs::read_to_string(task.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let name = std::fs::read_to_string(format!("/proc/{child}/comm"));
                if name.is_ok_and(|name| name.trim() == "containerd") {
                    pids.extend(child.parse::<u32>());
                }
            }
        }
        pids
    }
}

impl Builder for Docker {
    fn name(&self) -> &str {
        "BuildKit"
    }

    fn version(&self) -> Result<String> {
        let format = "Docker {{.Server.Version}}";
        let server = process::stdout(self.client().args(["version", "--format", format]))?;
        let buildx = process::stdout(self.client().args(["buildx", "version"]))?;
        let buildx = buildx.split_whitespace().nth(1).unwrap_or("?");
        Ok(format!("BuildKit of {}, buildx {buildx}", server.trim()))
    }

    fn build(&mut self, job: &Job) -> Result<Sample> {
        let daemons = self.daemons();
        daemons.iter().for_each(|&pid| timed::reset_high_water(pid));
        let mut command = self.client();
        command.args(["buildx", "build", "--progress", "plain", "--network", "host"]);
        // The others write no attestations.
        command.args(["--provenance=false", "--file"]).arg(job.dockerfile());
        if job.no_cache {
            command.arg("--no-cache");
        }
        match job.travel {
            None => {}
            Some(Travel::To(Place::Bucket) | Travel::From(Place::Bucket)) => bail!("its daemon knows no S3"),
            Some(Travel::Pushed) => bail!("it does not say what it sends"),
            Some(travel) => drop(command.arg(self.setting.travel("docker", travel)?)),
        }
        command.arg("--output").arg(match job.output {
            Output::Cache => "type=cacheonly".to_owned(),
            Output::OciTar => oci_output(&self.setting.output("docker")),
        });
        let mut sample = timed::run(command.arg(&job.context), &self.setting.log("docker"))?;
        sample.peak_kib += daemons.iter().filter_map(|&pid| timed::high_water(pid)).sum::<u64>();
        Ok(sample)
    }

    fn forget(&mut self) -> Result<()> {
        process::quiet(self.client().args(["buildx", "prune", "--all", "--force"]))?;
        process::quiet(self.client().args(["system", "prune", "--all", "--force"]))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // dockerd ends its containerd and unmounts what it mounted.
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

fn tree(places: &Places) -> PathBuf {
    places.peers().join("docker-v2")
}

/// The path below the tree that has the name `path` inside.
fn inside(tree: &Path, path: &Path) -> PathBuf {
    tree.join(path.strip_prefix("/").unwrap_or(path))
}
