//! The exec op: a RUN step in its sandbox.

mod auto_cache;
pub(crate) mod cache_key;
mod environment;
mod foreign;
mod inside;
mod key;
mod limits;
mod log;
mod mounts;
mod outputs;
pub(crate) mod secret;
mod ssh;
mod unseen;

pub(crate) use environment::{copy_root_metadata, network_files};
pub(crate) use key::key_parts;
pub(crate) use limits::{cgroup, how, not_started};
pub(crate) use mounts::{NotGiven, or_empty};

use crate::build::{Made, Ran, StepContext};
use crate::error::{EngineError, ErrorKind};
use crate::ops::users;
use crate::snapshot::{Output, Snapshot};
use kiln_graph::{Exec, Network, Security};
use kiln_layer::{diff_digest_until, prune_unchanged, take_up};
use kiln_sandbox::{Rlimit, Root, Sandbox, Spec};
use kiln_store::{NewLayer, TempDir};
use std::time::SystemTime;

/// Runs the step and commits what it changed.
pub(crate) fn execute(exec: &Exec, inputs: &[Output], context: &StepContext<'_>) -> Result<Made, EngineError> {
    let base = match exec.root {
        Some(port) => snapshot(inputs, port.0)?.clone(),
        None => Snapshot::empty(),
    };
    let realized = context.realize(&base)?;
    let temporary = context.temp_dir()?;
    let upper = temporary.path().join("fs");
    let work = temporary.path().join("work");
    for directory in [&upper, &work] {
        std::fs::create_dir(directory).map_err(EngineError::io("make", directory))?;
    }
    // The upper directory's own metadata becomes that of the root.
    copy_root_metadata(realized.tree.as_ref(), &upper)?;
    let user = users::process(realized.tree.as_ref(), exec.user.as_deref()).map_err(EngineError::user)?;
    let root = exec.root.map(|port| &inputs[port.0 as usize]);
    let mut injected = auto_cache::plan(exec, root, realized.tree.as_ref(), &user, context.selections())?;
    unseen::tell_apart(&mut injected, exec, inputs, context)?;
    if !injected.is_empty() {
        context.tell_caches(&injected.commands, injected.len());
    }
    let mounts = mounts::prepare(exec, &injected, inputs, &temporary, context)?;
    let mut lower = or_empty(&realized.paths, &temporary)?;
    let earlier = outputs::lay(exec, &injected, inputs, &realized, &temporary, context)?;
    lower.extend(earlier.clone());
    let mut spec = spec(exec, user, &mounts, &temporary, Root::Overlay { lower, upper: upper.clone(), work })?;
    if !injected.is_empty() {
        // The tool would have made the parents of its cache itself, and may write beside it.
        spec.mount_point_owner = (spec.user.uid, spec.user.gid);
    }

    run(exec, &spec, context)?;
    drop(mounts);

    let ran = Ran { layers: realized.layers.clone(), ended: SystemTime::now() };
    if let Some(earlier) = earlier {
        take_up(&upper, &earlier).map_err(EngineError::internal("failed to keep what the last run left"))?;
    }
    let stop = context.cancel().flag();
    prune_unchanged(&upper, realized.tree.as_ref(), &stop)
        .map_err(EngineError::internal("failed to read what the step changed"))?;
    let diff =
        diff_digest_until(&upper, &stop).map_err(EngineError::internal("failed to read what the step changed"))?;
    let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
    let layer = context.store().commit_layer(&upper, new).map_err(EngineError::store)?;
    let (size, injected) = (layer.size, injected.directories);
    Ok(Made { layer: layer.id, diff: diff.digest, size, injected, ran: Some(ran) })
}

/// The input of a step that must be a stack of layers.
pub(crate) fn snapshot(inputs: &[Output], port: u32) -> Result<&Snapshot, EngineError> {
    match &inputs[port as usize] {
        Output::Snapshot(snapshot) => Ok(snapshot),
        Output::Context(_) => Err(EngineError::new(ErrorKind::Internal, "a build context cannot be a root filesystem")),
    }
}

fn spec(
    exec: &Exec,
    user: users::ProcessUser,
    mounts: &mounts::Prepared,
    temporary: &TempDir,
    root: Root,
) -> Result<Spec, EngineError> {
    let mut spec = Spec::new(root, exec.args.clone());
    spec.env = environment::variables(exec, &user, &mounts.env);
    spec.cwd.clone_from(&exec.cwd);
    spec.user = kiln_sandbox::User { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids };
    if let Some(hostname) = &exec.hostname {
        spec.hostname.clone_from(hostname);
    }
    spec.mounts.clone_from(&mounts.mounts);
    let files = network_files(temporary.path(), &spec.hostname, &exec.extra_hosts)?;
    spec.resolv_conf = Some(files.resolv_conf);
    spec.hosts = Some(files.hosts);
    spec.network = match exec.network {
        Network::Default | Network::Host => kiln_sandbox::Network::Host,
        Network::None => kiln_sandbox::Network::None,
    };
    spec.security = match exec.security {
        Security::Sandbox => kiln_sandbox::Security::Sandbox,
        Security::Insecure => kiln_sandbox::Security::Insecure,
    };
    if let Some(size) = exec.shm_size {
        spec.shm_size = size;
    }
    spec.cgroup = cgroup(exec.cgroup_parent.as_deref(), &exec.resources);
    for limit in &exec.ulimits {
        let resource = environment::resource(&limit.name).ok_or_else(|| {
            EngineError::new(ErrorKind::User, format!("unknown resource limit `{}`", limit.name))
                .with_hint("for example `nofile=1024:2048`")
        })?;
        let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
        spec.rlimits.push(Rlimit { resource, soft: value(limit.soft), hard: value(limit.hard) });
    }
    Ok(spec)
}

/// Runs the process to its end and passes on what it says.
fn run(exec: &Exec, spec: &Spec, context: &StepContext<'_>) -> Result<(), EngineError> {
    context.check_cancelled()?;
    let mut child = Sandbox::spawn(spec).map_err(|error| not_started(&command_line(exec), error))?;
    let killer = child.killer();
    let _kill_on_cancel = context.cancel().on_cancel(move || killer.kill());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let tail = log::forward(stdout, stderr, |stream, data| context.log(stream, data));
    let exit = child.wait().map_err(EngineError::internal("failed to wait for the step"))?;
    context.tell_usage(exit.usage);
    // Before anything else, so that the stubs of mounts never enter a layer.
    child.stubs().clean_up().map_err(EngineError::internal("failed to remove mount points"))?;
    context.check_cancelled()?;
    let code = exit.code();
    let expected = if exec.valid_exit_codes.is_empty() { code == 0 } else { exec.valid_exit_codes.contains(&code) };
    if expected {
        return Ok(());
    }
    let how = how(&exit, exec.resources.memory);
    let mut error = EngineError::new(ErrorKind::BuildFailed, format!("`{}` failed: {how}", command_line(exec)));
    error.log_tail = tail.into_lines();
    Err(error)
}

/// What was run, as messages name it: of a script of several lines the first, for the excerpt of the Dockerfile shows all of it.
fn command_line(exec: &Exec) -> String {
    let command = match &exec.args[..] {
        [_, flag, script] if flag == "-c" => script.clone(),
        args => args.join(" "),
    };
    match command.trim().split_once('\n') {
        Some((first, _)) => format!("{} …", first.trim_end()),
        None => command.trim().to_owned(),
    }
}
