//! Sources from elsewhere that are no images: asked for whether they changed when a key is made, fetched when somebody needs them.

use super::Build;
use crate::error::{EngineError, ErrorKind};
use crate::history::Redaction;
use crate::ops::exec::secret;
use crate::request::SecretSource;
use crate::snapshot::{Output, Remote, Snapshot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_graph::{GitTree, HttpFile, VertexId};
use kiln_sources::git::{GitAccess, GitError, GitSource};
use kiln_sources::http::HttpError;
use kiln_ssh::{Agent, Forward, SocketOwner};
use kiln_store::{Store, TempDir};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Build<'_> {
    /// A file from a URL.
    pub(super) fn http(&self, vertex: VertexId, file: &HttpFile) -> Result<Output, EngineError> {
        let authorization = http_authorization(&file.url, self.secrets, self.redaction)?;
        let (source, fetched) = self.told(vertex, |told| {
            let source = self.engine.http().resolve(file, authorization.as_deref(), told);
            Ok((source.map_err(EngineError::from_http)?, told.has_started()))
        })?;
        self.add_material(vertex, source.digest().hex().to_owned());
        self.remote(vertex, Remote::Http(Arc::new(source)), fetched)
    }

    /// A tree of a repository.
    pub(super) fn git(&self, vertex: VertexId, tree: &GitTree) -> Result<Output, EngineError> {
        let access = repository_access(&tree.remote, self.secrets, self.redaction, self.ssh, self.engine.store())?;
        let source = self.told(vertex, |told| {
            GitSource::resolve(self.engine.store(), tree, &access.git, told).map_err(EngineError::from_git)
        })?;
        self.add_material(vertex, source.commit().to_owned());
        self.remote(vertex, Remote::Git(Arc::new((source, access))), false)
    }

    fn remote(&self, vertex: VertexId, remote: Remote, fetched: bool) -> Result<Output, EngineError> {
        if !fetched && remote.layer_if_here().map_err(EngineError::store)?.is_some() {
            self.tell_cached(vertex, None, None);
        }
        Ok(Output::Snapshot(Snapshot::of_remote(remote, vertex)))
    }
}

/// The authorization for the server of a URL, from the secrets that BuildKit names for it: `HTTP_AUTH_HEADER_HOST` is the value of
/// the header, `HTTP_AUTH_TOKEN_HOST` a bearer token.
pub(super) fn http_authorization(
    url: &str,
    secrets: &BTreeMap<String, SecretSource>,
    redaction: &Redaction,
) -> Result<Option<String>, EngineError> {
    let host = host(url);
    for (id, prefix) in [(format!("HTTP_AUTH_HEADER_{host}"), ""), (format!("HTTP_AUTH_TOKEN_{host}"), "Bearer ")] {
        if let Some(value) = text(&id, secrets, redaction)? {
            return Ok(Some(format!("{prefix}{value}")));
        }
    }
    Ok(None)
}

/// How a repository is reached, for as long as this lives.
pub(crate) struct RepositoryAccess {
    pub(super) git: GitAccess,
    /// Git sees a socket of its own, as steps do.
    _agent: Option<(Forward, TempDir)>,
}

/// By which of what the user gave a repository is reached. Over HTTP these are the secrets that BuildKit names for it:
/// `GIT_AUTH_HEADER` is the value of the header, `GIT_AUTH_TOKEN` a password; those with a host's name go before those for all hosts.
/// Over SSH it is the agent `default`.
pub(super) fn repository_access(
    remote: &str,
    secrets: &BTreeMap<String, SecretSource>,
    redaction: &Redaction,
    agents: &BTreeMap<String, Arc<Agent>>,
    store: &Store,
) -> Result<RepositoryAccess, EngineError> {
    let mut access = RepositoryAccess { git: GitAccess::default(), _agent: None };
    if HttpFile::is_url(remote) {
        access.git.authorization = git_authorization(remote, secrets, redaction)?;
    } else if let Some(agent) = agents.get("default").filter(|_| !remote.starts_with("git://")) {
        let directory = store.temp_dir().map_err(EngineError::store)?;
        let socket = directory.path().join("agent");
        let owner = SocketOwner {
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let forward = Forward::start(Arc::clone(agent), &socket, owner);
        access._agent = Some((forward.map_err(EngineError::io("make the socket", &socket))?, directory));
        access.git.ssh_agent = Some(socket);
    }
    Ok(access)
}

fn git_authorization(
    remote: &str,
    secrets: &BTreeMap<String, SecretSource>,
    redaction: &Redaction,
) -> Result<Option<String>, EngineError> {
    let host = host(remote);
    for suffix in [format!(".{host}"), String::new()] {
        if let Some(header) = text(&format!("GIT_AUTH_HEADER{suffix}"), secrets, redaction)? {
            return Ok(Some(header));
        }
        if let Some(token) = text(&format!("GIT_AUTH_TOKEN{suffix}"), secrets, redaction)? {
            let basic = STANDARD.encode(format!("x-access-token:{token}"));
            redaction.add(basic.as_bytes());
            return Ok(Some(format!("basic {basic}")));
        }
    }
    Ok(None)
}

/// A secret that is one line of text.
fn text(
    id: &str,
    secrets: &BTreeMap<String, SecretSource>,
    redaction: &Redaction,
) -> Result<Option<String>, EngineError> {
    let Some(source) = secrets.get(id) else { return Ok(None) };
    let bytes = secret::bytes(id, source, redaction)?;
    let text = std::str::from_utf8(&bytes).map(str::trim).ok().filter(|text| !text.contains(char::is_control));
    let text =
        text.ok_or_else(|| EngineError::new(ErrorKind::User, format!("the secret `{id}` is not a line of text")))?;
    Ok(Some(text.to_owned()))
}

/// Host and port of a URL.
fn host(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

impl EngineError {
    pub(crate) fn from_http(error: HttpError) -> Self {
        let kind = match &error {
            HttpError::BadUrl { .. } | HttpError::Checksum { .. } | HttpError::TooLarge { .. } => ErrorKind::User,
            HttpError::Cancelled => return Self::cancelled(),
            HttpError::Write { .. } | HttpError::Record(_) | HttpError::Store(_) => ErrorKind::Internal,
            _ => ErrorKind::Network,
        };
        let hint = match &error {
            HttpError::Status { status, .. } if status.starts_with("401") || status.starts_with("403") => {
                Some("give the server's secret with `--secret id=HTTP_AUTH_TOKEN_HOST,env=NAME`")
            }
            HttpError::Checksum { .. } => Some("if the file was meant to change, write its new digest"),
            _ => None,
        };
        let wrong = Self::of(kind, error);
        match hint {
            Some(hint) => wrong.with_hint(hint),
            None => wrong,
        }
    }
}

impl EngineError {
    pub(crate) fn from_git(error: GitError) -> Self {
        let kind = match &error {
            GitError::NoProgram => ErrorKind::Unsupported,
            GitError::NoReference { .. }
            | GitError::NoCommit { .. }
            | GitError::NoDirectory { .. }
            | GitError::Checksum { .. } => ErrorKind::User,
            GitError::Refused { .. } | GitError::Silent { .. } | GitError::TooMuch { .. } => ErrorKind::Network,
            GitError::Cancelled => return Self::cancelled(),
            _ => ErrorKind::Internal,
        };
        let hint = match &error {
            GitError::Refused { remote, reason } if HttpFile::is_url(remote) && reason.contains("could not read ") => {
                Some("give a token with `--secret id=GIT_AUTH_TOKEN,env=NAME`")
            }
            GitError::Refused { reason, .. } if reason.contains("Permission denied") => {
                Some("give an agent that has a key for it with `--ssh default`")
            }
            GitError::Refused { reason, .. } if reason.contains("returned error: 30") => {
                Some("credentials are not sent on to another address; name the one that the server redirects to")
            }
            _ => None,
        };
        let wrong = Self::of(kind, error);
        match hint {
            Some(hint) => wrong.with_hint(hint),
            None => wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SecretValue;

    #[test]
    fn secrets_belong_to_hosts() {
        let secret = |value: &str| SecretSource::Value(SecretValue(value.as_bytes().to_vec()));
        let secrets = BTreeMap::from([
            ("HTTP_AUTH_TOKEN_h:8080".to_owned(), secret("t\n")),
            ("HTTP_AUTH_HEADER_x".to_owned(), secret("Basic abc")),
            ("HTTP_AUTH_TOKEN_x".to_owned(), secret("unused")),
            ("HTTP_AUTH_TOKEN_bad".to_owned(), secret("a\nb")),
        ]);
        let of = |url: &str| http_authorization(url, &secrets, &Redaction::default());
        assert_eq!(of("http://h:8080/a@b").unwrap().as_deref(), Some("Bearer t"));
        assert_eq!(of("https://u:p@x?q").unwrap().as_deref(), Some("Basic abc"));
        assert_eq!(of("https://h/").unwrap(), None);
        assert!(of("https://bad/").is_err());
    }

    #[test]
    fn tokens_of_hosts_go_first() {
        let secret = |value: &str| SecretSource::Value(SecretValue(value.as_bytes().to_vec()));
        let secrets = BTreeMap::from([
            ("GIT_AUTH_TOKEN".to_owned(), secret("all")),
            ("GIT_AUTH_HEADER".to_owned(), secret("Basic all")),
            ("GIT_AUTH_TOKEN.h".to_owned(), secret("one\n")),
        ]);
        let of = |url: &str| git_authorization(url, &secrets, &Redaction::default()).unwrap();
        assert_eq!(of("https://h/a.git").as_deref(), Some("basic eC1hY2Nlc3MtdG9rZW46b25l"));
        assert_eq!(of("https://other/a.git").as_deref(), Some("Basic all"));
    }
}
