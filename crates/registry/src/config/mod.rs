//! What the user says about registries: mirrors, plain HTTP, certificates.
//!
//! The shape is that of `buildkitd.toml`:
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["127.0.0.1:5000", "harbor.example/proxy.docker.io"]
//!
//! [registry."harbor.example"]
//! ca = ["/etc/kiln/harbor.pem"]   # trusted besides the system's certificates
//!
//! [registry."10.0.0.5:5000"]
//! http = true                     # no TLS at all
//!
//! [registry."test.example"]
//! insecure = true                 # anybody's certificate will do, or none; with `http = false` at least TLS
//! ```
//!
//! The file is read by whoever owns it; [`Registries`] is the table to embed there. A mirror's own settings come from the
//! section with its name.

#[cfg(test)]
mod tests;

use crate::reference::{is_name_part, is_registry};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// The table `registry`: settings by registry, as it is written in references (`docker.io`, `127.0.0.1:5000`).
pub type Registries = BTreeMap<String, HostConfig>;

/// A configuration file that holds nothing but the table `registry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Settings by registry.
    #[serde(default, deserialize_with = "registries")]
    pub registry: Registries,
}

/// The settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Asked in this order before the registry itself, for pulls only.
    #[serde(default)]
    pub mirrors: Vec<Mirror>,
    /// `true`: plain HTTP. `false`: TLS. Not given: TLS; on a loopback address or with `insecure`, whichever the server speaks.
    #[serde(default)]
    pub http: Option<bool>,
    /// Whether anybody's certificate will do, or none. So it is for a loopback address with neither `http` nor `ca`.
    #[serde(default)]
    pub insecure: bool,
    /// PEM files with certificates to trust besides the system's.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
}

/// A registry that holds copies: `HOST[:PORT]`, and a path to put before repository names where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct Mirror {
    host: String,
    prefix: Option<String>,
}

impl Mirror {
    /// The host, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path that stands before each repository's name on this mirror.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }
}

impl From<Mirror> for String {
    fn from(mirror: Mirror) -> Self {
        match mirror.prefix {
            Some(prefix) => format!("{}/{prefix}", mirror.host),
            None => mirror.host,
        }
    }
}

/// Reads the table, checking that its keys name registries: what is under another key would never apply.
fn registries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Registries, D::Error> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Name(String);

    impl<'de> Deserialize<'de> for Name {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let name = String::deserialize(deserializer)?;
            if is_registry(&name) {
                return Ok(Self(name));
            }
            let host = name.split_once("://").map_or(name.as_str(), |(_, rest)| rest);
            let host = host.split('/').next().unwrap_or_default();
            let hint = if is_registry(host) { format!("\nhint: write `{host}`") } else { String::new() };
            Err(serde::de::Error::custom(format!("`{name}` is not a registry: expected `HOST[:PORT]`{hint}")))
        }
    }

    let table = BTreeMap::<Name, HostConfig>::deserialize(deserializer)?;
    Ok(table.into_iter().map(|(name, host)| (name.0, host)).collect())
}

/// A text that does not name a mirror.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a mirror: expected `HOST[:PORT][/PATH]`{}", .hint.as_deref().map(|h| format!("\nhint: {h}")).unwrap_or_default())]
pub struct MirrorError {
    text: String,
    hint: Option<String>,
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let rest = rest.trim_end_matches('/');
            let hint = match scheme {
                "http" => format!("write `{rest}`, and `http = true` in the section `[registry.\"{rest}\"]`"),
                _ => format!("write `{rest}`"),
            };
            return Err(MirrorError { text: text.to_owned(), hint: Some(hint) });
        }
        let (host, prefix) = match text.trim_end_matches('/').split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text.trim_end_matches('/'), None),
        };
        if !is_registry(host) || !prefix.is_none_or(|prefix| prefix.split('/').all(is_name_part)) {
            return Err(MirrorError { text: text.to_owned(), hint: None });
        }
        Ok(Self { host: host.to_owned(), prefix: prefix.map(str::to_owned) })
    }
}

impl<'de> Deserialize<'de> for Mirror {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A configuration that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ConfigError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there, with a hint line where there is something to do.
    pub message: String,
    /// The parser's own error.
    pub source: Box<toml::de::Error>,
}

impl Config {
    /// Reads a configuration that has only the table `registry`.
    ///
    /// # Errors
    /// With line and column: what isn't TOML, keys that don't exist, values of the wrong type, mirrors that aren't hosts.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::new(text, error))
    }

    /// What applies to a registry or mirror, as it is written in a reference; the defaults if there is no section for it.
    pub fn host(&self, host: &str) -> HostConfig {
        self.registry.get(host).cloned().unwrap_or_default()
    }
}

impl From<Registries> for Config {
    fn from(registry: Registries) -> Self {
        Self { registry }
    }
}

impl ConfigError {
    fn new(text: &str, source: toml::de::Error) -> Self {
        let offset = source.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = source.message();
        let message = match unknown_key_hint(message) {
            Some(hint) => format!("{message}\nhint: {hint}"),
            None => message.to_owned(),
        };
        Self { line, column, message, source: Box::new(source) }
    }
}

/// BuildKit's file has keys that kiln does not know yet: whoever brings such a file should be told which.
fn unknown_key_hint(message: &str) -> Option<String> {
    let key = message.strip_prefix("unknown field `")?.split('`').next()?;
    Some(match key {
        "mirror" => "did you mean `mirrors`?".to_owned(),
        "cacert" | "cas" | "certs" => "did you mean `ca`?".to_owned(),
        "plain-http" | "plain_http" | "plainHTTP" => "did you mean `http`?".to_owned(),
        "skip-verify" | "skip_verify" | "tls-verify" => "did you mean `insecure`?".to_owned(),
        "keypair" | "tlsconfigdir" => "client certificates are not supported yet".to_owned(),
        "registries" => "did you mean `registry`?".to_owned(),
        _ => return None,
    })
}
