//! `kiln build --call`: answers about a Dockerfile instead of a build, on standard output, as text or as JSON in the shapes of
//! `docker buildx build --call`.

mod check;
mod json;
mod outline;
mod sarif;
mod targets;

pub(crate) use check::{CheckFormat, answer as answer_check};

use crate::args::Globals;
use crate::commands::build::output;
use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::session::Session;
use clap::ValueEnum;
use kiln_engine::{BuildRequest, Rules};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) format: Format,
    /// Whether findings leave the exit status alone.
    pub(crate) ignore_status: bool,
}

/// The questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// None: build.
    Build,
    /// What do the lints say?
    Check,
    /// What does the target take?
    Outline,
    /// Which stages are there?
    Targets,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Call {
    /// `--check`.
    pub(crate) fn check() -> Self {
        Self { method: Method::Check, format: Format::Text, ignore_status: false }
    }
}

/// Reads `METHOD[,format=text|json][,ignorestatus=BOOL]`.
pub(crate) fn parse(text: &str) -> Result<Call, UsageError> {
    let mut method = None;
    let mut call = Call { method: Method::Build, format: Format::Text, ignore_status: false };
    for field in output::csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, value),
            None if method.is_none() => ("method", field.as_str()),
            None => return Err(UsageError::new(format!("more than one method in `{text}`"))),
        };
        match key {
            "method" => {
                method = Some(match value {
                    "build" => Method::Build,
                    "check" | "lint" => Method::Check,
                    "outline" => Method::Outline,
                    "targets" => Method::Targets,
                    other => {
                        return Err(UsageError::new(format!("unknown method `{other}`"))
                            .hint("expected `build`, `check`, `outline` or `targets`"));
                    }
                });
            }
            "format" => {
                call.format = Format::from_str(value, false).map_err(|_| {
                    UsageError::new(format!("unknown format `{value}`")).hint("expected `text` or `json`")
                })?;
            }
            "ignorestatus" => {
                call.ignore_status = match value {
                    "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                    "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                    other => {
                        return Err(UsageError::new(format!("`ignorestatus` is `true` or `false`, not `{other}`")));
                    }
                }
            }
            other => {
                return Err(UsageError::new(format!("unknown field `{other}`"))
                    .hint("the fields are `format` and `ignorestatus`"));
            }
        }
    }
    call.method = method.ok_or_else(|| {
        UsageError::new(format!("no method in `{text}`")).hint("expected `build`, `check`, `outline` or `targets`")
    })?;
    Ok(call)
}

/// Asks the engine and prints the answer.
pub(crate) fn execute(globals: &Globals, request: &BuildRequest, call: Call) -> Result<ExitStatus, CliError> {
    let session = Session::open(globals)?;
    match call.method {
        Method::Build | Method::Check => {
            let format = match call.format {
                Format::Text => CheckFormat::Text,
                Format::Json => CheckFormat::Json,
            };
            check::answer(session.engine.check(request, Rules::BuildKit)?, format, call.ignore_status)
        }
        Method::Outline => outline::answer(&session.engine.outline(request)?, call.format),
        Method::Targets => targets::answer(&session.engine.targets(request)?, call.format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let text = Call { method: Method::Check, format: Format::Text, ignore_status: false };
        for (given, expected) in [
            ("check", text),
            ("lint", text),
            ("method=check,format=text", text),
            ("build", Call { method: Method::Build, ..text }),
            ("outline,format=json", Call { method: Method::Outline, format: Format::Json, ..text }),
            ("format=json,targets", Call { method: Method::Targets, format: Format::Json, ..text }),
            ("check,ignorestatus=true", Call { ignore_status: true, ..text }),
        ] {
            assert_eq!(parse(given).unwrap(), expected, "{given}");
        }
        for (given, message) in [
            ("", "unknown method ``"),
            ("format=json", "no method"),
            ("check,outline", "more than one method"),
            ("describe", "unknown method `describe`"),
            ("check,format=yaml", "unknown format `yaml`"),
            ("check,ignorestatus=perhaps", "not `perhaps`"),
            ("check,color=no", "unknown field `color`"),
        ] {
            assert!(parse(given).unwrap_err().message.contains(message), "{given}");
        }
    }
}
