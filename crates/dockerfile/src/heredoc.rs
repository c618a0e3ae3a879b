//! Heredocs: their markers in a line, and the lines that follow.
//!
//! A marker is a word of the form `[fd]<<[-]NAME`, found by reading the whole instruction as a shell would. As in BuildKit a line
//! that cannot be read so (an open quote, `${x^^}`) has no markers, and a word such as `<<EOF>file` has the name `EOF>file`.
//! The backslash is the escape character here even if the file has another one.

use crate::ast::Heredoc;
use crate::error::{Error, ErrorKind, Result};
use crate::lines::{Cursor, Text};
use crate::span::Span;
use crate::words::{Lexer, Options};

/// A marker without its lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Marker {
    pub(crate) name: String,
    fd: u32,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
}

/// Whether a line is one marker and nothing else.
pub(crate) fn is_lone_marker(line: &str) -> bool {
    marker(line).is_some()
}

/// Reads a word as a marker.
pub(crate) fn marker(word: &str) -> Option<Marker> {
    let digits = word.find(|c: char| !c.is_ascii_digit())?;
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, name) = match rest.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, rest),
    };
    if name.is_empty() || name.contains('<') {
        return None;
    }
    let plain = lex(name, Options { keep_unset: true, ..Options::default() })?;
    let quoted = lex(name, Options { keep_unset: true, keep_quotes: true, ..Options::default() })?;
    let ([plain], [quoted]) = (plain.as_slice(), quoted.as_slice()) else { return None };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Marker {
        name: plain.clone(),
        fd: word[..digits].parse().unwrap_or(0),
        expand: quotes(plain) == quotes(quoted),
        strip_tabs,
    })
}

fn lex(text: &str, options: Options) -> Option<Vec<String>> {
    Lexer::new(text, options, &|_| None).run().ok().map(|expanded| expanded.words)
}

/// The markers of an instruction, with their places. `None` when the line cannot be read as a shell's.
pub(crate) fn markers(text: Text<'_>) -> Option<Vec<(Marker, Span)>> {
    let source = text.as_str();
    if !source.contains("<<") {
        return Some(Vec::new());
    }
    let options = Options { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Options::default() };
    let words = lex(source, options)?;
    let mut found = Vec::new();
    let mut searched = 0;
    for word in words {
        if !word.contains("<<") {
            continue;
        }
        // Nothing was removed, so the word stands in the line as it is (unless a substitution was written in an odd way).
        let place = source[searched..].find(&word).map(|at| searched + at);
        if let Some(at) = place {
            searched = at + word.len();
        }
        if let Some(marker) = marker(&word) {
            let span = place.map_or(text.span(), |at| text.span_of(at..at + word.len()));
            found.push((marker, span));
        }
    }
    Some(found)
}

/// Reads the lines of each heredoc, in order, from the lines after the instruction.
pub(crate) fn read(markers: Vec<(Marker, Span)>, cursor: &mut Cursor<'_>) -> Result<Vec<Heredoc>> {
    let mut heredocs = Vec::new();
    for (marker, span) in markers {
        let start = cursor.offset();
        let mut content = String::new();
        let mut closed = None;
        for line in cursor.by_ref() {
            let text = if marker.strip_tabs { line.text.trim_start_matches('\t') } else { line.text };
            if text == marker.name {
                closed = Some(line.start);
                break;
            }
            content.push_str(line.full);
        }
        let Some(end) = closed else {
            let dash = if marker.strip_tabs { "" } else { "; only `<<-` lets tabs stand before it" };
            return Err(Error::new(ErrorKind::Heredoc, span, format!("heredoc `{}` is not closed", marker.name))
                .hint(format!("end it with a line that is exactly `{}`{dash}", marker.name)));
        };
        heredocs.push(Heredoc {
            name: marker.name,
            fd: marker.fd,
            expand: marker.expand,
            strip_tabs: marker.strip_tabs,
            content,
            span,
            content_span: Span::new(start as u32, end as u32),
        });
    }
    Ok(heredocs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_recognised() {
        let expect =
            |name: &str, fd, expand, strip_tabs| Some(Marker { name: name.to_owned(), fd, expand, strip_tabs });
        for (word, expected) in [
            ("<<EOF", expect("EOF", 0, true, false)),
            ("<<-EOF", expect("EOF", 0, true, true)),
            ("3<<EOF", expect("EOF", 3, true, false)),
            ("<<\"EOF\"", expect("EOF", 0, false, false)),
            ("<<'a b'", expect("a b", 0, false, false)),
            ("<<E'O'F", expect("EOF", 0, false, false)),
            ("<<\\EOF", expect("EOF", 0, true, false)),
            ("<<$NAME", expect("$NAME", 0, true, false)),
            ("<<EOF>out", expect("EOF>out", 0, true, false)),
            ("<<app.conf", expect("app.conf", 0, true, false)),
            ("<<", None),
            ("<<-", None),
            ("<<<word", None),
            ("<EOF", None),
            ("a<<EOF", None),
            ("<<\"EOF", None),
            ("", None),
            ("99999999999<<E", expect("E", 0, true, false)),
        ] {
            assert_eq!(marker(word), expected, "{word}");
        }
    }
}
