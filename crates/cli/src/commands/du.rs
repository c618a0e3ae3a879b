//! `kiln du`: what the store holds, and how much of it `kiln prune --all` would free.

use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::table::Table;
use crate::{human, terminal};
use clap::Args;
use jiff::Timestamp;
use kiln_engine::{Usage, UsageKind, UsageRow};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Options of `kiln du`.
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// List every image, layer, cache mount, blob and remembered build
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
}

/// The kinds, in the order in which they are shown, with their names.
const KINDS: [(UsageKind, &str, &str); 5] = [
    (UsageKind::Image, "image", "images"),
    (UsageKind::Layer, "layer", "layers"),
    (UsageKind::Mount, "cache mount", "cache mounts"),
    (UsageKind::Blob, "blob", "blobs"),
    (UsageKind::Build, "build", "builds"),
];

/// Shows the disk usage.
pub(crate) fn execute(globals: &Globals, args: &DuArgs) -> Result<ExitStatus, CliError> {
    let usage = Session::open(globals)?.engine.disk_usage()?;
    let text = if args.json {
        format!("{:#}\n", to_json(&usage))
    } else if args.verbose {
        list(&usage, Timestamp::now()) + &totals(&usage)
    } else {
        overview(&usage) + &totals(&usage)
    };
    terminal::print(&text)?;
    Ok(ExitStatus::SUCCESS)
}

fn overview(usage: &Usage) -> String {
    let mut table = Table::new(["KIND", "COUNT", "SIZE", "RECLAIMABLE"]);
    for (kind, _, plural) in KINDS {
        let rows = || usage.rows.iter().filter(|row| row.kind == kind);
        let sum = |reclaimable: bool| rows().filter(|row| row.reclaimable || !reclaimable).map(|row| row.size).sum();
        // Images are made of layers, and have no size of their own.
        let size = |bytes| if kind == UsageKind::Image { "-".to_owned() } else { human::size(bytes) };
        table.row([plural.to_owned(), rows().count().to_string(), size(sum(false)), size(sum(true))]);
    }
    table.render()
}

fn list(usage: &Usage, now: Timestamp) -> String {
    let mut table = Table::new(["KIND", "ID", "SIZE", "USED", "RECLAIMABLE", "DESCRIPTION"]);
    for row in &usage.rows {
        let used =
            timestamp(row.used).map_or_else(|| "-".to_owned(), |used| human::age(now.as_second(), used.as_second()));
        let reclaimable = if row.reclaimable { "yes" } else { "no" };
        table.row([
            name(row).to_owned(),
            short(&row.id),
            human::size(row.size),
            used,
            reclaimable.to_owned(),
            row.description.clone(),
        ]);
    }
    table.render()
}

fn totals(usage: &Usage) -> String {
    format!(
        "\ntotal: {}, of which `kiln prune --all` would free {}\n",
        human::size(usage.total),
        human::size(usage.reclaimable)
    )
}

fn to_json(usage: &Usage) -> Value {
    let rows: Vec<Value> = usage
        .rows
        .iter()
        .map(|row| {
            json!({
                "kind": name(row),
                "id": row.id,
                "description": row.description,
                "size": row.size,
                "shared": row.shared,
                "reclaimable": row.reclaimable,
                "created": timestamp(row.created),
                "used": timestamp(row.used),
            })
        })
        .collect();
    json!({ "total": usage.total, "reclaimable": usage.reclaimable, "rows": rows })
}

fn name(row: &UsageRow) -> &'static str {
    KINDS.iter().find(|(kind, ..)| *kind == row.kind).map_or("", |(_, name, _)| name)
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

/// The first 12 digits, without the algorithm.
fn short(id: &str) -> String {
    id.rsplit(':').next().unwrap_or_default().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapbox::{IntoData, assert_data_eq, str};
    use std::time::Duration;

    fn usage() -> Usage {
        let row = |kind, id: &str, description: &str, size, reclaimable| UsageRow {
            kind,
            id: id.to_owned(),
            description: description.to_owned(),
            size,
            shared: false,
            reclaimable,
            created: SystemTime::UNIX_EPOCH,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(3600),
        };
        let rows = vec![
            row(UsageKind::Image, "sha256:0123456789abcdef", "app:latest", 5_000_000, false),
            row(UsageKind::Layer, "0011223344556677", "", 5_000_000, false),
            row(UsageKind::Layer, "8899aabbccddeeff", "", 2_000_000, true),
            row(UsageKind::Mount, "ffeeddccbbaa9988", "/root/.cache/go-build", 300_000_000, true),
        ];
        Usage { rows, total: 307_000_000, reclaimable: 302_000_000 }
    }

    #[test]
    fn tables() {
        assert_data_eq!(
            overview(&usage()) + &totals(&usage()),
            str![[r#"
KIND           COUNT   SIZE    RECLAIMABLE
images         1       -       -
layers         2       7MB     2MB
cache mounts   1       300MB   300MB
blobs          0       0B      0B
builds         0       0B      0B

total: 307MB, of which `kiln prune --all` would free 302MB

"#]]
            .raw()
        );
        assert_data_eq!(
            list(&usage(), Timestamp::from_second(10_800).unwrap()),
            str![[r#"
KIND          ID             SIZE    USED          RECLAIMABLE   DESCRIPTION
image         0123456789ab   5MB     2 hours ago   no            app:latest
layer         001122334455   5MB     2 hours ago   no
layer         8899aabbccdd   2MB     2 hours ago   yes
cache mount   ffeeddccbbaa   300MB   2 hours ago   yes           /root/.cache/go-build

"#]]
            .raw()
        );
    }

    #[test]
    fn json_has_everything() {
        let json = to_json(&usage());
        assert_eq!(json["total"], 307_000_000);
        assert_eq!(json["rows"][3]["kind"], "cache mount");
        assert_eq!(json["rows"][3]["used"], "1970-01-01T01:00:00Z");
    }
}
