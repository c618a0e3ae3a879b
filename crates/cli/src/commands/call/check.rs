//! `--call=check`: the findings of the lints. The exit status is 1 if there are any, or that of what else is wrong.

use super::json::{self, Location};
use super::{Call, Format};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::terminal::{self, Look, Paint};
use crate::{lints, text};
use kiln_engine::{Check, Lint, Lints};
use serde::Serialize;
use std::io::{self, IsTerminal};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    warnings: Vec<Warning<'a>>,
    sources: [Source<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    description: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    language: &'a str,
    data: String,
}

#[derive(Serialize)]
struct BuildError<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
}

/// Prints the findings.
pub(super) fn answer(check: Check, call: Call) -> Result<ExitStatus, CliError> {
    let Check { lints, notes, mut error } = check;
    for note in notes {
        let warning = Paint::stderr().paint(Look::Warning, "warning");
        terminal::error_line(&format!("{warning}: {}", text::message(&note)));
    }
    if let Some(error) = &mut error {
        // They are printed here.
        error.lints = None;
    }
    match call.format {
        Format::Json => {
            let build_error = error.as_ref().map(|error| BuildError {
                message: &error.message,
                location: error.place.as_ref().map(|place| Location::span(&place.text, place.span)),
            });
            json::print(&Answer {
                warnings: lints.findings.iter().map(|finding| warning(&lints, finding)).collect(),
                sources: [Source { filename: &lints.file, language: "Dockerfile", data: json::encode(&lints.text) }],
                build_error,
            })?;
        }
        Format::Text => {
            let counted = match lints.findings.len() {
                0 => "no warnings found.".to_owned(),
                1 => "1 warning has been found!".to_owned(),
                count => format!("{count} warnings have been found!"),
            };
            if error.is_none() || !lints.findings.is_empty() {
                let paint = Paint { colours: Paint::stderr().colours && io::stdout().is_terminal() };
                let listed = lints::render(&lints, usize::MAX, paint);
                let gap = if listed.is_empty() { "" } else { "\n" };
                terminal::print(&format!("Check complete, {counted}\n{gap}{listed}"))?;
            }
        }
    }
    match error {
        Some(error) => Err(error.into()),
        None if lints.findings.is_empty() || call.ignore_status => Ok(ExitStatus::SUCCESS),
        None => Ok(ExitStatus::FAILED),
    }
}

fn warning<'a>(lints: &'a Lints, finding: &'a Lint) -> Warning<'a> {
    Warning {
        rule_name: finding.rule,
        description: finding.summary,
        detail: &finding.message,
        hint: finding.hint.as_deref(),
        location: Location::span(&lints.text, finding.span),
    }
}
