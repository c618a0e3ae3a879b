//! Running an image: its process with the caller's terminal, in a writable layer that is thrown away.

use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::ops::exec::{cgroup, copy_root_metadata, how, network_files, not_started, or_empty};
use crate::ops::file::make_directories;
use crate::ops::users;
use crate::snapshot::Realized;
use kiln_digest::Digest;
use kiln_graph::{Network, Platform, Resources};
use kiln_lower::ContainerConfig;
use kiln_sandbox::{ExitStatus, Killer, Output, Root, Sandbox, SpawnError, Spec, Stdin};
use kiln_sources::image::{BaseImage, PullProgress, Resolution};
use kiln_store::Image;
use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One process in an image.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Name or id of the image.
    pub image: String,
    /// Arguments, in place of the image's CMD.
    pub args: Vec<String>,
    /// Further variables.
    pub env: Vec<(String, String)>,
    /// In place of the image's ENTRYPOINT; an empty list for none.
    pub entrypoint: Option<Vec<String>>,
    /// In place of the image's WORKDIR.
    pub workdir: Option<String>,
    /// In place of the image's USER.
    pub user: Option<String>,
    /// The network.
    pub network: Network,
    /// The cgroup below which it runs.
    pub cgroup_parent: Option<String>,
    /// What it may use of the machine.
    pub resources: Resources,
    /// Asks the registry again.
    pub pull: bool,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Its exit code, as a shell has it.
    pub code: i32,
    /// What is to be said of it if it, or a process that it started, wanted more memory than its limit.
    pub out_of_memory: Option<String>,
}

impl Engine {
    /// Runs a process of an image to its end, with the caller's standard streams.
    ///
    /// # Errors
    /// If the image cannot be found or pulled, or the process not be started.
    pub fn run(&self, request: &RunRequest, cancel: &CancelToken) -> Result<RunEnd, EngineError> {
        let resolution = self.find_image(request, cancel)?;
        let config = resolution.config.config.clone();
        let image = BaseImage::new(resolution, self.registry().clone());
        let flag = cancel.flag();
        let layers = image.layers(&Quiet(Arc::clone(&flag)));
        let layers = layers.map_err(|error| EngineError::from_pull(error, cancel.is_cancelled()))?;
        let realized = Realized::new(self.store(), layers)?;

        let temporary = self.store().temp_dir().map_err(EngineError::store)?;
        let upper = temporary.path().join("fs");
        let work = temporary.path().join("work");
        for directory in [&upper, &work] {
            std::fs::create_dir(directory).map_err(EngineError::io("make", directory))?;
        }
        let cwd = request.workdir.clone().unwrap_or_else(|| non_empty(&config.working_dir, "/"));
        // The working directory and the volumes are there even if no layer has them, as in Docker.
        let directories = config.volumes.keys().chain([&cwd]).map(String::as_str);
        make_directories(&upper, Arc::clone(&realized.tree), directories, cancel)?;
        copy_root_metadata(realized.tree.as_ref(), &upper)?;
        let lower = or_empty(&realized.paths, &temporary)?;
        let args = command(request, &config)?;
        let mut spec = Spec::new(Root::Overlay { lower, upper, work }, args);
        let user = request.user.as_deref().or(Some(config.user.as_str()));
        let user = users::process(realized.tree.as_ref(), user).map_err(EngineError::user)?;
        spec.env = environment(request, &config, &user.home);
        spec.cwd = cwd;
        spec.user = kiln_sandbox::User { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids };
        spec.hostname = "kiln".to_owned();
        let files = network_files(temporary.path(), &spec.hostname, &[])?;
        (spec.resolv_conf, spec.hosts) = (Some(files.resolv_conf), Some(files.hosts));
        spec.network = match request.network {
            Network::Default | Network::Host => kiln_sandbox::Network::Host,
            Network::None => kiln_sandbox::Network::None,
        };
        (spec.stdin, spec.output) = (Stdin::Inherit, Output::Inherit);

        spec.cgroup = cgroup(request.cgroup_parent.as_deref(), &request.resources);
        let mut child = Sandbox::spawn(&spec).map_err(|error| not_started(&spec.args.join(" "), error))?;
        let (killer, pid) = (child.killer(), child.pid());
        let _stop_on_cancel = cancel.on_cancel(move || stop(&killer, pid));
        let exit = child.wait().map_err(EngineError::internal("failed to wait for the process"))?;
        match exit.status {
            // A program that ends by itself says how, also when it was asked to.
            ExitStatus::Signal(_) if cancel.is_cancelled() => Err(EngineError::cancelled()),
            ExitStatus::Code(_) | ExitStatus::Signal(_) => Ok(RunEnd {
                code: exit.code(),
                out_of_memory: exit.out_of_memory.then(|| how(&exit, request.resources.memory)),
            }),
        }
    }

    /// An image by its id or its name.
    fn find_image(&self, request: &RunRequest, cancel: &CancelToken) -> Result<Resolution, EngineError> {
        let platform = Platform::host();
        let digits = request.image.strip_prefix("sha256:").unwrap_or(&request.image);
        let is_id = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id && !request.pull {
            let images = self.store().images().map_err(EngineError::store)?;
            let found: Vec<(Digest, Image)> =
                images.into_iter().filter_map(|image| Some((image.id_starting_with(digits)?, image))).collect();
            let ids: BTreeSet<Digest> = found.iter().map(|(id, _)| *id).collect();
            if ids.len() > 1 {
                let text = format!("`{}` is the start of {} image ids", request.image, ids.len());
                return Err(EngineError::new(ErrorKind::User, text).with_hint("give more digits"));
            }
            // Of an index the image of this machine's platform.
            let of = |wanted: &Platform| found.iter().find(|(_, image)| image.platform == wanted.to_string());
            let chosen = platform.compatible().iter().find_map(of).or(found.first());
            if let Some((_, image)) = chosen {
                return self.registry().by_id(&image.config, &image.name).map_err(EngineError::from_image);
            }
        }
        let stop = || cancel.is_cancelled();
        self.registry().resolve(&request.image, &platform, request.pull, &stop).map_err(|error| {
            let cause = EngineError::from_image(error);
            // The cause may speak of nothing but a registry that cannot be reached.
            let mut wrong = EngineError::new(
                cause.kind,
                format!("there is no image `{}` here, and it cannot be pulled", request.image),
            );
            wrong.hint.clone_from(&cause.hint);
            wrong.with_source(cause)
        })
    }
}

impl EngineError {
    /// For a program that could not be started, the exit code that Docker gives its container: 127 if it was not found, 126 if it
    /// could not be executed.
    pub fn exit_code(&self) -> Option<i32> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(spawn) = error.downcast_ref::<SpawnError>() {
                return spawn.exit_code();
            }
            cause = error.source();
        }
        None
    }
}

/// How long a program may take to end once it is asked to, as long as `docker stop` waits.
const GRACE: Duration = Duration::from_secs(10);

/// As Linux numbers it, on all architectures.
const SIGTERM: i32 = 15;

/// Asks a program to end if it listens, and kills it if it does not, or not in time.
fn stop(killer: &Killer, pid: i32) {
    if !catches_sigterm(pid) {
        return killer.kill();
    }
    killer.signal(SIGTERM);
    let killer = killer.clone();
    std::thread::spawn(move || {
        std::thread::sleep(GRACE);
        killer.kill();
    });
}

/// Whether a process has a handler for SIGTERM. The first process of a pid namespace is not even ended by a signal without one.
fn catches_sigterm(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let bits = caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default();
    bits & (1 << (SIGTERM - 1)) != 0
}

/// Entrypoint and command: a new entrypoint also drops the image's command, as in Docker.
fn command(request: &RunRequest, config: &ContainerConfig) -> Result<Vec<String>, EngineError> {
    let entrypoint = request.entrypoint.as_ref().unwrap_or(&config.entrypoint);
    let default: &[String] = if request.entrypoint.is_some() { &[] } else { &config.cmd };
    let args = if request.args.is_empty() { default } else { &request.args };
    let command: Vec<String> = entrypoint.iter().chain(args).cloned().collect();
    if command.is_empty() {
        let text = match &request.entrypoint {
            Some(_) => "without an entrypoint there is nothing to run".to_owned(),
            None => format!("`{}` has neither ENTRYPOINT nor CMD", request.image),
        };
        return Err(EngineError::new(ErrorKind::User, text).with_hint("say what to run: `kiln run IMAGE COMMAND`"));
    }
    Ok(command)
}

fn environment(request: &RunRequest, config: &ContainerConfig, home: &str) -> Vec<(String, String)> {
    let image = config.env.iter().filter_map(|pair| pair.split_once('='));
    let mut variables: Vec<(String, String)> = Vec::new();
    let more = request.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in image.chain(more) {
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value.to_owned()));
    }
    for (name, value) in [("PATH", kiln_lower::DEFAULT_PATH), ("HOME", home)] {
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.to_owned(), value.to_owned()));
        }
    }
    // Programs that draw need to know what they draw on.
    if !variables.iter().any(|(known, _)| known == "TERM")
        && let Ok(term) = std::env::var("TERM")
    {
        variables.push(("TERM".to_owned(), term));
    }
    variables
}

fn non_empty(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

struct Quiet(Arc<AtomicBool>);

impl PullProgress for Quiet {
    fn layer(&self, _: &Digest, _: u64, _: u64, _: bool) {}

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
