//! Which Docker daemon is meant, as the `docker` program finds it: `DOCKER_HOST`, else the context that `DOCKER_CONTEXT` or Docker's
//! `config.json` chooses, else the socket of Docker or podman that is there.

use crate::error::UsageError;
use kiln_engine::DaemonAddress;
use serde_json::Value;
use std::env;
use std::path::{Path, PathBuf};

/// Docker's own socket.
const SOCKET: &str = "/var/run/docker.sock";

/// What the environment says, apart from it so that tests can say something else.
struct Environment {
    host: Option<String>,
    context: Option<String>,
    tls: bool,
    docker: Option<PathBuf>,
    runtime: Option<PathBuf>,
}

/// The daemon's address. Whether it answers is not looked at.
pub(crate) fn address() -> Result<DaemonAddress, UsageError> {
    let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    find(&Environment {
        host: text("DOCKER_HOST"),
        context: text("DOCKER_CONTEXT"),
        tls: text("DOCKER_TLS_VERIFY").is_some(),
        docker: path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker"))),
        runtime: path("XDG_RUNTIME_DIR"),
    })
}

fn find(environment: &Environment) -> Result<DaemonAddress, UsageError> {
    if let Some(host) = &environment.host {
        return parse(host, "`DOCKER_HOST`", environment.tls);
    }
    let chosen = environment.context.clone().or_else(|| current_context(environment.docker.as_deref()?));
    if let Some(context) = chosen.filter(|context| context != "default" && !context.is_empty()) {
        let host = context_host(environment.docker.as_deref(), &context).ok_or_else(|| {
            UsageError::new(format!("there is no Docker context `{context}`")).hint("`docker context ls` lists them")
        })?;
        return parse(&host, &format!("the Docker context `{context}`"), environment.tls);
    }
    let podman = environment.runtime.iter().map(|runtime| runtime.join("podman/podman.sock"));
    let others = [PathBuf::from("/run/podman/podman.sock")].into_iter().chain(podman);
    let there = [PathBuf::from(SOCKET)].into_iter().chain(others).find(|path| path.exists());
    Ok(DaemonAddress::Unix(there.unwrap_or_else(|| SOCKET.into())))
}

fn parse(host: &str, whence: &str, tls: bool) -> Result<DaemonAddress, UsageError> {
    if let Some(path) = host.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
        return Ok(DaemonAddress::Unix(path.into()));
    }
    if let Some(address) = host.strip_prefix("tcp://").filter(|address| !address.is_empty()) {
        if tls {
            return Err(UsageError::unsupported(format!("a daemon with TLS is not supported: {whence} is `{host}`"))
                .hint("`-o type=docker,dest=- … | docker load` loads the image into it"));
        }
        let address = address.trim_end_matches('/');
        let port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        return Ok(DaemonAddress::Tcp(if port { address.to_owned() } else { format!("{address}:2375") }));
    }
    match host.split_once("://") {
        Some((scheme @ ("ssh" | "npipe" | "fd" | "http" | "https"), _)) => {
            Err(UsageError::unsupported(format!("a daemon by {scheme} is not supported: {whence} is `{host}`"))
                .hint("`-o type=docker,dest=- … | docker load` loads the image into it"))
        }
        _ => Err(UsageError::new(format!("{whence} is `{host}`, which is no address of a daemon"))
            .hint("for example `unix:///var/run/docker.sock`")),
    }
}

fn current_context(docker: &Path) -> Option<String> {
    let text = std::fs::read(docker.join("config.json")).ok()?;
    let config: Value = serde_json::from_slice(&text).ok()?;
    Some(config.get("currentContext")?.as_str()?.to_owned())
}

/// The address in a context's `meta.json`. Its directory is named by a digest of its name, so all are looked at.
fn context_host(docker: Option<&Path>, name: &str) -> Option<String> {
    let directories = std::fs::read_dir(docker?.join("contexts/meta")).ok()?;
    directories.filter_map(Result::ok).find_map(|directory| {
        let text = std::fs::read(directory.path().join("meta.json")).ok()?;
        let meta: Value = serde_json::from_slice(&text).ok()?;
        if meta.get("Name")?.as_str()? != name {
            return None;
        }
        Some(meta.get("Endpoints")?.get("docker")?.get("Host")?.as_str()?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Environment {
        Environment { host: None, context: None, tls: false, docker: None, runtime: None }
    }

    #[test]
    fn the_variable_counts_first() {
        for (host, expected) in [
            ("unix:///run/d.sock", Ok("unix:///run/d.sock")),
            ("tcp://127.0.0.1:9/", Ok("tcp://127.0.0.1:9")),
            ("tcp://host", Ok("tcp://host:2375")),
            ("ssh://me@host", Err("a daemon by ssh is not supported: `DOCKER_HOST` is `ssh://me@host`")),
            ("/run/d.sock", Err("`DOCKER_HOST` is `/run/d.sock`, which is no address of a daemon")),
            ("unix://relative", Err("`DOCKER_HOST` is `unix://relative`, which is no address of a daemon")),
        ] {
            let found = find(&Environment { host: Some(host.to_owned()), context: Some("x".to_owned()), ..nothing() });
            let found = found.map(|address| address.to_string()).map_err(|error| error.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        }
        let tls = Environment { host: Some("tcp://host:2376".to_owned()), tls: true, ..nothing() };
        assert!(find(&tls).unwrap_err().unsupported);
    }

    #[test]
    fn contexts_count_next() {
        let docker = tempfile::tempdir().unwrap();
        let meta = docker.path().join("contexts/meta/0a");
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Name":"mine","Endpoints":{"docker":{"Host":"unix:///m.sock"}}}"#)
            .unwrap();
        std::fs::write(docker.path().join("config.json"), r#"{"currentContext":"mine"}"#).unwrap();
        let environment = |context: Option<&str>| Environment {
            context: context.map(str::to_owned),
            docker: Some(docker.path().to_owned()),
            ..nothing()
        };
        assert_eq!(find(&environment(None)).unwrap().to_string(), "unix:///m.sock");
        assert_eq!(find(&environment(Some("other"))).unwrap_err().message, "there is no Docker context `other`");
        assert_ne!(find(&environment(Some("default"))).unwrap().to_string(), "unix:///m.sock");
    }
}
