//! Physical lines, and the logical lines that continuations join.
//!
//! A [`Line`] remembers where each piece of it stood, so that any slice of it has a span in the file. Joining drops the escape
//! character at the end of a line with the blanks after it, comment lines and empty lines; it keeps the blanks that the next line
//! begins with, as BuildKit does, for they may separate words.

use crate::ast::Word;
use crate::span::Span;
use std::borrow::Cow;
use std::ops::Range;

/// One line of the file.
#[derive(Clone, Copy)]
pub(crate) struct Physical<'a> {
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Its text without the line break: any `\r` and `\n` at its end.
    pub(crate) text: &'a str,
    /// Its text with the line break.
    pub(crate) full: &'a str,
}

impl Physical<'_> {
    /// Where the text stands, line break excluded.
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start as u32, (self.start + self.text.len()) as u32)
    }
}

/// A cursor over the lines of a file.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    source: &'a str,
    offset: usize,
    last_end: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at `offset`, which must be at the beginning of a line.
    pub(crate) fn new(source: &'a str, offset: usize) -> Self {
        Self { source, offset, last_end: offset }
    }

    /// The offset of the next line.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Where the last line that was read ends, line break excluded.
    pub(crate) fn last_end(&self) -> u32 {
        self.last_end as u32
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Physical<'a>;

    fn next(&mut self) -> Option<Physical<'a>> {
        let rest = &self.source[self.offset..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let full = &rest[..length];
        let line = Physical { start: self.offset, text: full.trim_end_matches(['\r', '\n']), full };
        self.last_end = self.offset + line.text.len();
        self.offset += length;
        Some(line)
    }
}

/// Whether a line is a comment: its first character that is not a blank is `#`.
pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A logical line.
pub(crate) struct Line<'a> {
    text: Cow<'a, str>,
    /// Where its first piece stands in the file.
    start: u32,
    /// Offsets in `text` of the pieces after the first, and where they stand in the file; ascending.
    pieces: Vec<(u32, u32)>,
    /// Where the last physical line ends, line break excluded.
    end: u32,
    /// The first empty line between the continuations.
    pub(crate) gap: Option<Span>,
}

impl<'a> Line<'a> {
    /// Reads a logical line that begins with `first`, whose leading blanks are skipped, taking more lines as long as they continue.
    pub(crate) fn read(first: Physical<'a>, cursor: &mut Cursor<'a>, escape: char) -> Self {
        let trimmed = first.text.trim_start();
        let start = first.start + (first.text.len() - trimmed.len());
        let (piece, mut continues) = strip_continuation(trimmed, escape);
        let mut line =
            Self { text: piece.into(), start: start as u32, pieces: Vec::new(), end: first.span().end, gap: None };
        while continues {
            let Some(next) = cursor.next() else { break };
            if is_comment(next.text) {
                continue;
            }
            if next.text.trim_start().is_empty() {
                line.gap.get_or_insert(next.span());
                continue;
            }
            let (piece, more) = strip_continuation(next.text, escape);
            if !piece.is_empty() {
                if line.text.is_empty() {
                    line.start = next.start as u32;
                } else {
                    line.pieces.push((line.text.len() as u32, next.start as u32));
                }
                line.text.to_mut().push_str(piece);
            }
            line.end = next.span().end;
            continues = more;
        }
        line
    }

    /// All of it.
    pub(crate) fn text(&self) -> Text<'_> {
        Text { line: self, start: 0, end: self.text.len() }
    }

    /// Where the last physical line that belongs to it ends.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    fn source_offset(&self, at: usize) -> u32 {
        let (start, source) = self.piece(|start| start <= at);
        source + (at as u32 - start)
    }

    /// The last of the pieces whose offsets in `text` are all like that: its offset, and where it stands in the file.
    fn piece(&self, is_before: impl Fn(usize) -> bool) -> (u32, u32) {
        let after = self.pieces.partition_point(|(start, _)| is_before(*start as usize));
        after.checked_sub(1).map_or((0, self.start), |index| self.pieces[index])
    }

    fn span(&self, range: Range<usize>) -> Span {
        if range.is_empty() {
            // At a seam the end of the piece before is nearer to what is missing than the next line's first column.
            let (start, source) = self.piece(|start| start < range.start);
            return Span::at(source + (range.start as u32 - start));
        }
        Span::new(self.source_offset(range.start), self.source_offset(range.end - 1) + 1)
    }
}

/// Cuts the escape character that continues a line, with the blanks after it. One that follows another does not continue.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let body = line.trim_end_matches([' ', '\t']);
    match body.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

/// A slice of a logical line.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    line: &'a Line<'a>,
    start: usize,
    end: usize,
}

impl<'a> Text<'a> {
    pub(crate) fn as_str(self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Where it stands in the file.
    pub(crate) fn span(self) -> Span {
        self.line.span(self.start..self.end)
    }

    /// Where a part of it (offsets from its own start) stands in the file.
    pub(crate) fn span_of(self, range: Range<usize>) -> Span {
        self.line.span(self.start + range.start..self.start + range.end)
    }

    /// A part of it, by offsets from its own start.
    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        debug_assert!(self.as_str().get(range.clone()).is_some());
        Self { line: self.line, start: self.start + range.start, end: self.start + range.end }
    }

    /// What follows the first `at` bytes.
    pub(crate) fn from(self, at: usize) -> Self {
        self.slice(at..self.end - self.start)
    }

    /// The same up to the end of the logical line.
    pub(crate) fn to_line_end(self) -> Self {
        Self { end: self.line.text.len(), ..self }
    }

    /// Without blanks at both ends.
    pub(crate) fn trim(self) -> Self {
        let text = self.as_str();
        let start = text.len() - text.trim_start().len();
        let end = text.trim_end().len();
        if start >= end { self.slice(text.len()..text.len()) } else { self.slice(start..end) }
    }

    /// As a word, text and place.
    pub(crate) fn word(self) -> Word {
        Word::new(self.as_str(), self.span())
    }

    /// Splits at the first run of blanks (no blank: the rest is empty).
    pub(crate) fn split_first(self) -> (Self, Self) {
        let text = self.as_str();
        let Some(at) = text.find(is_blank) else {
            return (self, self.from(text.len()));
        };
        let rest = text[at..].trim_start_matches(is_blank);
        (self.slice(0..at), self.from(text.len() - rest.len()))
    }

    /// The words between runs of blanks.
    pub(crate) fn split_blanks(self) -> Vec<Self> {
        let text = self.as_str();
        let mut words = Vec::new();
        let mut start = None;
        for (at, character) in text.char_indices() {
            match (is_blank(character), start) {
                (false, None) => start = Some(at),
                (true, Some(from)) => {
                    words.push(self.slice(from..at));
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(from) = start {
            words.push(self.slice(from..text.len()));
        }
        words
    }
}

/// The blanks that separate words. Unlike around a line, other Unicode spaces are part of a word.
fn is_blank(character: char) -> bool {
    matches!(character, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Line<'_> {
        let mut cursor = Cursor::new(source, 0);
        let first = cursor.next().unwrap();
        Line::read(first, &mut cursor, '\\')
    }

    #[test]
    fn continuations_are_joined() {
        for (source, text) in [
            ("  RUN a \\\n  b", "RUN a   b"),
            ("RUN a\\  \t\r\nb\r\n", "RUN ab"),
            ("RUN a \\\n# comment\n  # other \\\n b\nRUN c", "RUN a  b"),
            ("RUN a \\\n\n  \n b", "RUN a  b"),
            ("RUN a \\", "RUN a "),
            ("RUN a \\\\\nb", "RUN a \\\\"),
            ("\\\nRUN a", "RUN a"),
            ("RUN a \\\n\\\nb", "RUN a b"),
        ] {
            assert_eq!(read(source).text().as_str(), text, "{source:?}");
        }
    }

    #[test]
    fn slices_know_their_place() {
        let source = " RUN a \\\n# no\n  bcd e";
        let line = read(source);
        let words = line.text().split_blanks();
        let texts: Vec<_> = words.iter().map(|word| &source[word.span().range()]).collect();
        assert_eq!(texts, ["RUN", "a", "bcd", "e"]);
        assert_eq!(line.end() as usize, source.len());
        assert_eq!(&source[line.text().span().range()], &source[1..]);
        let end = line.text().from(line.text().as_str().len());
        assert_eq!(end.span(), Span::at(source.len() as u32));
    }

    #[test]
    fn gaps_are_noted() {
        assert_eq!(read("RUN a \\\n\n b").gap, Some(Span::at(8)));
        assert_eq!(read("RUN a \\\n# x\n b").gap, None);
    }
}
