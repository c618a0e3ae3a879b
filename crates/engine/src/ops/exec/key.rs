//! What the key of an exec op is made of. Left out: the ids and contents of caches, the values of secrets, proxy settings.

use crate::history::HIDDEN;
use crate::ops::exec::snapshot;
use crate::snapshot::Output;
use crate::{build::Selections, error::EngineError};
use kiln_dockerfile::rules::is_secret_name;
use kiln_graph::{Exec, Mount, MountKind, Network, SecretTarget, Security};
use kiln_lower::without_credentials_in;
use kiln_solver::KeyParts;

/// The name of the part that is the content of the step's root.
pub(super) const BASE: &str = "base";

/// The named parts of the step's key. `said` is what people are told when an input changed.
pub(crate) fn key_parts(
    exec: &Exec,
    inputs: &[Output],
    said: &dyn Fn(u32) -> String,
    selections: &dyn Selections,
) -> Result<KeyParts, EngineError> {
    let mut parts = KeyParts::new();
    parts.text(KeyParts::OP, "exec v5");
    match exec.root {
        Some(port) => parts.content(BASE, snapshot(inputs, port.0)?.content, said(port.0)),
        None => parts.text(BASE, "scratch"),
    };
    let (form, command) = command(&exec.args);
    parts.text("form", form);
    shown(&mut parts, "command".to_owned(), &command);
    for (name, value) in &exec.env {
        let kind = if exec.arguments.contains(name) { "ARG" } else { "ENV" };
        let part = format!("{kind} {name}");
        if is_secret_name(name) {
            parts.hidden(part, value, HIDDEN);
        } else {
            shown(&mut parts, part, value);
        }
    }
    parts.text("working directory", &exec.cwd);
    parts.text("user", exec.user.as_deref().unwrap_or_default());
    parts.text("hostname", exec.hostname.as_deref().unwrap_or_default());
    parts.text("network", network(exec.network));
    parts.text("security", security(exec.security));
    parts.text("size of /dev/shm", exec.shm_size.map(|bytes| format!("{bytes} bytes")).unwrap_or_default());
    let ulimits = exec.ulimits.iter().map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard));
    parts.text("ulimits", ulimits.collect::<Vec<_>>().join(" "));
    let codes: Vec<String> = exec.valid_exit_codes.iter().map(ToString::to_string).collect();
    parts.text("valid exit codes", codes.join(" "));
    let hosts: Vec<String> = exec.extra_hosts.iter().map(|entry| format!("{}={}", entry.host, entry.ip)).collect();
    parts.text("extra hosts", hosts.join(" "));
    for mount in &exec.mounts {
        mount_parts(mount, inputs, said, selections, &mut parts)?;
    }
    Ok(parts)
}

/// A text, which is kept and shown without the credentials of the addresses in it.
fn shown(parts: &mut KeyParts, part: String, value: &str) {
    let public = without_credentials_in(value);
    if public == value {
        parts.text(part, value);
    } else {
        parts.hidden(part, value, public);
    }
}

fn mount_parts(
    mount: &Mount,
    inputs: &[Output],
    said: &dyn Fn(u32) -> String,
    selections: &dyn Selections,
    parts: &mut KeyParts,
) -> Result<(), EngineError> {
    let name = format!("mount {}", mount.target);
    let access = if mount.read_only { "read-only" } else { "writable" };
    match &mount.kind {
        MountKind::Bind { from, source } => {
            parts.text(&name, format!("bind, {access}"));
            match &inputs[from.0 as usize] {
                Output::Snapshot(snapshot) if source.trim_matches('/').is_empty() => {
                    parts.content(format!("files at {}", mount.target), snapshot.content, said(from.0));
                }
                input => {
                    let digest = selections.path(input, source)?;
                    parts.files(format!("files at {}", mount.target), digest);
                }
            }
        }
        MountKind::Cache { from, source, mode, uid, gid, .. } => {
            let mode = mode.map(|mode| format!(", mode {mode:04o}")).unwrap_or_default();
            parts.text(&name, format!("cache, {access}{mode}, owner {uid}:{gid}"));
            if let Some(from) = from {
                parts.files(
                    format!("first files at {}", mount.target),
                    selections.path(&inputs[from.0 as usize], source)?,
                );
            }
        }
        MountKind::Tmpfs { size } => {
            let size = size.map(|size| format!(", {size} bytes")).unwrap_or_default();
            parts.text(&name, format!("tmpfs, {access}{size}"));
        }
        MountKind::Secret { id, target, required, mode, uid, gid } => {
            let target = match target {
                SecretTarget::File => "as a file".to_owned(),
                SecretTarget::Env(name) => format!("as the variable {name}"),
                SecretTarget::FileAndEnv(name) => format!("as a file and the variable {name}"),
            };
            let settings = owned(*required, *mode, *uid, *gid);
            parts.text(&name, format!("secret `{id}` {target}, {settings}"));
        }
        MountKind::Ssh { id, required, mode, uid, gid } => {
            parts.text(&name, format!("agent `{id}`, {}", owned(*required, *mode, *uid, *gid)));
        }
    }
    Ok(())
}

/// What secrets and agents have in common.
fn owned(required: bool, mode: u32, uid: u32, gid: u32) -> String {
    let required = if required { "required" } else { "optional" };
    format!("{required}, mode {mode:04o}, owner {uid}:{gid}")
}

fn network(network: Network) -> &'static str {
    match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
}

fn security(security: Security) -> &'static str {
    match security {
        Security::Sandbox => "sandbox",
        Security::Insecure => "insecure",
    }
}

/// What is run, as people wrote it, and in which form, so that no two lists of arguments look the same.
fn command(args: &[String]) -> (&'static str, String) {
    match args {
        [shell, flag, script] if shell == "/bin/sh" && flag == "-c" => ("shell", script.clone()),
        args => ("exec", format!("{args:?}")),
    }
}
