//! Logs as HTML: the colours that programs write (ECMA-48, SGR) become classes, everything else is text.

use crate::text::{self, Escapes};
use std::fmt::Write;

/// A log as the content of a `pre`.
pub(super) fn html(log: &str) -> String {
    let mut html = String::with_capacity(log.len() + log.len() / 8);
    for line in log.lines() {
        coloured(&text::line(line.as_bytes(), Escapes::Colours), &mut html);
        html.push('\n');
    }
    html
}

/// One line, in which no other escape sequences are left. Every span that it opens it closes.
fn coloured(line: &str, html: &mut String) {
    let mut look = Look::default();
    let mut parts = line.split("\x1b[");
    escape(parts.next().unwrap_or_default(), html);
    for part in parts {
        let (parameters, text) = part.split_once('m').unwrap_or((part, ""));
        look.change(parameters);
        if text.is_empty() {
            continue;
        }
        let classes = look.classes();
        if classes.is_empty() {
            escape(text, html);
        } else {
            let _ = write!(html, "<span class=\"{classes}\">");
            escape(text, html);
            html.push_str("</span>");
        }
    }
}

/// What text looks like at some place of a line.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    /// One of the 16 colours that have names.
    colour: Option<u8>,
}

impl Look {
    fn change(&mut self, parameters: &str) {
        let mut numbers = parameters.split([';', ':']).map(|number| number.parse::<u16>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underlined = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                30..=37 => self.colour = u8::try_from(number - 30).ok(),
                90..=97 => self.colour = u8::try_from(number - 90 + 8).ok(),
                39 => self.colour = None,
                // Colours without a name: of 256 the first 16 have one, the others are left to the page.
                38 | 48 => {
                    let named = match numbers.next() {
                        Some(5) => numbers.next().filter(|colour| *colour < 16),
                        Some(2) => numbers.nth(2).and(None),
                        _ => None,
                    };
                    if number == 38 {
                        self.colour = named.and_then(|colour| u8::try_from(colour).ok());
                    }
                }
                _ => {}
            }
        }
    }

    fn classes(self) -> String {
        let flags = [(self.bold, "b"), (self.dim, "d"), (self.italic, "i"), (self.underlined, "u")];
        let mut classes: Vec<String> =
            flags.iter().filter(|(on, _)| *on).map(|(_, class)| (*class).to_owned()).collect();
        classes.extend(self.colour.map(|colour| format!("c{colour}")));
        classes.join(" ")
    }
}

fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            other => html.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_the_rest_text() {
        for (log, expected) in [
            ("plain\n", "plain\n"),
            (
                "</script><img src=x onerror=alert(1)> & \"x\"",
                "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; &amp; \"x\"\n",
            ),
            ("\x1b[1;31merror\x1b[0m: x", "<span class=\"b c1\">error</span>: x\n"),
            ("\x1b[38;5;9mred\x1b[39m \x1b[38;2;1;2;3mrgb\x1b[0m", "<span class=\"c9\">red</span> rgb\n"),
            ("\x1b[48;5;1;4mu\x1b[24mx", "<span class=\"u\">u</span>x\n"),
            // A colour ends with its line; other sequences are dropped.
            ("\x1b[32mgreen\nplain\x1b]0;title\x07\x1b[2J", "<span class=\"c2\">green</span>\nplain\n"),
            ("10%\r100%", "100%\n"),
            ("\x1b[31m<b>", "<span class=\"c1\">&lt;b&gt;</span>\n"),
            ("\x1b[999999m;x", ";x\n"),
        ] {
            assert_eq!(html(log), expected, "{log:?}");
        }
    }
}
