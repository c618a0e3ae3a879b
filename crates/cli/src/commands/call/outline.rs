//! `--call=outline`: what a target takes: arguments, secrets, ssh agents; and the cache mounts that it uses.

use super::Format;
use super::json::{self, Location};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::table::Table;
use crate::{terminal, text};
use kiln_engine::{Outline, OutlineArg, OutlineMount};
use serde::Serialize;

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<Cache<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct Mount<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

#[derive(Serialize)]
struct Cache<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    location: Location,
}

/// Prints the outline.
pub(super) fn answer(outline: &Outline, format: Format) -> Result<ExitStatus, CliError> {
    match format {
        Format::Json => json::print(&to_json(outline))?,
        Format::Text => terminal::print(&to_text(outline))?,
    }
    Ok(ExitStatus::SUCCESS)
}

fn to_json(outline: &Outline) -> Answer<'_> {
    Answer {
        name: outline.name.as_deref(),
        description: outline.description.as_deref(),
        args: outline.args.iter().map(arg).collect(),
        secrets: outline.secrets.iter().map(mount).collect(),
        ssh: outline.ssh.iter().map(mount).collect(),
        cache: outline
            .caches
            .iter()
            .map(|cache| Cache { id: &cache.id, location: Location::lines(cache.lines) })
            .collect(),
        sources: [json::encode(&outline.text)],
    }
}

fn arg(arg: &OutlineArg) -> Arg<'_> {
    Arg {
        name: &arg.name,
        description: arg.description.as_deref(),
        value: arg.value.as_deref().filter(|value| !value.is_empty()),
        location: Location::lines(arg.lines),
    }
}

fn mount(mount: &OutlineMount) -> Mount<'_> {
    Mount { name: &mount.id, required: mount.required, location: Location::lines(mount.lines) }
}

fn to_text(outline: &Outline) -> String {
    let mut parts = Vec::new();
    if let Some(name) = &outline.name {
        let mut target = Table::new(["TARGET:", &text::message(name)]);
        if let Some(description) = &outline.description {
            target.row(["DESCRIPTION:".to_owned(), text::message(description)]);
        }
        parts.push(target.render());
    }
    if !outline.args.is_empty() {
        let mut args = Table::new(["BUILD ARG", "VALUE", "DESCRIPTION"]);
        for arg in &outline.args {
            let cell = |text: &Option<String>| text.as_deref().map(text::message).unwrap_or_default();
            args.row([text::message(&arg.name), cell(&arg.value), cell(&arg.description)]);
        }
        parts.push(args.render());
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let mut table = Table::new([title, "REQUIRED"]);
            for mount in mounts {
                table.row([text::message(&mount.id), if mount.required { "true".to_owned() } else { String::new() }]);
            }
            parts.push(table.render());
        }
    }
    if !outline.caches.is_empty() {
        let mut table = Table::new(["CACHE MOUNT"]);
        for cache in &outline.caches {
            table.row([text::message(&cache.id)]);
        }
        parts.push(table.render());
    }
    parts.join("\n")
}
