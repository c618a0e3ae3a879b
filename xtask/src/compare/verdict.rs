//! What became of a case, and the report over all of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

/// Differences shown of one case; all are in the listings and in the JSON.
const SHOWN: usize = 20;

/// What became of one case.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub(super) enum Verdict {
    /// The images are the same, or both builders refuse as the case says.
    Same,
    /// The images are the same once Docker has built the case again, without its cache; how its first one differed.
    #[serde(serialize_with = "found")]
    SameAgain(Vec<String>),
    /// The images differ, or only one builder made one.
    #[serde(serialize_with = "found")]
    Differs(Vec<String>),
    /// They differ as the case and the page on differences say.
    Deliberate { reason: String, found: Vec<String> },
    /// They differ as the case says, but the page on differences does not name the case.
    #[serde(serialize_with = "found")]
    Unlisted(Vec<String>),
    /// They are the same, but the case says that they differ.
    NoDifference,
    /// Both builders refuse a case that does not say so, which is wanted where nobody described the case.
    BothRefuse { kiln: String, docker: String, wanted: bool },
    /// Both refuse, but kiln not for the reason that the case gives.
    OtherReason { wanted: String, kiln: String, docker: String },
    /// Someone built what both should refuse.
    NotRefused,
    /// The case itself or what a builder made of it could not be read.
    #[serde(serialize_with = "message")]
    Broken(String),
    /// kiln refuses a case that is too new for Docker.
    #[serde(serialize_with = "message")]
    KilnRefuses(String),
    /// Too new for Docker; kiln makes what the case expects.
    #[serde(serialize_with = "message")]
    Newer(String),
}

fn found<S: serde::Serializer>(found: &[String], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    BTreeMap::from([("found", found)]).serialize(serializer)
}

fn message<S: serde::Serializer>(message: &str, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    BTreeMap::from([("message", message)]).serialize(serializer)
}

impl Verdict {
    /// Whether it is as it should be.
    pub(super) fn is_expected(&self) -> bool {
        match self {
            Self::Same | Self::SameAgain(_) | Self::Deliberate { .. } | Self::Newer(_) => true,
            Self::BothRefuse { wanted, .. } => *wanted,
            _ => false,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Same | Self::SameAgain(_) => "same",
            Self::Differs(_) | Self::Unlisted(_) | Self::NoDifference | Self::NotRefused => "differs",
            Self::Deliberate { .. } => "deliberate",
            Self::BothRefuse { .. } | Self::OtherReason { .. } => "refused",
            Self::KilnRefuses(_) => "differs",
            Self::Broken(_) => "broken",
            Self::Newer(_) => "kiln alone",
        }
    }

    /// The case's lines in the report.
    pub(super) fn text(&self, name: &str) -> String {
        let mut text = format!("{:<10} {name}\n", self.word());
        let mut line = |indented: &str| {
            for line in indented.lines() {
                let _ = writeln!(text, "    {line}");
            }
        };
        match self {
            Self::Same => {}
            Self::SameAgain(first) => {
                line("Docker's first build differed from this and from its second one:");
                shown(first, &mut line);
            }
            Self::Differs(found) => shown(found, &mut line),
            Self::Deliberate { reason, .. } => line(reason),
            Self::Unlisted(found) => {
                line("the page on deliberate differences does not name this case");
                shown(found, &mut line);
            }
            Self::NoDifference => line("the case says that the builders differ, but they do not"),
            Self::BothRefuse { kiln, docker, .. } => both(kiln, docker, &mut line),
            Self::OtherReason { wanted, kiln, docker } => {
                line(&format!("kiln's message should hold `{wanted}`"));
                both(kiln, docker, &mut line);
            }
            Self::NotRefused => line("the case says that building fails, but both builders made an image"),
            Self::KilnRefuses(message) | Self::Broken(message) => line(message),
            Self::Newer(version) => {
                line(&format!("needs version {version} of Docker's frontend, compared with the case's own expectation"))
            }
        }
        text
    }
}

fn shown(found: &[String], line: &mut impl FnMut(&str)) {
    found.iter().take(SHOWN).for_each(|text| line(text));
    if found.len() > SHOWN {
        line(&format!("and {} more", found.len() - SHOWN));
    }
}

fn both(kiln: &str, docker: &str, line: &mut impl FnMut(&str)) {
    line(&format!("kiln: {kiln}"));
    line(&format!("Docker: {docker}"));
}

/// All verdicts, by the cases' names.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    cases: BTreeMap<String, Verdict>,
}

impl Report {
    pub(super) fn add(&mut self, name: &str, verdict: Verdict) {
        self.cases.insert(name.to_owned(), verdict);
    }

    /// How many cases are not as they should be.
    pub(super) fn unexpected(&self) -> usize {
        self.cases.values().filter(|verdict| !verdict.is_expected()).count()
    }

    pub(super) fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in self.cases.values() {
            *counts.entry(verdict.word()).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        format!("{} cases: {}", self.cases.len(), counts.join(", "))
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_and_knows_what_should_not_be() {
        let mut report = Report::default();
        report.add("a", Verdict::Same);
        report.add("b", Verdict::Differs(vec!["x".to_owned()]));
        report.add("c", Verdict::Newer("1.9".to_owned()));
        let refused = |wanted| Verdict::BothRefuse { kiln: "k".to_owned(), docker: "d".to_owned(), wanted };
        report.add("d", refused(true));
        report.add("e", refused(false));
        assert_eq!(report.summary(), "5 cases: 1 differs, 1 kiln alone, 2 refused, 1 same");
        assert_eq!(report.unexpected(), 2);
        assert!(report.json().unwrap().contains("\"found\""));
    }
}
