//! Writing credentials where Docker keeps them: a helper if `config.json` names one, else `config.json` itself. All that the file holds
//! besides stays as it is.

use super::{Credential, CredentialsError, Source, docker_directory, helper_for, keys_of};
use crate::Credentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type Object = Map<String, Value>;

/// How helpers are told that a secret is a token.
const TOKEN_USER: &str = "<token>";

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In this file, which is readable by its owner only, but not encrypted.
    File(PathBuf),
    /// With `docker-credential-NAME`.
    Helper(String),
}

impl Credentials {
    /// Stores credentials for a registry as it is written in references, in place of those that there were.
    ///
    /// # Errors
    /// If the file or the helper cannot be used, or these credentials have no place to be stored in.
    pub fn store(&self, registry: &str, credential: &Credential) -> Result<Stored, CredentialsError> {
        let path = self.file()?;
        let mut file = read(&path)?;
        let key = keys_of(registry)[0];
        let helper = helper_for(&file, key);
        let auths = auths(&mut file, &path)?;
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password.as_str()),
            Credential::IdentityToken(token) => (TOKEN_USER, token.as_str()),
        };
        let entry = match (&helper, credential) {
            (Some(helper), _) => {
                let entry = json!({ "ServerURL": key, "Username": username, "Secret": secret });
                run(helper, "store", &entry.to_string(), registry, &path)?;
                // So Docker lists the registry among those with a login.
                json!({})
            }
            (None, Credential::Password { .. }) => json!({ "auth": STANDARD.encode(format!("{username}:{secret}")) }),
            (None, Credential::IdentityToken(_)) => json!({ "auth": STANDARD.encode(":"), "identitytoken": secret }),
        };
        auths.insert(key.to_owned(), entry);
        write(&path, &file)?;
        Ok(helper.map_or(Stored::File(path), Stored::Helper))
    }

    /// Removes the credentials for a registry. `false` if there were none.
    ///
    /// # Errors
    /// If the file or the helper cannot be used.
    pub fn erase(&self, registry: &str) -> Result<bool, CredentialsError> {
        let path = self.file()?;
        let mut file = read(&path)?;
        let mut erased = false;
        for key in keys_of(registry) {
            if let Some(helper) = helper_for(&file, key) {
                erased |= run(&helper, "erase", key, registry, &path)?;
            }
            erased |= auths(&mut file, &path)?.remove(key).is_some();
        }
        if erased {
            write(&path, &file)?;
        }
        Ok(erased)
    }

    fn file(&self) -> Result<PathBuf, CredentialsError> {
        let directory = match &self.0 {
            Source::Docker(directory) => directory.clone().or_else(docker_directory),
            Source::Nowhere | Source::Fixed(_) => None,
        };
        Ok(directory.ok_or(CredentialsError::NoFile)?.join("config.json"))
    }
}

fn read(path: &Path) -> Result<Object, CredentialsError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Object::new()),
        Err(source) => return Err(CredentialsError::Read { path: path.to_owned(), source }),
    };
    if text.trim_ascii().is_empty() {
        return Ok(Object::new());
    }
    serde_json::from_slice(&text)
        .map_err(|error| CredentialsError::Malformed { path: path.to_owned(), reason: error.to_string() })
}

fn auths<'a>(file: &'a mut Object, path: &Path) -> Result<&'a mut Object, CredentialsError> {
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    auths.as_object_mut().ok_or_else(|| CredentialsError::Malformed {
        path: path.to_owned(),
        reason: "its `auths` is not an object".to_owned(),
    })
}

/// Replaces the file by one that only its owner may read. Where it is a link, what it leads to is replaced.
fn write(path: &Path, file: &Object) -> Result<(), CredentialsError> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let unwritten = |source| CredentialsError::Write { path: path.clone(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(unwritten)?;
    }
    let mode = fs::metadata(&path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o600);
    let temporary = path.with_extension(format!("json.{}", std::process::id()));
    let written = (|| {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        let mut text = serde_json::to_vec_pretty(file)?;
        text.push(b'\n');
        out.write_all(&text)?;
        fs::rename(&temporary, &path)
    })();
    written.map_err(|source| {
        // It may not have come to be.
        let _ = fs::remove_file(&temporary);
        unwritten(source)
    })
}

/// Runs a helper; `false` if it knows nothing of the registry.
fn run(helper: &str, action: &str, input: &str, registry: &str, path: &Path) -> Result<bool, CredentialsError> {
    let failed = |reason: String| CredentialsError::Helper {
        helper: helper.to_owned(),
        registry: registry.to_owned(),
        reason,
        path: path.to_owned(),
    };
    let mut command = Command::new(format!("docker-credential-{helper}"));
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = command.spawn();
    let mut child = spawned.map_err(|_| failed("it cannot be run; is it installed and on the PATH?".to_owned()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that doesn't read says by its status whether it succeeded.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(true);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = crate::redact::text(&String::from_utf8_lossy(&said));
    if action == "erase" && said.contains("credentials not found") { Ok(false) } else { Err(failed(said)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(password: &str) -> Credential {
        Credential::Password { username: "u".to_owned(), password: password.to_owned() }
    }

    #[test]
    fn what_is_stored_is_found_and_erased_and_the_rest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Credentials::docker_in(directory.path().join("deep"));
        let path = directory.path().join("deep/config.json");
        assert!(!credentials.erase("h:1").unwrap());
        assert_eq!(credentials.store("h:1", &password("p:q")).unwrap(), Stored::File(path.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, fs::read_to_string(&path).unwrap().replacen('{', r#"{"psFormat":"x","#, 1)).unwrap();
        credentials.store("docker.io", &Credential::IdentityToken("T".to_owned())).unwrap();
        credentials.store("h:1", &password("new")).unwrap();
        assert_eq!(credentials.find("h:1").unwrap(), Some(password("new")));
        assert_eq!(credentials.find("docker.io").unwrap(), Some(Credential::IdentityToken("T".to_owned())));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("https://index.docker.io/v1/") && text.contains(r#""psFormat": "x""#), "{text}");
        assert!(credentials.erase("docker.io").unwrap());
        assert!(!credentials.erase("docker.io").unwrap());
        assert_eq!(credentials.find("docker.io").unwrap(), None);
        assert_eq!(credentials.find("h:1").unwrap(), Some(password("new")));
        assert_eq!(fs::read_dir(directory.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_none_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        for text in ["[]", "{\"auths\":7}", "{"] {
            fs::write(&path, text).unwrap();
            let error = Credentials::docker_in(directory.path()).store("h", &password("p")).unwrap_err();
            assert!(matches!(error, CredentialsError::Malformed { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(matches!(Credentials::none().store("h", &password("p")), Err(CredentialsError::NoFile)));
        let missing = r#"{"credHelpers":{"h":"kiln-does-not-exist"}}"#;
        fs::write(&path, missing).unwrap();
        let error = Credentials::docker_in(directory.path()).store("h", &password("p")).unwrap_err().to_string();
        assert!(error.contains("`docker-credential-kiln-does-not-exist` failed for `h`: it cannot be run"), "{error}");
    }
}
