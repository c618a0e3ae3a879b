//! JSON lists of strings, as the exec form of instructions has them.
//!
//! Text that is no JSON at all is the shell form; a JSON list that holds anything but strings is an error. To tell the two apart
//! the whole text is checked against JSON's grammar (RFC 8259) in one pass, without recursion.

use crate::ast::Word;
use crate::lines::Text;
use crate::span::Span;

/// What a text is.
pub(crate) enum Json {
    /// A list of strings.
    List(Vec<Word>),
    /// A list in which something (the first of it) is no string.
    NotStrings(Span),
    /// Not a JSON list.
    No,
}

/// Deeper JSON is taken as no JSON.
const MAX_DEPTH: usize = 10_000;

/// Reads a text as a JSON list.
pub(crate) fn read(text: Text<'_>) -> Json {
    let text = text.trim();
    if !text.as_str().starts_with('[') {
        return Json::No;
    }
    let mut scanner = Scanner { bytes: text.as_str().as_bytes(), source: text.as_str(), position: 0 };
    match scanner.list() {
        Some((items, odd)) if scanner.position == scanner.bytes.len() => match odd {
            Some((start, end)) => Json::NotStrings(text.span_of(start..end)),
            None => Json::List(
                items.into_iter().map(|(value, start, end)| Word::new(value, text.span_of(start..end))).collect(),
            ),
        },
        _ => Json::No,
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    source: &'a str,
    position: usize,
}

/// Where something begins and ends.
type Place = (usize, usize);
/// A string, and where it begins and ends.
type Item = (String, usize, usize);

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.position += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// The strings of the outermost list, and the first item that is none.
    fn list(&mut self) -> Option<(Vec<Item>, Option<Place>)> {
        let mut items = Vec::new();
        let mut odd = None;
        self.take(b'[');
        self.blanks();
        if !self.take(b']') {
            loop {
                self.blanks();
                let start = self.position;
                if self.peek() == Some(b'"') {
                    let value = self.string()?;
                    items.push((value, start, self.position));
                } else {
                    self.value()?;
                    odd.get_or_insert((start, self.position));
                }
                self.blanks();
                if self.take(b',') {
                    continue;
                }
                if self.take(b']') {
                    break;
                }
                return None;
            }
        }
        self.blanks();
        Some((items, odd))
    }

    /// Any value, checked and skipped.
    fn value(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blanks();
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'[' => {
                    self.position += 1;
                    self.blanks();
                    if !self.take(b']') {
                        open.push(b']');
                        if open.len() > MAX_DEPTH {
                            return None;
                        }
                        continue;
                    }
                }
                b'{' => {
                    self.position += 1;
                    self.blanks();
                    if !self.take(b'}') {
                        open.push(b'}');
                        if open.len() > MAX_DEPTH {
                            return None;
                        }
                        self.key()?;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                _ => self.literal()?,
            }
            // A value is complete: close what it completes.
            loop {
                let Some(&close) = open.last() else { return Some(()) };
                self.blanks();
                if self.take(close) {
                    open.pop();
                    continue;
                }
                if !self.take(b',') {
                    return None;
                }
                if close == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.blanks();
        self.string()?;
        self.blanks();
        self.take(b':').then_some(())
    }

    fn literal(&mut self) -> Option<()> {
        let rest = &self.bytes[self.position..];
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word))?;
        self.position += word.len();
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.position;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.position += 1;
        }
        (self.position > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let mut value = String::new();
        if !self.take(b'"') {
            return None;
        }
        loop {
            let rest = &self.source[self.position..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            value.push_str(&rest[..plain]);
            self.position += plain;
            match self.peek()? {
                b'"' => {
                    self.position += 1;
                    return Some(value);
                }
                b'\\' => {
                    self.position += 1;
                    value.push(self.escape()?);
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.position += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                if let 0xd800..=0xdbff = high {
                    // Half a pair alone becomes the replacement character, and what follows stands for itself.
                    let before = self.position;
                    if self.take(b'\\')
                        && self.take(b'u')
                        && let Some(low @ 0xdc00..=0xdfff) = self.hex4()
                    {
                        return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                    }
                    self.position = before;
                }
                char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return None,
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.position..self.position + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let value = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        self.position += 4;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{Cursor, Line};

    fn show(source: &str) -> String {
        let mut cursor = Cursor::new(source, 0);
        let first = cursor.next().unwrap();
        let line = Line::read(first, &mut cursor, '\\');
        match read(line.text()) {
            Json::List(words) => {
                let texts: Vec<_> = words.into_iter().map(|word| word.text).collect();
                texts.join("|")
            }
            Json::NotStrings(span) => format!("odd {}", &source[span.range()]),
            Json::No => "no".to_owned(),
        }
    }

    #[test]
    fn lists_are_read() {
        for (source, expected) in [
            (r#"["a", "b c"]"#, "a|b c"),
            (r#"[]"#, ""),
            (r#"[ ]"#, ""),
            (r#"["a\n\"\\\/\t\u0041"]"#, "a\n\"\\/\tA"),
            (r#"["\ud83d\ude00"]"#, "😀"),
            (r#"["\ud83dx"]"#, "\u{fffd}x"),
            (r#"["\ud83d\u0041"]"#, "\u{fffd}A"),
            (r#"["é"]"#, "é"),
            (r#"['a']"#, "no"),
            (r#"["a",]"#, "no"),
            (r#"["a" "b"]"#, "no"),
            (r#"["a"] && x"#, "no"),
            (r#"["a"#, "no"),
            (r#"["\x"]"#, "no"),
            (r#"["\u00g0"]"#, "no"),
            (r#"[a]"#, "no"),
            (r#"["a", 1]"#, "odd 1"),
            (r#"[{"a": [1, -2.5e+3, null]}, 2]"#, r#"odd {"a": [1, -2.5e+3, null]}"#),
            (r#"[["a"], true]"#, r#"odd ["a"]"#),
            (r#"[01]"#, "no"),
            (r#"[{"a"}]"#, "no"),
            (r#"[{}, []]"#, "odd {}"),
            ("[ -f x ] && y", "no"),
            ("[\"a\tb\"]", "no"),
        ] {
            assert_eq!(show(source), expected, "{source}");
        }
        assert_eq!(show(&format!("{}{}", "[".repeat(20_000), "]".repeat(20_000))), "no");
    }
}
