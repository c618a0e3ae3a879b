//! `--call=targets`: the stages of a Dockerfile.

use super::Format;
use super::json::{self, Location};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::table::Table;
use crate::{terminal, text};
use kiln_engine::{Target, Targets};
use serde::Serialize;

#[derive(Serialize)]
struct Answer<'a> {
    targets: Vec<Row<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

/// Prints the stages.
pub(super) fn answer(targets: &Targets, format: Format) -> Result<ExitStatus, CliError> {
    match format {
        Format::Json => json::print(&Answer {
            targets: targets.targets.iter().map(row).collect(),
            sources: [json::encode(&targets.text)],
        })?,
        Format::Text => terminal::print(&to_text(targets))?,
    }
    Ok(ExitStatus::SUCCESS)
}

fn row(target: &Target) -> Row<'_> {
    Row {
        name: target.name.as_deref(),
        default: target.default,
        description: target.description.as_deref(),
        base: &target.base,
        platform: target.platform.as_deref(),
        location: Location::lines(target.lines),
    }
}

fn to_text(targets: &Targets) -> String {
    let mut table = Table::new(["TARGET", "DESCRIPTION"]);
    for target in &targets.targets {
        let name = target.name.as_deref().map(text::message);
        let name = match (name, target.default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name,
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        };
        table.row([name, target.description.as_deref().map(text::message).unwrap_or_default()]);
    }
    table.render()
}
