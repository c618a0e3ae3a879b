//! The errors of commands, before anything is printed: the engine's own, and those that the command line itself gives rise to.

use crate::exit::ExitStatus;
use kiln_engine::EngineError;
use kiln_registry::{ConfigError, CredentialsError, RegistryError};
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The configuration file could not be read.
    #[error("cannot read the configuration file `{}`", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The configuration file is wrong.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: ConfigError,
    },
    /// A file that the user asked for could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Standard input could not be read.
    #[error("cannot read standard input")]
    Stdin(#[source] io::Error),
    /// Standard output could not be written.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The handlers of SIGINT and SIGTERM could not be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
    /// SIGINT or SIGTERM ended the command.
    #[error("cancelled")]
    Cancelled(ExitStatus),
    /// A command that asked and got no for an answer.
    #[error("nothing was removed")]
    Declined,
    /// A registry does not take the credentials that are to be stored.
    #[error("`{registry}` does not take this username and password: {reason}")]
    LoginRefused {
        /// The registry.
        registry: String,
        /// What it says.
        reason: String,
    },
    /// A registry refused, or cannot be reached.
    #[error("{0}")]
    Registry(RegistryError),
    /// Credentials cannot be stored or removed.
    #[error("{0}")]
    Credentials(CredentialsError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A mistake on the command line, or something there that kiln cannot do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct UsageError {
    /// A lowercase fragment.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Whether it is right for Docker, and kiln does not have it.
    pub(crate) unsupported: bool,
}

impl UsageError {
    /// A mistake.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, unsupported: false }
    }

    /// Something that kiln does not have.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self { unsupported: true, ..Self::new(message) }
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl CliError {
    /// The status to exit with.
    pub(crate) fn status(&self) -> ExitStatus {
        match self {
            Self::Usage(usage) if usage.unsupported => ExitStatus::UNSUPPORTED,
            Self::Usage(_) | Self::ReadConfig { .. } | Self::Config { .. } => ExitStatus::USAGE,
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitStatus::OUTPUT_CLOSED,
            Self::Write { .. } | Self::Stdin(_) | Self::Stdout(_) | Self::Signals(_) | Self::Thread(_) => {
                ExitStatus::INTERNAL
            }
            Self::Cancelled(status) => *status,
            Self::Registry(_) | Self::LoginRefused { .. } => ExitStatus::NETWORK,
            Self::Declined | Self::Credentials(_) => ExitStatus::FAILED,
            Self::Engine(error) => error.kind.into(),
        }
    }

    /// The status of a `kiln run` that fails by itself, so that it can be told from the program's: 126 and 127 are those that Docker
    /// gives a program that could not be started.
    pub(crate) fn run_status(&self) -> ExitStatus {
        match self {
            Self::Cancelled(status) => *status,
            Self::Engine(error) => {
                let code = error.exit_code().and_then(|code| u8::try_from(code).ok());
                code.map_or(ExitStatus::RUN_FAILED, ExitStatus)
            }
            _ => ExitStatus::RUN_FAILED,
        }
    }
}
