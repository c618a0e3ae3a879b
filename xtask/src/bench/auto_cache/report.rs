//! What `bench auto-cache` prints: times by way, and whether the images are the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use super::way::{BY_HAND, MODES};
use crate::bench::report::{duration, layout};

/// What automatic caches must reach: so many times faster than without any.
const LEAST_SPEEDUP: f64 = 4.0;

/// What was measured of one project, and how the images that the ways made differ from the one without caches.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) title: &'static str,
    /// Seconds by way: of the first build, and of the builds after a change.
    pub(super) first: BTreeMap<&'static str, f64>,
    pub(super) changed: BTreeMap<&'static str, Vec<f64>>,
    pub(super) differences: Vec<String>,
}

impl Measured {
    fn median(&self, way: &str) -> Option<f64> {
        let mut seconds = self.changed.get(way)?.clone();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied()
    }

    /// How many times faster it is with all automatic caches.
    fn speedup(&self) -> Option<f64> {
        Some(self.median("off")? / self.median("all")?)
    }

    /// Whether it is as it must be.
    pub(super) fn holds(&self) -> bool {
        self.differences.is_empty() && self.speedup().is_some_and(|speedup| speedup >= LEAST_SPEEDUP)
    }
}

pub(super) fn json(rows: &[Measured]) -> Result<String> {
    serde_json::to_string_pretty(rows).context("cannot write the results")
}

pub(super) fn table(version: &str, link: &str, rows: &[Measured]) -> String {
    let mut header: Vec<String> = vec!["rebuild".into()];
    header.extend(MODES.iter().chain([&BY_HAND]).map(|way| (*way).to_owned()));
    header.extend(["off ÷ all", "images", ""].map(str::to_owned));
    let mut lines = vec![header];
    for row in rows {
        let mut line = vec![row.title.to_owned()];
        let times = MODES.iter().chain([&BY_HAND]).map(|way| row.median(way).map(duration).unwrap_or_default());
        line.extend(times);
        line.push(row.speedup().map(|speedup| format!("{speedup:.1}")).unwrap_or_default());
        line.push(if row.differences.is_empty() { "the same".into() } else { "DIFFER".into() });
        line.push(if row.holds() { "kept".into() } else { "MISSED".into() });
        lines.push(line);
    }
    let mut text = format!("\nMeasured in this run, medians, {version}, {link}:\n\n{}", layout(&lines));
    let _ = writeln!(
        text,
        "\nBudget: {LEAST_SPEEDUP:.0} times faster, and images that are the same file for file with off, safe and all."
    );
    for row in rows.iter().filter(|row| !row.differences.is_empty()) {
        let _ = writeln!(text, "{}: the images differ:", row.title);
        for difference in row.differences.iter().take(20) {
            let _ = writeln!(text, "  {difference}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_if_it_is_fast_and_the_same() {
        let row = |all: f64, differences: &[&str]| Measured {
            title: "x",
            first: BTreeMap::new(),
            changed: BTreeMap::from([("off", vec![9.0, 8.0, 1.0]), ("all", vec![all])]),
            differences: differences.iter().map(|text| (*text).to_owned()).collect(),
        };
        assert!(row(2.0, &[]).holds());
        assert!(!row(2.1, &[]).holds() && !row(1.0, &["a"]).holds());
        let text = table("kiln 1", "here", &[row(2.0, &["layer 1 `a`: only all has it"])]);
        assert!(text.contains("| 8.00 s | ") && text.contains("| 4.0 ") && text.contains("only all has it"), "{text}");
    }
}
