//! What a process finds around it: variables, name resolution, limits, and the metadata of its root.

use crate::error::EngineError;
use crate::ops::users::ProcessUser;
use kiln_graph::{Exec, HostEntry};
use kiln_layer::Tree;
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files that tell a process about the network.
pub(crate) struct NetworkFiles {
    pub(crate) resolv_conf: PathBuf,
    pub(crate) hosts: PathBuf,
}

/// The environment: the step's own, what mounts and proxies add, and `PATH` and `HOME` where it has none. As in Docker an empty
/// `HOME` is none.
pub(crate) fn variables(exec: &Exec, user: &ProcessUser, from_mounts: &[(String, String)]) -> Vec<(String, String)> {
    let mut variables = exec.env.to_vec();
    // Who builds knows the proxy better than the Dockerfile; what a mount sets was asked for by this very step.
    for (name, value) in exec.transparent_env.iter().chain(from_mounts) {
        variables.retain(|(known, _)| known != name);
        variables.push((name.clone(), value.clone()));
    }
    if !variables.iter().any(|(name, _)| name == "PATH") {
        variables.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    match variables.iter_mut().find(|(name, _)| name == "HOME") {
        Some((_, value)) if value.is_empty() => value.clone_from(&user.home),
        Some(_) => {}
        None => variables.push(("HOME".to_owned(), user.home.clone())),
    }
    variables
}

/// Writes `resolv.conf` and `hosts` for one step.
pub(crate) fn network_files(
    directory: &Path,
    hostname: &str,
    extra: &[HostEntry],
) -> Result<NetworkFiles, EngineError> {
    let resolv_conf = directory.join("resolv.conf");
    let hosts = directory.join("hosts");
    // A machine without a resolver has no names to resolve; the step sees an empty file, as the host does.
    let resolver = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    std::fs::write(&resolv_conf, resolver).map_err(EngineError::io("write", &resolv_conf))?;
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for entry in extra {
        let _ = writeln!(text, "{}\t{}", entry.ip, entry.host);
    }
    std::fs::write(&hosts, text).map_err(EngineError::io("write", &hosts))?;
    Ok(NetworkFiles { resolv_conf, hosts })
}

/// Gives `upper` the mode and owner of the base's root, which it stands for.
pub(crate) fn copy_root_metadata(base: &dyn Tree, upper: &Path) -> Result<(), EngineError> {
    let root = base.entry(Path::new("")).map_err(EngineError::internal("failed to read the base's root"))?;
    let (mode, uid, gid) = root.map_or((0o755, 0, 0), |entry| (entry.mode, entry.uid, entry.gid));
    std::fs::set_permissions(upper, PermissionsExt::from_mode(mode))
        .map_err(EngineError::io("set the mode of", upper))?;
    chown(upper, Some(uid), Some(gid)).map_err(EngineError::io("set the owner of", upper))
}

/// The number of a resource limit, from its name in lower case.
pub(crate) fn resource(name: &str) -> Option<u32> {
    // As `setrlimit(2)` numbers them on Linux, all architectures that kiln supports.
    Some(match name {
        "cpu" => 0,
        "fsize" => 1,
        "data" => 2,
        "stack" => 3,
        "core" => 4,
        "rss" => 5,
        "nproc" => 6,
        "nofile" => 7,
        "memlock" => 8,
        "as" => 9,
        "locks" => 10,
        "sigpending" => 11,
        "msgqueue" => 12,
        "nice" => 13,
        "rtprio" => 14,
        "rttime" => 15,
        _ => return None,
    })
}
