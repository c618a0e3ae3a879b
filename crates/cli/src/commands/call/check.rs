//! `--call=check` and `kiln check`: the findings of the lints. The exit status is 1 if there are any, or that of what else is wrong.

use super::json::{self, Location};
use super::sarif;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::human;
use crate::terminal::{self, Look, Paint};
use crate::{lints, text};
use clap::ValueEnum;
use kiln_engine::{Check, Edit, Fix, Lint, Lints};
use serde::Serialize;
use std::io::{self, IsTerminal};

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people
    Text,
    /// For programs, as Docker's buildx has it
    Json,
    /// For programs that show what linters find: SARIF 2.1.0
    Sarif,
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Mending<'a>>,
}

#[derive(Serialize)]
struct Mending<'a> {
    title: &'a str,
    edits: Vec<Replacement<'a>>,
}

#[derive(Serialize)]
struct Replacement<'a> {
    location: Location,
    text: &'a str,
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
pub(crate) fn answer(check: Check, format: CheckFormat, ignore_status: bool) -> Result<ExitStatus, CliError> {
    if format == CheckFormat::Sarif {
        json::print(&sarif::log(&check))?;
    }
    let Check { lints, notes, mut error } = check;
    for note in notes {
        let warning = Paint::stderr().paint(Look::Warning, "warning");
        terminal::error_line(&format!("{warning}: {}", text::message(&note)));
    }
    if let Some(error) = &mut error {
        // They are printed here.
        error.lints = None;
    }
    match format {
        CheckFormat::Sarif => {}
        CheckFormat::Json => {
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
        CheckFormat::Text => {
            let counted = match lints.findings.len() {
                0 => "no warnings found.".to_owned(),
                1 => "1 warning has been found!".to_owned(),
                count => format!("{count} warnings have been found!"),
            };
            if error.is_none() || !lints.findings.is_empty() {
                let paint = Paint { colours: Paint::stderr().colours && io::stdout().is_terminal() };
                let listed = lints::render(&lints, usize::MAX, paint);
                let gap = if listed.is_empty() { "" } else { "\n" };
                let fixable = match lints.findings.iter().filter(|finding| finding.fix.is_some()).count() as u64 {
                    0 => String::new(),
                    count => format!("`kiln check --fix` mends {} of this\n", human::count(count, "finding")),
                };
                terminal::print(&format!("Check complete, {counted}\n{gap}{listed}{fixable}"))?;
            }
        }
    }
    match error {
        Some(error) => Err(error.into()),
        None if lints.findings.is_empty() || ignore_status => Ok(ExitStatus::SUCCESS),
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
        fix: finding.fix.as_ref().map(|fix| mending(lints, fix)),
    }
}

fn mending<'a>(lints: &Lints, fix: &'a Fix) -> Mending<'a> {
    let replacement = |edit: &'a Edit| {
        let location = Location::span(&lints.text, (edit.span.start, edit.span.end));
        Replacement { location, text: &edit.text }
    };
    Mending { title: &fix.title, edits: fix.edits.iter().map(replacement).collect() }
}
