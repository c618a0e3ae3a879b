//! `--ssh`: agents that steps may use, as `docker buildx build` says it.

use crate::error::UsageError;
use kiln_engine::{SshAgent, SshError};
use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;

/// An agent's id and what it is made of, not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ssh {
    id: String,
    paths: Vec<PathBuf>,
}

/// `ID[=SOCKET|KEY[,KEY]...]`. An id alone is the user's own agent.
pub(super) fn parse(text: &str) -> Result<Ssh, UsageError> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    let paths = match paths {
        "" => match env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()) {
            Some(socket) => vec![PathBuf::from(socket)],
            None => {
                return Err(UsageError::new("there is no agent: `SSH_AUTH_SOCK` is not set")
                    .hint(format!("start one with `eval $(ssh-agent) && ssh-add`, or name a key: `--ssh {id}=FILE`")));
            }
        },
        paths => paths.split(',').map(PathBuf::from).collect(),
    };
    Ok(Ssh { id: id.to_owned(), paths })
}

/// The user's own agent, if there is one.
pub(super) fn own() -> Option<Ssh> {
    parse("default").ok()
}

/// Opens the agents. Keys are read now, so that a bad one is told before anything is built.
pub(super) fn open(all: Vec<Ssh>) -> Result<BTreeMap<String, Arc<SshAgent>>, UsageError> {
    let mut agents = BTreeMap::new();
    for Ssh { id, paths } in all {
        let agent = SshAgent::open(&paths).map_err(|error| explain(&error))?;
        if agents.insert(id.clone(), Arc::new(agent)).is_some() {
            return Err(UsageError::new(format!("`--ssh`: the id `{id}` is given twice")));
        }
    }
    Ok(agents)
}

fn explain(error: &SshError) -> UsageError {
    match error {
        SshError::Read { source, .. } => UsageError::new(format!("`--ssh`: {error}: {source}")),
        SshError::Key { .. } => UsageError::new(format!("`--ssh`: {error}"))
            .hint("add the key to an agent with `ssh-add`, and forward that: `--ssh default`"),
        SshError::Mixed(_) => {
            UsageError::new(format!("`--ssh`: {error}")).hint("give it an id of its own: `--ssh ID=SOCKET`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (text, id, expected) in [
            ("default=/a", "default", paths(&["/a"])),
            ("git=/a,/b", "git", paths(&["/a", "/b"])),
            ("=/a", "default", paths(&["/a"])),
            ("x=/a=b", "x", paths(&["/a=b"])),
        ] {
            assert_eq!(parse(text).unwrap(), Ssh { id: id.to_owned(), paths: expected }, "{text}");
        }
    }

    #[test]
    fn mistakes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "hello").unwrap();
        let bad = |path: &str| open(vec![parse(&format!("default={path}")).unwrap()]).unwrap_err();
        assert!(bad("/no/such").message.contains("cannot read `/no/such`"));
        let error = bad(file.to_str().unwrap());
        assert!(error.message.contains("not a private key") && error.hint.unwrap().contains("ssh-add"));
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let one = Ssh { id: "a".into(), paths: vec![socket] };
        assert!(open(vec![one.clone(), one]).unwrap_err().message.contains("given twice"));
    }
}
