//! Why a step runs: the difference between the parts of its key and those of the last time.

use crate::{FileListing, KeyParts, LastRun, PartValue};
use kiln_digest::ContentDigest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Why a step runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Nothing is known of this step from an earlier build.
    FirstBuild,
    /// The user asked for it (`--no-cache`).
    Asked,
    /// The same step was built before, but its result is gone.
    Pruned {
        /// How long ago the store was last pruned, if that is known.
        ago: Option<Duration>,
    },
    /// Its result is there, but not one that this build may use, for the reason given.
    Unusable(String),
    /// Parts of its key changed; the most telling one first.
    Changed(Vec<Change>),
}

/// One part that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Files of an input: paths that changed, came and went.
    Files {
        /// The part's name.
        part: String,
        /// Paths whose contents or metadata changed.
        changed: Vec<String>,
        /// Paths that are new.
        added: Vec<String>,
        /// Paths that are gone.
        removed: Vec<String>,
    },
    /// A text.
    Text {
        /// The part's name.
        part: String,
        /// The old value, if there was one.
        before: Option<String>,
        /// The new value, if there is one. Equal to the old one, both stand for values that are not to be shown.
        after: Option<String>,
    },
    /// The content of an input.
    Input {
        /// The part's name.
        part: String,
        /// What people are told.
        said: String,
    },
}

/// Says what changed since `last`. `listing` finds the files behind a digest.
pub fn explain(
    last: Option<&LastRun>,
    now: &KeyParts,
    use_cache: bool,
    listing: &dyn Fn(&ContentDigest) -> Option<FileListing>,
) -> Reason {
    if !use_cache {
        return Reason::Asked;
    }
    let Some(last) = last else {
        return Reason::FirstBuild;
    };
    if last.key == now.key() {
        return Reason::Pruned { ago: None };
    }
    // Another kind of step stood here: the two have nothing to compare.
    let kind = |parts: &KeyParts| parts.iter().find(|part| part.name == KeyParts::OP).cloned();
    if kind(&last.parts) != kind(now) {
        return Reason::FirstBuild;
    }
    let before: BTreeMap<&str, &PartValue> = last.parts.iter().map(|p| (p.name.as_str(), &p.value)).collect();
    let after: BTreeMap<&str, &PartValue> = now.iter().map(|p| (p.name.as_str(), &p.value)).collect();
    let mut changes = Vec::new();
    for part in now.iter() {
        let old = before.get(part.name.as_str()).copied();
        if let Some(change) = change(&part.name, old, Some(&part.value), listing) {
            changes.push(change);
        }
    }
    for part in last.parts.iter().filter(|part| !after.contains_key(part.name.as_str())) {
        if let Some(change) = change(&part.name, Some(&part.value), None, listing) {
            changes.push(change);
        }
    }
    changes.sort_by_key(Change::rank);
    Reason::Changed(changes)
}

fn change(
    part: &str,
    before: Option<&PartValue>,
    after: Option<&PartValue>,
    listing: &dyn Fn(&ContentDigest) -> Option<FileListing>,
) -> Option<Change> {
    let part = part.to_owned();
    match (before, after) {
        (Some(PartValue::Files(old)), Some(PartValue::Files(new))) => {
            (old != new).then(|| compare_files(part, listing(old), listing(new)))
        }
        (Some(PartValue::Content(old, _)), Some(PartValue::Content(new, said))) => {
            (old != new).then(|| Change::Input { part, said: said.clone() })
        }
        (_, Some(PartValue::Content(_, said))) => Some(Change::Input { part, said: said.clone() }),
        (_, Some(PartValue::Files(new))) => Some(compare_files(part, Some(FileListing::default()), listing(new))),
        (before, after) => {
            let text = |value: Option<&PartValue>| match value {
                Some(PartValue::Text(text) | PartValue::Hidden(_, text)) => Some(text.clone()),
                _ => None,
            };
            let hidden = |value: Option<&PartValue>| match value {
                Some(PartValue::Hidden(digest, _)) => Some(*digest),
                _ => None,
            };
            let changed = (text(before), hidden(before)) != (text(after), hidden(after));
            changed.then(|| Change::Text { part, before: text(before), after: text(after) })
        }
    }
}

fn compare_files(part: String, before: Option<FileListing>, after: Option<FileListing>) -> Change {
    let (mut changed, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    if let (Some(before), Some(after)) = (before, after) {
        let old: BTreeMap<&String, &[u8; 16]> = before.files.iter().map(|(path, digest)| (path, digest)).collect();
        let new: BTreeMap<&String, &[u8; 16]> = after.files.iter().map(|(path, digest)| (path, digest)).collect();
        for (path, digest) in &new {
            match old.get(path) {
                None => added.push((*path).clone()),
                Some(before) if before != digest => changed.push((*path).clone()),
                Some(_) => {}
            }
        }
        removed.extend(old.keys().filter(|path| !new.contains_key(**path)).map(|path| (*path).clone()));
    }
    Change::Files { part, changed, added, removed }
}

impl Change {
    /// Files tell most, then texts; that an input changed is only a consequence of something above.
    fn rank(&self) -> u8 {
        match self {
            Self::Files { .. } => 0,
            Self::Text { .. } => 1,
            Self::Input { .. } => 2,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstBuild => f.write_str("first build of this step"),
            Self::Asked => f.write_str("asked to run again (no-cache)"),
            Self::Pruned { ago: None } => f.write_str("its cached result is gone"),
            Self::Pruned { ago: Some(ago) } => write!(f, "its cached result was pruned {} ago", rough(*ago)),
            Self::Unusable(why) => f.write_str(why),
            Self::Changed(changes) => match changes.split_first() {
                None => f.write_str("its key changed"),
                Some((first, [])) => first.fmt(f),
                Some((first, rest)) => write!(f, "{first}, and {}", count(rest.len(), "more change")),
            },
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { part, changed, added, removed } => {
                let mut phrases = Vec::new();
                for (paths, verb) in [(changed, "changed"), (added, "added"), (removed, "removed")] {
                    match &paths[..] {
                        [] => {}
                        [one] => phrases.push(format!("{one} {verb}")),
                        [one, two] => phrases.push(format!("{one}, {two} {verb}")),
                        [one, two, rest @ ..] => {
                            phrases.push(format!("{one}, {two} and {} {verb}", count(rest.len(), "other file")));
                        }
                    }
                }
                if phrases.is_empty() { write!(f, "{part} changed") } else { f.write_str(&phrases.join("; ")) }
            }
            Self::Text { part, before: Some(before), after: Some(after) } if before == after => {
                write!(f, "{part} changed")
            }
            Self::Text { part, before: Some(before), after: Some(after) } if is_short(before) && is_short(after) => {
                write!(f, "{part}: {} → {}", or_none(before), or_none(after))
            }
            Self::Text { part, before: None, after: Some(after) } if is_short(after) => {
                write!(f, "{part}={after} is new")
            }
            Self::Text { part, after: None, .. } => write!(f, "{part} is gone"),
            Self::Text { part, .. } => write!(f, "{part} changed"),
            Self::Input { part, said } if said.is_empty() => write!(f, "{part} changed"),
            Self::Input { said, .. } => f.write_str(said),
        }
    }
}

/// A value as people are shown it: an empty one is none.
pub fn or_none(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

/// The largest unit that fits.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

fn is_short(text: &str) -> bool {
    text.len() <= 60 && !text.contains('\n')
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> ContentDigest {
        ContentDigest::of_bytes(text.as_bytes())
    }

    fn listing(files: &[(&str, u8)]) -> FileListing {
        FileListing { files: files.iter().map(|(path, n)| ((*path).to_owned(), [*n; 16])).collect() }
    }

    fn said(before: &KeyParts, after: &KeyParts, listing: &dyn Fn(&ContentDigest) -> Option<FileListing>) -> String {
        let last = LastRun { key: before.key(), parts: before.clone() };
        explain(Some(&last), after, true, listing).to_string()
    }

    #[test]
    fn files_are_named() {
        let make = |digest: ContentDigest| {
            let mut parts = KeyParts::new();
            parts.text("command", "COPY . .").files("files", digest);
            parts
        };
        let find = |wanted: &ContentDigest| {
            if *wanted == digest("old") {
                Some(listing(&[("go.mod", 1), ("main.go", 1), ("old.go", 1)]))
            } else {
                Some(listing(&[("go.mod", 1), ("main.go", 2), ("new.go", 1)]))
            }
        };
        let text = said(&make(digest("old")), &make(digest("new")), &find);
        assert_eq!(text, "main.go changed; new.go added; old.go removed");
        assert_eq!(said(&make(digest("old")), &make(digest("new")), &|_| None), "files changed");
    }

    #[test]
    fn hidden_values_are_compared_and_kept_nowhere() {
        let make = |value: &str| {
            let mut parts = KeyParts::new();
            parts.hidden("ARG TOKEN", value, "****");
            parts
        };
        let none = |_: &ContentDigest| None;
        assert_eq!(said(&make("one"), &make("two"), &none), "ARG TOKEN changed");
        assert_eq!(said(&make("one"), &make("one"), &none), "its cached result is gone");
        assert!(!format!("{:?}", make("one")).contains("one"));
        let mut shown = KeyParts::new();
        shown.text("ARG TOKEN", "****");
        assert_ne!(make("****").key(), shown.key());
    }

    #[test]
    fn texts_come_before_inputs() {
        let make = |version: &str, base: &str| {
            let mut parts = KeyParts::new();
            parts.content("base", digest(base), "COPY . . made something else").text("ARG VERSION", version);
            parts
        };
        let none = |_: &ContentDigest| None;
        assert_eq!(said(&make("1.2", "a"), &make("1.3", "a"), &none), "ARG VERSION: 1.2 → 1.3");
        assert_eq!(said(&make("", "a"), &make("1.3", "a"), &none), "ARG VERSION: none → 1.3");
        assert_eq!(said(&make("1.2", "a"), &make("1.3", "b"), &none), "ARG VERSION: 1.2 → 1.3, and 1 more change");
        assert_eq!(said(&make("1.2", "a"), &make("1.2", "b"), &none), "COPY . . made something else");
        assert_eq!(said(&make("1.2", "a"), &make("1.2", "a"), &none), "its cached result is gone");
        assert_eq!(explain(None, &make("1", "a"), true, &none).to_string(), "first build of this step");
    }
}
