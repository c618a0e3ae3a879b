//! What the JSON answers have in common: places in the Dockerfile, and its text in base 64.

use crate::error::CliError;
use crate::terminal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Ranges of lines in one of the sources.
#[derive(Debug, Serialize)]
pub(super) struct Location {
    ranges: [Range; 1],
}

#[derive(Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    /// From 1.
    line: u32,
    /// From 0, in characters; absent where whole lines are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    character: Option<usize>,
}

impl Location {
    /// Whole lines.
    pub(super) fn lines((first, last): (u32, u32)) -> Self {
        let position = |line| Position { line, character: None };
        Self { ranges: [Range { start: position(first), end: position(last) }] }
    }

    /// A range of bytes of a text.
    pub(super) fn span(text: &str, (start, end): (u32, u32)) -> Self {
        let position = |offset: u32| {
            let before = &text[..text.floor_char_boundary(offset as usize)];
            let line = before.matches('\n').count();
            let character = before.rsplit('\n').next().unwrap_or_default().chars().count();
            Position { line: u32::try_from(line + 1).unwrap_or(u32::MAX), character: Some(character) }
        };
        Self { ranges: [Range { start: position(start), end: position(end) }] }
    }
}

/// A text as it goes into the answers.
pub(super) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// Prints an answer.
pub(super) fn print(answer: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(answer).unwrap_or_default();
    terminal::print(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let json = |location: Location| serde_json::to_string(&location).unwrap();
        assert_eq!(json(Location::lines((2, 3))), r#"{"ranges":[{"start":{"line":2},"end":{"line":3}}]}"#);
        assert_eq!(
            json(Location::span("é\nab\n", (4, 5))),
            r#"{"ranges":[{"start":{"line":2,"character":1},"end":{"line":2,"character":2}}]}"#
        );
    }
}
