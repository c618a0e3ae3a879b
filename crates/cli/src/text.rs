//! Text from outside (logs, names, messages of servers) made fit for a terminal.
//!
//! What a build step writes is untrusted: besides colours it could hold sequences that set the window's title, write the
//! clipboard, or move the cursor over what kiln printed. Only colours pass, and only where they are wanted.

use std::borrow::Cow;

/// Which escape sequences stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// Colours and other looks of text (`ESC [ … m`).
    Colours,
    /// None; tabs become spaces too, so that the width is known.
    None,
}

/// One line as a terminal would end up showing it, without its line feed: what a carriage return overwrote is gone, and so are
/// control characters.
pub(crate) fn line(bytes: &[u8], escapes: Escapes) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    // As nearly every line is.
    if !text.contains(|c: char| c.is_control()) {
        return text;
    }
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    clean(text, escapes).into()
}

/// A message of possibly several lines: control characters are dropped, line feeds stay.
pub(crate) fn message(text: &str) -> String {
    text.lines().map(|line| clean(line, Escapes::None)).collect::<Vec<_>>().join("\n")
}

fn clean(text: &str, escapes: Escapes) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control()) {
        clean.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.chars().next() {
            Some('\x1b') => escape_length(rest),
            Some('\t') if escapes == Escapes::Colours => {
                clean.push('\t');
                1
            }
            Some('\t') => {
                clean.push_str("    ");
                1
            }
            first => first.map_or(0, char::len_utf8),
        };
        let sequence = &rest[..length];
        if escapes == Escapes::Colours && is_colour(sequence) {
            clean.push_str(sequence);
            coloured = true;
        }
        rest = &rest[length..];
    }
    clean.push_str(rest);
    if coloured && !clean.ends_with("\x1b[0m") && !clean.ends_with("\x1b[m") {
        // Whoever forgot to switch back must not colour what kiln prints next.
        clean.push_str("\x1b[0m");
    }
    clean
}

/// `ESC [ parameters m` with nothing but digits, `;` and `:` as parameters.
fn is_colour(sequence: &str) -> bool {
    sequence
        .strip_prefix("\x1b[")
        .and_then(|rest| rest.strip_suffix('m'))
        .is_some_and(|parameters| parameters.bytes().all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':'))
}

/// The length of the escape sequence at the start (ECMA-48, 5.4 and 5.6), to the end of the text where it is cut off.
fn escape_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'[') => {
            let parameters = bytes[2..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
            let end = 2 + parameters;
            match bytes.get(end) {
                Some(0x40..=0x7e) => end + 1,
                _ => end,
            }
        }
        // OSC, DCS, SOS, PM and APC last until BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let body = &text[2..];
            let bell = body.find('\x07').map(|at| at + 3);
            let terminator = body.find("\x1b\\").map(|at| at + 4);
            [bell, terminator].into_iter().flatten().min().unwrap_or(bytes.len())
        }
        Some(0x20..=0x2f) => {
            let intermediates = bytes[1..].iter().take_while(|byte| (0x20..0x30).contains(*byte)).count();
            (1 + intermediates + 1).min(ceiling(text, 1 + intermediates))
        }
        Some(0x30..=0x7e) => 2,
        _ => 1,
    }
}

/// The end of the character that starts at `at`.
fn ceiling(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(at, |c| if c.is_ascii() { at + 1 } else { at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_pass() {
        for (input, coloured, bare) in [
            ("plain", "plain", "plain"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b[32mgreen", "\x1b[32mgreen\x1b[0m", "green"),
            ("a\tb", "a\tb", "a    b"),
            ("\x1b]0;title\x07x", "x", "x"),
            ("\x1b]52;c;aGk=\x1b\\x", "x", "x"),
            ("\x1b[2J\x1b[1;1Hx", "x", "x"),
            ("\x1b[?25lx", "x", "x"),
            ("\x1bcx\x1b(Bé", "xé", "xé"),
            ("\x1b(é", "é", "é"),
            ("\x1b", "", ""),
            ("\x1b[", "", ""),
            ("\x1b[12", "", ""),
            ("\x1b]unended", "", ""),
            ("\u{9b}31mx\0\x07\x08", "31mx", "31mx"),
            ("10%\r50%\r100%\r\n", "100%", "100%"),
            ("\r\r", "", ""),
        ] {
            assert_eq!(line(input.as_bytes(), Escapes::Colours), coloured, "{input:?}");
            assert_eq!(line(input.as_bytes(), Escapes::None), bare, "{input:?}");
        }
        assert_eq!(line(b"\xff\xfe", Escapes::None), "\u{fffd}\u{fffd}");
        assert_eq!(message("a\x1b[31m\nhint: b\x07"), "a\nhint: b");
    }
}
