//! Credentials as Docker keeps them: `config.json` in `$DOCKER_CONFIG` or `~/.docker`, with its `auths`, `credHelpers` and
//! `credsStore`.
//!
//! The file is read anew at each look-up, and a look-up happens once per registry and only after that registry asked for a login.
//! A file or helper that fails is an error: going on without credentials would end in a misleading "not found".

mod docker_config;

pub use docker_config::Stored;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// How Docker Hub is called in `config.json`; the second is matched with all its other names.
const HUB_KEYS: [&str; 2] = ["https://index.docker.io/v1/", "docker.io"];

/// A helper may ask the user something, but not for ever.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// What identifies the user to one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user's name and password (or access token).
    Password {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token, which only a token service takes.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
        })
    }
}

/// Where credentials come from.
#[derive(Clone, Debug, Default)]
pub struct Credentials(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Nowhere,
    /// `config.json` in this directory; `None` is where Docker would look.
    Docker(Option<PathBuf>),
    Fixed(BTreeMap<String, Credential>),
}

/// Credentials that exist but cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there but cannot be read.
    #[error("cannot read credentials from `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what Docker writes.
    #[error("cannot understand `{}`: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write credentials to `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody knows where to.
    #[error("there is no place for credentials\nhint: set `DOCKER_CONFIG` to a directory")]
    NoFile,
    /// A credential helper failed.
    #[error(
        "credential helper `docker-credential-{helper}` failed for `{registry}`: {reason}\nhint: it is named in `{}`",
        .path.display()
    )]
    Helper {
        /// The helper, without its prefix.
        helper: String,
        /// The registry that it was asked about.
        registry: String,
        /// What it says.
        reason: String,
        /// The file that names it.
        path: PathBuf,
    },
}

impl Credentials {
    /// None for anybody.
    pub fn none() -> Self {
        Self(Source::Nowhere)
    }

    /// Docker's `config.json`, in `$DOCKER_CONFIG` or `~/.docker`.
    pub fn docker() -> Self {
        Self(Source::Docker(None))
    }

    /// The `config.json` of a directory.
    pub fn docker_in(directory: impl Into<PathBuf>) -> Self {
        Self(Source::Docker(Some(directory.into())))
    }

    /// These, by registry as it is written in references.
    pub fn fixed(credentials: impl IntoIterator<Item = (String, Credential)>) -> Self {
        Self(Source::Fixed(credentials.into_iter().collect()))
    }

    /// The credentials for a registry as it is written in references; `None` if there are none.
    ///
    /// # Errors
    /// If there may be some but they cannot be read.
    pub fn find(&self, registry: &str) -> Result<Option<Credential>, CredentialsError> {
        match &self.0 {
            Source::Nowhere => Ok(None),
            Source::Fixed(credentials) => Ok(credentials.get(registry).cloned()),
            Source::Docker(directory) => match directory.clone().or_else(docker_directory) {
                Some(directory) => find_in(directory.join("config.json"), registry),
                None => Ok(None),
            },
        }
    }
}

fn docker_directory() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".docker")))
}

fn find_in(path: PathBuf, registry: &str) -> Result<Option<Credential>, CredentialsError> {
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CredentialsError::Read { path, source }),
    };
    let mut file: Value = serde_json::from_slice(&text)
        .map_err(|error| CredentialsError::Malformed { reason: error.to_string(), path: path.clone() })?;
    drop_empty(&mut file);
    for key in keys_of(registry) {
        let helper = file.as_object().and_then(|file| helper_for(file, key));
        match look_up(file.to_string(), key.to_owned()) {
            Ok(credential) => return Ok(Some(credential)),
            Err(Failure::None) => {}
            Err(Failure::Helper(reason)) => {
                return Err(CredentialsError::Helper {
                    helper: helper.unwrap_or_default(),
                    registry: registry.to_owned(),
                    reason,
                    path,
                });
            }
            Err(Failure::Malformed(reason)) => {
                return Err(CredentialsError::Malformed { path, reason: reason.to_owned() });
            }
        }
    }
    Ok(None)
}

/// `docker logout` and some tools leave empty strings behind, which mean the same as nothing.
fn drop_empty(file: &mut Value) {
    let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) else { return };
    for entry in auths.values_mut().filter_map(Value::as_object_mut) {
        entry.retain(|_, value| value.as_str() != Some(""));
    }
}

/// How a registry is called in the file.
fn keys_of(registry: &str) -> Vec<&str> {
    if registry == crate::reference::DOCKER_HUB { HUB_KEYS.to_vec() } else { vec![registry] }
}

fn helper_for(file: &Map<String, Value>, key: &str) -> Option<String> {
    let own = file.get("credHelpers").and_then(|helpers| helpers.get(key));
    let helper = own.or_else(|| file.get("credsStore"))?.as_str()?;
    // `docker logout` and some tools leave an empty one behind, which means none.
    (!helper.is_empty()).then(|| helper.to_owned())
}

enum Failure {
    None,
    Malformed(&'static str),
    Helper(String),
}

/// Looks up in a thread of its own, because a helper is a program that may hang.
fn look_up(file: String, key: String) -> Result<Credential, Failure> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone when the helper took too long; then nobody wants the answer.
        let _ = sender.send(docker_credential::get_credential_from_reader(file.as_bytes(), &key));
    });
    let outcome = receiver
        .recv_timeout(HELPER_TIMEOUT)
        .map_err(|_| Failure::Helper(format!("it did not answer within {} s", HELPER_TIMEOUT.as_secs())))?;
    outcome.map(Credential::from).map_err(|error| match error {
        CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound => Failure::None,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            let said = format!("{stdout} {stderr}");
            // The text that docker-credential-helpers agreed on.
            if said.contains("credentials not found") {
                Failure::None
            } else {
                Failure::Helper(crate::redact::text(&said))
            }
        }
        CredentialRetrievalError::HelperCommunicationError => {
            Failure::Helper("it cannot be run; is it installed and on the PATH?".to_owned())
        }
        CredentialRetrievalError::MalformedHelperResponse => Failure::Helper("its answer is malformed".to_owned()),
        CredentialRetrievalError::CredentialDecodingError => {
            Failure::Malformed("an `auth` is not base64 of `user:password`")
        }
        CredentialRetrievalError::CredentialMismatchError => {
            Failure::Malformed("an `auth` contradicts the `username` and `password` beside it")
        }
        CredentialRetrievalError::ConfigReadError => Failure::Malformed("it is not a configuration of Docker's"),
    })
}

impl From<DockerCredential> for Credential {
    fn from(credential: DockerCredential) -> Self {
        match credential {
            DockerCredential::IdentityToken(token) => Self::IdentityToken(token),
            DockerCredential::UsernamePassword(username, password) => Self::Password { username, password },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(text: &str, registry: &str) -> Result<Option<Credential>, CredentialsError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), text).unwrap();
        Credentials::docker_in(directory.path()).find(registry)
    }

    fn password(username: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { username: username.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn auths_are_found_by_docker_s_names() {
        // base64 of `u:p:q`: the password may hold colons.
        let file = |key: &str| format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnE="}},"other":{{}}}}}}"#);
        for key in ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io"] {
            assert_eq!(in_file(&file(key), "docker.io").unwrap(), password("u", "p:q"), "{key}");
        }
        assert_eq!(in_file(&file("h:5000"), "h:5000").unwrap(), password("u", "p:q"));
        assert_eq!(in_file(&file("h:5000"), "h").unwrap(), None);
        assert_eq!(in_file(&file("h:5000"), "other").unwrap(), None);
        let token = r#"{"auths":{"h":{"auth":"dTo=","identitytoken":"T"}}}"#;
        assert_eq!(in_file(token, "h").unwrap(), Some(Credential::IdentityToken("T".to_owned())));
    }

    #[test]
    fn nothing_is_not_an_error_but_nonsense_is() {
        assert_eq!(Credentials::docker_in("/does/not/exist").find("h").unwrap(), None);
        assert_eq!(in_file("{}", "h").unwrap(), None);
        assert_eq!(in_file(r#"{"auths":{"h":{"auth":"","identitytoken":""}}}"#, "h").unwrap(), None);
        assert!(matches!(in_file("{", "h"), Err(CredentialsError::Malformed { .. })));
        assert!(matches!(in_file(r#"{"auths":{"h":{"auth":"%%"}}}"#, "h"), Err(CredentialsError::Malformed { .. })));
        let missing = in_file(r#"{"credsStore":"kiln-does-not-exist"}"#, "h").unwrap_err().to_string();
        assert!(
            missing.contains("`docker-credential-kiln-does-not-exist` failed for `h`: it cannot be run"),
            "{missing}"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let credentials = Credentials::fixed([("h".to_owned(), password("user", "geheim").unwrap())]);
        assert!(!format!("{credentials:?}").contains("geheim"));
    }
}
