//! Rust source with its comments and literals blanked, so that a search for a
//! token finds code only.
//!
//! This is a scanner, not a parser: it knows line and nested block comments,
//! strings (also raw, byte and C strings), characters, and that `'a` may be a
//! lifetime. Every byte that is blanked becomes a space and newlines stay, so
//! offsets and line numbers are those of the original.

/// `source` with all comments and literals replaced by spaces.
pub(super) fn code_only(source: &str) -> String {
    let mut scanner = Scanner { bytes: source.as_bytes(), at: 0, out: Vec::new() };
    scanner.run();
    // Only ASCII delimiters are looked for, and multi-byte characters are
    // blanked or kept whole, so this is still UTF-8.
    String::from_utf8_lossy(&scanner.out).into_owned()
}

/// The lines (from 1) on which `needle` stands as a whole word of code, with
/// the text that follows it on that line.
pub(super) fn words<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    code.lines().enumerate().flat_map(move |(index, line)| {
        line.match_indices(needle).filter_map(move |(start, _)| {
            let after = &line[start + needle.len()..];
            let joins = |c: char| c.is_alphanumeric() || c == '_';
            let whole = !line[..start].ends_with(joins) && !after.starts_with(joins);
            whole.then_some((index + 1, after))
        })
    })
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            if rest.starts_with(b"//") {
                let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                self.blank(end);
            } else if rest.starts_with(b"/*") {
                self.blank(block_comment(rest));
            } else if let Some(length) = raw_string(rest).filter(|_| !self.inside_word()) {
                self.blank(length);
            } else if rest[0] == b'"' {
                self.blank(quoted(rest, b'"'));
            } else if rest[0] == b'\'' && !is_lifetime(rest) {
                self.blank(quoted(rest, b'\''));
            } else {
                self.out.push(rest[0]);
                self.at += 1;
            }
        }
    }

    /// Whether the byte before this one belongs to an identifier, so that the
    /// `r` here does not start a raw string.
    fn inside_word(&self) -> bool {
        let before = self.at.checked_sub(1).map(|index| self.bytes[index]);
        before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn blank(&mut self, length: usize) {
        let end = (self.at + length).min(self.bytes.len());
        for &byte in &self.bytes[self.at..end] {
            self.out.push(if byte == b'\n' { b'\n' } else { b' ' });
        }
        self.at = end;
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the raw string that starts here (`r"…"`, `br#"…"#`, …).
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].iter().take_while(|&&byte| byte == b'#').count();
    let open = prefix.len() + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = &rest[open + 1..];
    let end = body.windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| open + 1 + end + close.len()))
}

/// The length of a literal that starts with `quote`, escapes respected.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether the `'` here opens a lifetime or label and not a character.
fn is_lifetime(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => rest.get(2) != Some(&b'\''),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let table = [
            ("a // b", "a     "),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"x \\\" y\") z", "f(        ) z"),
            ("r#\"a \" b\"# c", "           c"),
            ("br\"a\\\" c", "       c"),
            ("for x", "for x"),
            ("'a' 'b", "    'b"),
            ("'\\'' x", "     x"),
            ("&'static str", "&'static str"),
            ("\"open", "     "),
        ];
        for (source, expected) in table {
            assert_eq!(code_only(source), expected, "{source}");
        }
    }

    #[test]
    fn lines_stay_where_they_were() {
        let source = "/* one\ntwo */ let s = \"three\nfour\";\nfive";
        assert_eq!(code_only(source).lines().count(), source.lines().count());
        assert!(code_only(source).ends_with("five"));
    }

    #[test]
    fn words_are_whole() {
        let code = "unsafe_code not_unsafe\nunsafe { }";
        assert_eq!(words(code, "unsafe").collect::<Vec<_>>(), [(2, " { }")]);
    }

    #[test]
    fn non_ascii_text_survives() {
        assert_eq!(code_only("größe // x\nλ"), "größe     \nλ");
    }
}
