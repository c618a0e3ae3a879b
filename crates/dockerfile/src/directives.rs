//! Parser directives: `# name=value` on the first lines.
//!
//! The first line that is none ends them, even an empty one. `escape` may be indented and may not follow a `#!` line; `syntax` and
//! `check` the other way round; `syntax` may also be written `// syntax=…`, for frontends that speak another language. That is
//! what BuildKit does, which reads the lines once for each.

use crate::ast::Directives;
use crate::error::{Error, ErrorKind, Result};
use crate::lines::{Cursor, Physical};
use crate::span::{Span, Spanned};

/// A directive line taken apart.
struct Directive {
    name: Name,
    value: Spanned<String>,
    name_span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Syntax,
    Escape,
    Check,
}

/// Reads the directives at `start` (after a byte order mark). Gives them and the offset of the first line that is none.
pub(crate) fn read(source: &str, start: usize) -> (Directives, usize, Vec<Error>) {
    let mut directives = Directives::default();
    let mut errors = Vec::new();

    let mut cursor = Cursor::new(source, start);
    let mut end = start;
    let mut seen = Vec::new();
    while let Some(line) = cursor.next() {
        let indent = line.text.len() - line.text.trim_start().len();
        let Some(directive) = take_apart(&line, "#", indent) else { break };
        end = cursor.offset();
        if seen.contains(&directive.name) {
            errors.push(repeated(&directive));
            continue;
        }
        seen.push(directive.name);
        match directive.name {
            Name::Escape => match escape(&directive) {
                Ok(character) => directives.escape = character,
                Err(error) => errors.push(error),
            },
            // Indented ones only end the directives in BuildKit's reading of these two.
            Name::Syntax if indent == 0 => directives.syntax = Some(directive.value),
            Name::Check if indent == 0 => directives.check = Some(directive.value),
            Name::Syntax | Name::Check => {}
        }
    }

    let mut cursor = Cursor::new(source, start);
    if source[start..].starts_with("#!") {
        cursor.next();
        let shebang_end = cursor.offset();
        read_plain(source, shebang_end, "#", &mut directives);
    }
    if directives.syntax.is_none() {
        read_plain(source, cursor.offset(), "//", &mut directives);
    }
    (directives, end, errors)
}

/// Reads `syntax` (and, after `#`, `check`) from lines with the given comment mark.
fn read_plain(source: &str, start: usize, mark: &str, directives: &mut Directives) {
    for line in Cursor::new(source, start) {
        let Some(directive) = take_apart(&line, mark, 0) else { break };
        let slot = match directive.name {
            Name::Syntax => &mut directives.syntax,
            Name::Check if mark == "#" => &mut directives.check,
            _ => continue,
        };
        slot.get_or_insert(directive.value);
    }
}

fn take_apart(line: &Physical<'_>, mark: &str, indent: usize) -> Option<Directive> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\x0c' | '\r' | '\n');
    let body = line.text[indent..].strip_prefix(mark)?.trim_start();
    let name_length = body.find(|c: char| !c.is_ascii_alphanumeric())?;
    let (name, rest) = body.split_at(name_length);
    let parsed = match name.to_ascii_lowercase().as_str() {
        "syntax" => Name::Syntax,
        "escape" => Name::Escape,
        "check" => Name::Check,
        _ => return None,
    };
    let value = rest.trim_start_matches(is_space).strip_prefix('=')?.trim_start_matches(is_space);
    let text = value.trim_end_matches(is_space);
    if text.is_empty() {
        return None;
    }
    let offset = |part: &str| (line.start + (part.as_ptr() as usize - line.text.as_ptr() as usize)) as u32;
    let span = |part: &str| Span::new(offset(part), offset(part) + part.len() as u32);
    Some(Directive { name: parsed, value: Spanned::new(text.to_owned(), span(text)), name_span: span(name) })
}

fn escape(directive: &Directive) -> Result<char> {
    match directive.value.value.as_str() {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        other => Err(Error::new(
            ErrorKind::Directive,
            directive.value.span,
            format!("`{other}` cannot be the escape character"),
        )
        .hint("write a backslash or a backtick: # escape=`")),
    }
}

fn repeated(directive: &Directive) -> Error {
    let name = match directive.name {
        Name::Syntax => "syntax",
        Name::Escape => "escape",
        Name::Check => "check",
    };
    Error::new(ErrorKind::Directive, directive.name_span, format!("parser directive `{name}` is given twice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(source: &str) -> (Option<String>, char, Option<String>) {
        let (directives, _, errors) = read(source, 0);
        assert_eq!(errors, []);
        for spanned in [&directives.syntax, &directives.check].into_iter().flatten() {
            assert_eq!(&source[spanned.span.range()], spanned.value);
        }
        (
            directives.syntax.map(|spanned| spanned.value),
            directives.escape,
            directives.check.map(|spanned| spanned.value),
        )
    }

    #[test]
    fn directives_are_found() {
        let some = |text: &str| Some(text.to_owned());
        for (source, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM a", (some("docker/dockerfile:1"), '\\', None)),
            ("#SYNTAX = a b \r\n#Escape=`\n", (some("a b"), '`', None)),
            ("# check=skip=all;error=true\n# escape = \\ \n", (None, '\\', some("skip=all;error=true"))),
            ("# a comment\n# escape=`\n", (None, '\\', None)),
            ("\n# escape=`\n", (None, '\\', None)),
            ("# unknown=1\n# escape=`\n", (None, '\\', None)),
            ("  # escape=`\n", (None, '`', None)),
            ("  # syntax=a\n", (None, '\\', None)),
            ("#!/usr/bin/env kiln\n# syntax=a\n# escape=`\n", (some("a"), '\\', None)),
            ("// syntax=other\n", (some("other"), '\\', None)),
            ("# syntax=\n# escape=`\n", (None, '\\', None)),
            ("FROM a\n# escape=`", (None, '\\', None)),
            ("", (None, '\\', None)),
        ] {
            assert_eq!(values(source), expected, "{source:?}");
        }
    }

    #[test]
    fn faults_have_a_place() {
        let source = "# escape=`\n# ESCAPE=`\n";
        let (_, end, errors) = read(source, 0);
        assert_eq!((end, errors.len()), (source.len(), 1));
        assert_eq!(&source[errors[0].span.range()], "ESCAPE");
        let source = "# escape=^\n";
        let (_, _, errors) = read(source, 0);
        assert_eq!(&source[errors[0].span.range()], "^");
    }
}
