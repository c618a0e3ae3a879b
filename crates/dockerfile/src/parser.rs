//! The whole file: directives, comments, logical lines, heredocs, and what may stand before the first `FROM`.

use crate::ast::{Dockerfile, Instruction, InstructionKind};
use crate::error::{Error, ErrorKind};
use crate::instruction::Parts;
use crate::lines::{Cursor, Line, Physical, is_comment};
use crate::span::{Span, Spanned};
use crate::{directives, heredoc};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// The longest line that is read, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// After so many faults reading stops: this is no Dockerfile.
pub const MAX_ERRORS: usize = 100;

/// Reads a Dockerfile. What cannot be read is left out and reported; the rest is whole, unless
/// there are more than [`MAX_ERRORS`]. Errors are in the order of the file.
pub fn parse(source: &str) -> (Dockerfile, Vec<Error>) {
    let mut parser = Parser { dockerfile: Dockerfile::default(), errors: Vec::new(), lost_heredoc: false };
    parser.file(source);
    (parser.dockerfile, parser.errors)
}

/// Reads a Dockerfile that must be without fault.
///
/// # Errors
/// The first fault in the file.
pub fn parse_strict(source: &str) -> Result<Dockerfile, Error> {
    let (dockerfile, mut errors) = parse(source);
    if errors.is_empty() { Ok(dockerfile) } else { Err(errors.swap_remove(0)) }
}

/// Reads one trigger of an image's config, what an `ONBUILD` left there. Spans are those of the trigger's own text.
///
/// # Errors
/// A fault in it, or anything but exactly one instruction that a trigger may hold.
pub fn parse_trigger(text: &str) -> Result<Instruction, Error> {
    let mut parser = Parser { dockerfile: Dockerfile::default(), errors: Vec::new(), lost_heredoc: false };
    parser.body(text, 0);
    if let Some(error) = parser.errors.into_iter().next() {
        return Err(error);
    }
    let mut instructions = parser.dockerfile.instructions.into_iter();
    let all = Span::new(0, text.len() as u32);
    let (Some(instruction), None) = (instructions.next(), instructions.next()) else {
        return Err(Error::new(ErrorKind::Trigger, all, "a trigger must be exactly one instruction"));
    };
    if let InstructionKind::From(_) = instruction.kind {
        return Err(Error::new(ErrorKind::Trigger, instruction.keyword.span, "a trigger cannot be FROM"));
    }
    Ok(instruction)
}

struct Parser {
    dockerfile: Dockerfile,
    errors: Vec<Error>,
    /// Whether the instruction above has `<<` but cannot be read as a shell would, so that its heredoc was not seen.
    lost_heredoc: bool,
}

impl Parser {
    fn file(&mut self, source: &str) {
        if source.len() > MAX_FILE {
            let message = format!("the Dockerfile is larger than {} MiB", MAX_FILE >> 20);
            self.errors.push(Error::new(ErrorKind::TooLarge, Span::at(0), message));
            return;
        }
        let start = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let (directives, end, errors) = directives::read(source, start);
        self.dockerfile.directives = directives;
        self.errors.extend(errors);
        self.body(source, end);
        if self.dockerfile.instructions.is_empty() && self.errors.is_empty() {
            let end = Span::at(source.len() as u32);
            self.errors.push(
                Error::new(ErrorKind::Empty, end, "the Dockerfile has no instructions")
                    .hint("the least is one line: FROM image"),
            );
        }
        self.check_first();
        self.errors.sort_by_key(|error| error.span.start);
    }

    fn body(&mut self, source: &str, start: usize) {
        let mut cursor = Cursor::new(source, start);
        let mut comments = Vec::new();
        while self.errors.len() < MAX_ERRORS
            && let Some(line) = cursor.next()
        {
            if line.text.len() > MAX_LINE {
                self.too_long(&line);
                comments.clear();
                continue;
            }
            let text = line.text.trim_start();
            if text.is_empty() {
                comments.clear();
            } else if is_comment(text) {
                match text[1..].trim() {
                    "" => comments.clear(),
                    comment => comments.push(comment.to_owned()),
                }
            } else {
                self.instruction(line, &mut cursor, std::mem::take(&mut comments));
            }
        }
    }

    fn too_long(&mut self, line: &Physical<'_>) {
        let message = format!("the line is longer than {} MiB", MAX_LINE >> 20);
        self.errors.push(Error::new(ErrorKind::TooLarge, Span::at(line.start as u32), message));
    }

    fn instruction<'a>(&mut self, first: Physical<'a>, cursor: &mut Cursor<'a>, comments: Vec<String>) {
        let line = Line::read(first, cursor, self.dockerfile.directives.escape);
        let text = line.text().trim();
        if text.is_empty() {
            // Nothing but an escape character, to the end of the file.
            let message = "the line continues, but nothing follows";
            self.errors.push(Error::new(ErrorKind::UnknownInstruction, first.span(), message));
            return;
        }
        if let Some(at) = text.as_str().find('\0') {
            let place = text.slice(at..at + 1).span();
            let error = Error::new(ErrorKind::Malformed, place, "a zero byte, which no command, name or path can hold");
            return self.errors.push(error.hint("if there are more, the file may be UTF-16: save it as UTF-8"));
        }
        let parts = Parts::new(line.text(), self.dockerfile.directives.escape);
        let keyword = Spanned::new(parts.keyword.as_str().to_owned(), parts.keyword.span());
        let known = parts.name.is_some();

        let mut lost_heredoc = false;
        let mut heredocs = Vec::new();
        if text.as_str().contains("<<") && parts.may_have_heredocs() {
            match heredoc::markers(text).map(|markers| heredoc::read(markers, cursor)) {
                Some(Ok(found)) => heredocs = found,
                Some(Err(error)) => return self.errors.push(error),
                None => lost_heredoc = true,
            }
        }
        let end = if heredocs.is_empty() { line.end() } else { cursor.last_end() };
        match parts.parse(heredocs) {
            Ok(kind) => self.dockerfile.instructions.push(Instruction {
                kind,
                span: Span::new(keyword.span.start, end),
                keyword,
                original: text.as_str().to_owned(),
                comments,
                gap: line.gap,
            }),
            Err(error) => {
                let error = if self.lost_heredoc && !known {
                    error.hint(
                        "the instruction above has `<<`, but quotes or `${…}` in it that cannot be read, so its heredoc \
                         was not seen",
                    )
                } else {
                    error
                };
                self.errors.push(error);
                if !known {
                    // More of the same lines tell nothing new, yet each of them must be told.
                    return;
                }
            }
        }
        self.lost_heredoc = lost_heredoc;
    }

    /// Only `ARG` may stand before the first `FROM`.
    fn check_first(&mut self) {
        let first = self
            .dockerfile
            .instructions
            .iter()
            .find(|instruction| !matches!(instruction.kind, InstructionKind::Arg(_)));
        let Some(first) = first.filter(|first| !matches!(first.kind, InstructionKind::From(_))) else { return };
        let after_fault = self.errors.iter().any(|error| error.span.start < first.span.start);
        if after_fault {
            // The FROM may be what could not be read.
            return;
        }
        self.errors.push(
            Error::new(
                ErrorKind::NoStage,
                first.keyword.span,
                format!("{} stands before the first FROM", first.kind.name()),
            )
            .hint("a Dockerfile begins with FROM; only ARG may stand before it"),
        );
    }
}
