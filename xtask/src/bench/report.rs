//! The benchmark's results: a table for people, JSON for programs.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Context, Result};

use super::run::Measured;
use super::workload::Budget;

/// Peak memory of any row, in MiB.
pub(super) const MEMORY_BUDGET: f64 = 150.0;

/// Every sample, with the builders' versions.
pub(super) fn json(versions: &[String], rows: &[Measured]) -> Result<String> {
    let value = serde_json::json!({ "builders": versions, "rows": rows });
    serde_json::to_string_pretty(&value).context("cannot write the results")
}

/// A Markdown table of medians, with ratios and budgets.
pub(super) fn table(versions: &[String], rows: &[Measured]) -> String {
    let builders = columns(rows);
    let mut header = vec!["work".to_owned()];
    header.extend(builders.iter().map(|name| (*name).to_owned()));
    header.extend(["kiln ÷ BuildKit", "budget", ""].map(str::to_owned));
    let mut lines = vec![header];
    for row in rows {
        let mut line = vec![row.title.to_owned()];
        line.extend(builders.iter().map(|builder| cell(row, builder)));
        line.push(ratio(row.median("kiln"), row.median("BuildKit")).unwrap_or_default());
        line.push(describe(row.budget));
        line.push(verdict(judge(row, rows)));
        lines.push(line);
    }
    lines.push(memory_line(&builders, rows));
    let mut text = String::from("\nMeasured in this run, medians:\n");
    for version in versions {
        let _ = writeln!(text, "- {version}");
    }
    text.push('\n');
    text + &layout(&lines)
}

fn columns(rows: &[Measured]) -> Vec<&str> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.builders.keys().map(String::as_str)).collect();
    // kiln and its main rival first, then the rest by name.
    let mut columns: Vec<&str> = names.into_iter().collect();
    columns.sort_by_key(|name| match *name {
        "kiln" => 0,
        "BuildKit" => 1,
        _ => 2,
    });
    columns
}

fn cell(row: &Measured, builder: &str) -> String {
    if let (Budget::OfFirstExport(_), Some((first, later))) = (row.budget, row.sent(builder)) {
        let kilobytes = |bytes: u64| bytes.div_ceil(1000);
        return format!("{} kB, then {} kB", kilobytes(first), kilobytes(later));
    }
    match row.median(builder) {
        Some(seconds) => duration(seconds),
        None if row.failed(builder) => "failed".to_owned(),
        None => String::new(),
    }
}

pub(super) fn duration(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> Option<String> {
    Some(format!("{:.2}", ours? / theirs?))
}

fn describe(budget: Budget) -> String {
    match budget {
        Budget::Seconds(seconds) => format!("≤ {}", duration(seconds)),
        Budget::OfBuildKit(part) => format!("≤ {part} of BuildKit"),
        Budget::OfBuildKitAndGo(part, of_go) => {
            format!("≤ {part} of BuildKit, ≤ {of_go} of go build")
        }
        Budget::SecondsAndOfBuildKit(seconds, part) => format!("≤ {}, ≤ {part} of BuildKit", duration(seconds)),
        Budget::OfRowAndBuildKit(part, title, of_buildkit) => {
            format!("≤ {part} of “{title}”, ≤ {of_buildkit} of BuildKit")
        }
        Budget::BothOfBuildKitInRow(part, title) => {
            format!("both ≥ {:.0}× faster than BuildKit in “{title}”", 1.0 / part)
        }
        Budget::OfFirstExport(part) => format!("≤ {part} of the first"),
    }
}

/// Whether kiln keeps the row's budget; none where that cannot be told.
fn judge(row: &Measured, rows: &[Measured]) -> Option<bool> {
    let kiln = row.median("kiln")?;
    let within = |builder: &str, part: f64| Some(kiln <= part * row.median(builder)?);
    match row.budget {
        Budget::Seconds(seconds) => Some(kiln <= seconds),
        Budget::OfBuildKit(part) => within("BuildKit", part),
        Budget::OfBuildKitAndGo(part, of_go) => Some(within("BuildKit", part)? && within("go build", of_go)?),
        Budget::SecondsAndOfBuildKit(seconds, part) => Some(kiln <= seconds && within("BuildKit", part)?),
        Budget::OfRowAndBuildKit(part, title, of_buildkit) => {
            let other = rows.iter().find(|other| other.title == title)?;
            Some(kiln <= part * other.median("kiln")? && within("BuildKit", of_buildkit)?)
        }
        Budget::BothOfBuildKitInRow(part, title) => {
            let allowed = part * rows.iter().find(|other| other.title == title)?.median("BuildKit")?;
            Some(kiln <= allowed && row.median("BuildKit")? <= allowed)
        }
        Budget::OfFirstExport(part) => {
            let (first, later) = row.sent("kiln")?;
            Some(later as f64 <= part * first as f64)
        }
    }
}

fn verdict(judged: Option<bool>) -> String {
    match judged {
        Some(true) => "kept".to_owned(),
        Some(false) => "MISSED".to_owned(),
        None => "not judged".to_owned(),
    }
}

fn memory_line(builders: &[&str], rows: &[Measured]) -> Vec<String> {
    let peak = |builder: &str| {
        let kib = rows.iter().filter_map(|row| row.peak_kib(builder)).max()?;
        Some(kib as f64 / 1024.0)
    };
    let mut line = vec!["peak memory of any of these".to_owned()];
    for builder in builders {
        // What `go build` itself holds is no builder's memory.
        let mib = if *builder == "go build" { None } else { peak(builder) };
        line.push(mib.map_or(String::new(), |mib| format!("{mib:.0} MiB")));
    }
    line.push(ratio(peak("kiln"), peak("BuildKit")).unwrap_or_default());
    line.push(format!("≤ {MEMORY_BUDGET:.0} MiB"));
    line.push(verdict(peak("kiln").map(|mib| mib <= MEMORY_BUDGET)));
    line
}

/// Lays cells out as a Markdown table, columns aligned.
pub(super) fn layout(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(1);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::run::Samples;
    use super::*;
    use crate::peers::Sample;

    fn row(title: &'static str, budget: Budget, times: &[(&str, f64)]) -> Measured {
        let builders = times
            .iter()
            .map(|(name, seconds)| {
                let sample = Sample { seconds: *seconds, peak_kib: 51200, sent: None };
                ((*name).to_owned(), Samples::Measured(vec![sample]))
            })
            .collect();
        Measured { workload: "w", title, budget, builders }
    }

    #[test]
    fn budgets_are_judged() {
        let table = [
            (Budget::Seconds(0.02), Some(true)),
            (Budget::Seconds(0.005), Some(false)),
            (Budget::OfBuildKit(0.5), Some(true)),
            (Budget::OfBuildKit(0.05), Some(false)),
            (Budget::OfBuildKitAndGo(0.5, 1.25), None),
            (Budget::OfRowAndBuildKit(1.1, "row", 0.1), Some(true)),
            (Budget::OfRowAndBuildKit(1.1, "row", 0.05), Some(false)),
            (Budget::OfRowAndBuildKit(1.1, "another", 0.1), None),
        ];
        for (budget, expected) in table {
            let rows = [row("row", budget, &[("kiln", 0.01), ("BuildKit", 0.1)])];
            assert_eq!(judge(&rows[0], &rows), expected, "{budget:?}");
        }
        for (slow, expected) in [(1.3, Some(true)), (1.1, Some(false))] {
            let budget = Budget::BothOfBuildKitInRow(1.0 / 12.0, "slow");
            let rows = [
                row("slow", Budget::Seconds(1.0), &[("kiln", 0.01), ("BuildKit", slow)]),
                row("mended", budget, &[("kiln", 0.01), ("BuildKit", 0.1)]),
            ];
            assert_eq!(judge(&rows[1], &rows), expected, "{slow}");
            assert_eq!(judge(&rows[1], &rows[1..]), None);
        }
        let alone = [row("row", Budget::OfBuildKit(0.5), &[("kiln", 0.01)])];
        assert_eq!(judge(&alone[0], &alone), None);
    }

    #[test]
    fn the_table_has_a_column_for_each_builder() {
        let times = [("buildah", 2.0), ("kiln", 0.01), ("BuildKit", 0.1)];
        let text = table(&[], &[row("nothing changed", Budget::Seconds(0.02), &times)]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(lines[0][1..5], ["work", "kiln", "BuildKit", "buildah"]);
        assert_eq!(lines[1][2..8], ["10.0 ms", "0.10 s", "2.00 s", "0.10", "≤ 20.0 ms", "kept"]);
        assert_eq!(lines[2][2..4], ["50 MiB", "50 MiB"]);
    }
}
