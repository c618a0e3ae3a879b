//! Places in a Dockerfile: byte ranges, and their lines and columns.

use std::fmt;
use std::ops::Range;

/// A byte range of the Dockerfile's text, end excluded. An empty one marks a position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end`; an end before the start gives the empty range at `start`.
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// The empty range at `offset`.
    pub const fn at(offset: u32) -> Self {
        Self { start: offset, end: offset }
    }

    /// The smallest range that covers both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As a range of `usize`, to slice with.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether it covers no byte.
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was read.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Pairs a value with its place.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// Finds lines and columns in one text; building it takes one pass, each look-up a binary search.
#[derive(Clone, Debug)]
pub struct SourceMap {
    line_starts: Vec<u32>,
    length: u32,
}

/// A line and a column, both from 1; the column counts characters, not bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LineColumn {
    /// Line number, from 1.
    pub line: u32,
    /// Column number in characters, from 1.
    pub column: u32,
}

impl SourceMap {
    /// Indexes the lines of `text`, which must be shorter than 4 GiB (longer texts are indexed up to there).
    pub fn new(text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut line_starts = vec![0];
        line_starts.extend(
            text.bytes()
                .take(length as usize)
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at as u32 + 1),
        );
        Self { line_starts, length }
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub fn line(&self, offset: u32) -> u32 {
        self.line_starts.partition_point(|start| *start <= offset) as u32
    }

    /// The line and column of the byte at `offset` of `text` (the text that this was built from).
    pub fn line_column(&self, text: &str, offset: u32) -> LineColumn {
        let line = self.line(offset);
        let start = self.line_starts[line as usize - 1] as usize;
        let end = (offset as usize).min(text.len());
        let column = text.as_bytes()[start.min(end)..end].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        LineColumn { line, column: column as u32 + 1 }
    }

    /// The first and the last line, from 1, that a span touches.
    pub fn lines(&self, span: Span) -> (u32, u32) {
        let last = if span.is_empty() { span.start } else { span.end - 1 };
        (self.line(span.start), self.line(last))
    }

    /// The byte range of a line (from 1), its line break included; empty past the end.
    pub fn line_span(&self, line: u32) -> Span {
        let start = |line: u32| self.line_starts.get((line as usize).wrapping_sub(1)).copied().unwrap_or(self.length);
        Span::new(start(line), start(line.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns() {
        let text = "FROM a\nRUN é x\n";
        let map = SourceMap::new(text);
        let at = |offset| map.line_column(text, offset);
        assert_eq!(at(0), LineColumn { line: 1, column: 1 });
        assert_eq!(at(6), LineColumn { line: 1, column: 7 });
        assert_eq!(at(7), LineColumn { line: 2, column: 1 });
        assert_eq!(at(14), LineColumn { line: 2, column: 7 });
        assert_eq!(at(text.len() as u32), LineColumn { line: 3, column: 1 });
        assert_eq!(map.line_span(2), Span::new(7, 16));
        assert_eq!(map.line_span(9), Span::at(16));
        assert_eq!(map.lines(Span::new(0, 8)), (1, 2));
    }
}
