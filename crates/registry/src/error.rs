//! What can go wrong between a reference and its bytes.
//!
//! Causes are kept as text, not as `reqwest` errors: those print URLs with their queries, and a chain of five layers that says
//! what one line can.

use crate::credentials::CredentialsError;
use crate::manifest::ManifestProblem;
use kiln_digest::{Digest, ParseDigestError};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A request to a registry that failed for good. The variant is its kind.
///
/// `subject` is what was asked for, as a noun phrase with its values in backticks: ``manifest `docker.io/library/x:1` ``.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No host has it.
    #[error("{subject} not found at `{host}`{}{}", Tried(.tried), SimilarTags(.similar))]
    NotFound {
        /// What was asked for.
        subject: String,
        /// The registry, as it is written in references.
        host: String,
        /// Tags of the repository that look like the one asked for.
        similar: Vec<String>,
        /// The mirrors that were asked before.
        tried: Vec<Attempt>,
    },
    /// The registry wants credentials, or other ones, or refuses these.
    #[error("access to {subject} denied by `{host}`: {message}{}{}", Tried(.tried), LoginHint(.host, *.logged_in))]
    Unauthorized {
        /// What was asked for.
        subject: String,
        /// The registry, as it is written in references.
        host: String,
        /// What the registry says, as one line.
        message: String,
        /// Whether credentials for it were found and sent.
        logged_in: bool,
        /// The mirrors that were asked before.
        tried: Vec<Attempt>,
    },
    /// Too many requests, still so after waiting.
    #[error(
        "`{host}` limits requests, and refused {subject}{}{}{}",
        .retry_after.map(|wait| format!(" for the next {} s", wait.as_secs())).unwrap_or_default(),
        Tried(.tried),
        RateHint(.host, *.logged_in)
    )]
    RateLimited {
        /// What was asked for.
        subject: String,
        /// The registry, as it is written in references.
        host: String,
        /// How long it wants to be left alone, where it says.
        retry_after: Option<Duration>,
        /// Whether credentials for it were found and sent.
        logged_in: bool,
        /// The mirrors that were asked before.
        tried: Vec<Attempt>,
    },
    /// No connection, or none that lasted.
    #[error("cannot reach registry `{host}`: {cause}{}", Tried(.tried))]
    Unreachable {
        /// The registry, as it is written in references.
        host: String,
        /// Why, as one line.
        cause: String,
        /// The mirrors that were asked before.
        tried: Vec<Attempt>,
    },
    /// The server's certificate is not trusted, or it doesn't speak TLS.
    #[error(
        "no trusted connection to `{host}`: {cause}{}\nhint: name its certificate authority with `ca = [\"FILE\"]` in the section \
         `[registry.\"{host}\"]`, or use `http = true` if it has no TLS",
        Tried(.tried)
    )]
    Tls {
        /// The host, as it is written in references.
        host: String,
        /// Why, as one line.
        cause: String,
        /// The mirrors that were asked before.
        tried: Vec<Attempt>,
    },
    /// Any other response.
    #[error("`{host}` answered {status} for {subject}{}{}", Said(.message), Tried(.tried))]
    Server {
        /// What was asked for.
        subject: String,
        /// The host that answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it says, as one line; may be empty.
        message: String,
        /// The mirrors that were asked before.
        tried: Vec<Attempt>,
    },
    /// The token service cannot be reached, refused, or gave nonsense.
    #[error("no access token for {subject} from `{realm}`: {message}{}", DeniedHint(.host, *.denied))]
    Token {
        /// What the token was for.
        subject: String,
        /// The registry, as it is written in references.
        host: String,
        /// The token service's URL, without its query.
        realm: String,
        /// Why, as one line.
        message: String,
        /// If it refused the user: whether credentials were sent to it.
        denied: Option<bool>,
    },
    /// The user's credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Other bytes than those that were asked for.
    #[error("{subject} from `{host}` is not what was asked for: its digest is `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// What was asked for.
        subject: String,
        /// The host that served it.
        host: String,
        /// The digest of what was asked for.
        expected: Digest,
        /// The digest of what came, or what the host says it is.
        actual: Digest,
    },
    /// More or fewer bytes than the descriptor says.
    #[error("{subject} from `{host}` is not what was asked for: it has {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// What was asked for.
        subject: String,
        /// The host that served it.
        host: String,
        /// The size in the descriptor.
        expected: u64,
        /// How many bytes came, at least.
        actual: u64,
    },
    /// More than kiln is willing to hold in memory.
    #[error("{subject} from `{host}` is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        subject: String,
        /// The host that served it.
        host: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The bytes are the right ones, but not a manifest that kiln can use.
    #[error("{subject} from `{host}`: {problem}")]
    Manifest {
        /// What was asked for.
        subject: String,
        /// The host that served it.
        host: String,
        /// What is wrong with it.
        problem: ManifestProblem,
    },
    /// A descriptor whose digest kiln cannot verify.
    #[error("{subject}: {source}")]
    UnsupportedDigest {
        /// What was asked for.
        subject: String,
        /// The digest's own complaint.
        source: ParseDigestError,
    },
    /// A file with certificates that cannot be used.
    #[error("cannot use certificates `{}`: {cause}", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// What was to be sent cannot be read.
    #[error("cannot read {subject} to send it: {cause}")]
    Source {
        /// What was to be sent.
        subject: String,
        /// Why.
        cause: String,
    },
    /// The caller's cancel flag was set.
    #[error("request to `{host}` cancelled")]
    Cancelled {
        /// The host that was being asked.
        host: String,
    },
}

/// A mirror that was asked in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The mirror's host.
    pub host: String,
    /// Why it didn't do, as one line.
    pub cause: String,
}

impl RegistryError {
    /// Adds the mirrors that were asked before this, the last one, failed.
    pub(crate) fn after(mut self, attempts: Vec<Attempt>) -> Self {
        match &mut self {
            Self::NotFound { tried, .. }
            | Self::Unauthorized { tried, .. }
            | Self::RateLimited { tried, .. }
            | Self::Unreachable { tried, .. }
            | Self::Tls { tried, .. }
            | Self::Server { tried, .. } => *tried = attempts,
            Self::Token { .. }
            | Self::Credentials(_)
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::TooLarge { .. }
            | Self::Manifest { .. }
            | Self::UnsupportedDigest { .. }
            | Self::Certificates { .. }
            | Self::Source { .. }
            | Self::Cancelled { .. } => {}
        }
        self
    }

    /// Why this host didn't do, for the message about the next one.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::NotFound { .. } => "not found".to_owned(),
            Self::Unreachable { cause, .. } | Self::Tls { cause, .. } => cause.clone(),
            Self::Unauthorized { message, .. } => format!("access denied: {message}"),
            Self::RateLimited { .. } => "too many requests".to_owned(),
            Self::Server { status, .. } => format!("answered {status}"),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }
}

struct Tried<'a>(&'a [Attempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|attempt| write!(f, "; mirror `{}`: {}", attempt.host, attempt.cause))
    }
}

struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

struct SimilarTags<'a>(&'a [String]);

impl fmt::Display for SimilarTags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let tags: Vec<_> = self.0.iter().map(|tag| format!("`{tag}`")).collect();
        write!(f, "\nhint: tags there are {}", tags.join(", "))
    }
}

struct LoginHint<'a>(&'a str, bool);

impl fmt::Display for LoginHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = login_name(self.0);
        if self.1 {
            write!(f, "\nhint: the stored credentials were not enough; `kiln login{host}` replaces them")
        } else {
            write!(f, "\nhint: if it exists, it needs `kiln login{host}`")
        }
    }
}

struct DeniedHint<'a>(&'a str, Option<bool>);

impl fmt::Display for DeniedHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.map_or(Ok(()), |logged_in| LoginHint(self.0, logged_in).fmt(f))
    }
}

struct RateHint<'a>(&'a str, bool);

impl fmt::Display for RateHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 {
            write!(f, "\nhint: wait, or configure a mirror in the section `[registry.\"{}\"]`", self.0)
        } else {
            write!(f, "\nhint: the limit is higher after `kiln login{}`; or configure a mirror", login_name(self.0))
        }
    }
}

/// `kiln login` takes Docker Hub when it is told nothing.
fn login_name(host: &str) -> String {
    if host == crate::reference::DOCKER_HUB { String::new() } else { format!(" {host}") }
}
