//! The findings of the lints as SARIF 2.1.0, the format in which code hosts take what linters find (OASIS, "Static Analysis Results
//! Interchange Format").

use crate::patch;
use kiln_engine::{Check, Edit, Lint};
use serde_json::{Value, json};
use std::path::Path;

/// The name under which a Dockerfile that cannot be built is told of.
const CANNOT_BE_BUILT: &str = "CannotBeBuilt";

/// The log of one run.
pub(super) fn log(check: &Check) -> Value {
    let lints = &check.lints;
    let uri = uri(&lints.file);
    let mut rules: Vec<(&str, &str)> = Vec::new();
    let mut index = |name: &'static str, summary: &'static str| {
        rules.iter().position(|rule| rule.0 == name).unwrap_or_else(|| {
            rules.push((name, summary));
            rules.len() - 1
        })
    };
    let mut results: Vec<Value> = Vec::new();
    for finding in &lints.findings {
        let index = index(finding.rule, finding.summary);
        let message = match &finding.hint {
            Some(hint) => format!("{}\n{hint}", finding.message),
            None => finding.message.clone(),
        };
        let mut result =
            result(finding.rule, index, "warning", &message, &uri, Some(region(&lints.text, finding.span)));
        if let Some(fixes) = fixes(finding, &lints.text, &uri) {
            result["fixes"] = fixes;
        }
        results.push(result);
    }
    // What findings that are errors amount to has been told with them.
    if let Some(error) = check.error.as_ref().filter(|error| error.lints.is_none()) {
        let index = index(CANNOT_BE_BUILT, "the Dockerfile can be built");
        let place = error.place.as_ref().map(|place| region(&place.text, place.span));
        results.push(result(CANNOT_BE_BUILT, index, "error", &error.message, &uri, place));
    }
    let rules: Vec<Value> =
        rules.into_iter().map(|(id, summary)| json!({"id": id, "shortDescription": {"text": summary}})).collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "kiln", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(rule: &str, index: usize, level: &str, message: &str, uri: &str, region: Option<Value>) -> Value {
    let mut place = json!({"artifactLocation": {"uri": uri}});
    if let Some(region) = region {
        place["region"] = region;
    }
    json!({
        "ruleId": rule,
        "ruleIndex": index,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": place}],
    })
}

fn fixes(finding: &Lint, text: &str, uri: &str) -> Option<Value> {
    let fix = finding.fix.as_ref()?;
    let replacement = |edit: &Edit| {
        json!({
            "deletedRegion": region(text, (edit.span.start, edit.span.end)),
            "insertedContent": {"text": edit.text},
        })
    };
    let replacements: Vec<Value> = fix.edits.iter().map(replacement).collect();
    Some(json!([{
        "description": {"text": fix.title},
        "artifactChanges": [{"artifactLocation": {"uri": uri}, "replacements": replacements}],
    }]))
}

/// Lines and columns from 1; the end is the column after the last character.
fn region(text: &str, (start, end): (u32, u32)) -> Value {
    let place = |offset: u32| {
        let before = &text[..text.floor_char_boundary(offset as usize)];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    };
    let ((start_line, start_column), (end_line, end_column)) = (place(start), place(end));
    json!({"startLine": start_line, "startColumn": start_column, "endLine": end_line, "endColumn": end_column})
}

/// A file's name as a relative reference, or the address that it is.
fn uri(file: &str) -> String {
    if file.contains("://") {
        return file.to_owned();
    }
    let current = std::env::current_dir().unwrap_or_default();
    let path = patch::name(Path::new(file), &current);
    let scheme = if Path::new(file).is_absolute() && !Path::new(file).starts_with(&current) { "file:///" } else { "" };
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    format!("{scheme}{}", path.bytes().map(encode).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_references() {
        assert_eq!(uri("./a b/Docker:file"), "a%20b/Docker%3Afile");
        assert_eq!(uri("/nowhere/é"), "file:///nowhere/%C3%A9");
        assert_eq!(uri("https://example.org/Dockerfile"), "https://example.org/Dockerfile");
    }

    #[test]
    fn regions_are_counted_from_one() {
        assert_eq!(region("é\nab\n", (4, 5)), json!({"startLine": 2, "startColumn": 2, "endLine": 2, "endColumn": 3}));
        assert_eq!(region("ab", (0, 2)), json!({"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 3}));
    }
}
