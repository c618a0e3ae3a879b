//! The flags of instructions: `--name`, `--name=value`, before the arguments.
//!
//! They are taken off any instruction's line; which ones it knows is in [`KNOWN`]. Quotes and backslashes in them are undone here
//! (the backslash is the escape character even if the file has another one), variables are not.

use crate::ast::Word;
use crate::error::{Error, ErrorKind, Result};
use crate::lines::Text;
use crate::span::{Span, Spanned};

/// How often a flag may be given and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagKind {
    /// `--name`, `--name=true` or `--name=false`, once.
    Bool,
    /// `--name=value`, once.
    Text,
    /// `--name=value`, repeatable.
    List,
}

/// The flags of each instruction; one that isn't here has none.
pub const KNOWN: &[(&str, &[(&str, FlagKind)])] = &[
    (
        "ADD",
        &[
            ("checksum", FlagKind::Text),
            ("chmod", FlagKind::Text),
            ("chown", FlagKind::Text),
            ("exclude", FlagKind::List),
            ("keep-git-dir", FlagKind::Bool),
            ("link", FlagKind::Bool),
            ("unpack", FlagKind::Bool),
        ],
    ),
    (
        "COPY",
        &[
            ("chmod", FlagKind::Text),
            ("chown", FlagKind::Text),
            ("exclude", FlagKind::List),
            ("from", FlagKind::Text),
            ("link", FlagKind::Bool),
            ("parents", FlagKind::Bool),
        ],
    ),
    ("FROM", &[("platform", FlagKind::Text)]),
    (
        "HEALTHCHECK",
        &[
            ("interval", FlagKind::Text),
            ("retries", FlagKind::Text),
            ("start-interval", FlagKind::Text),
            ("start-period", FlagKind::Text),
            ("timeout", FlagKind::Text),
        ],
    ),
    ("RUN", &[("mount", FlagKind::List), ("network", FlagKind::Text), ("security", FlagKind::Text)]),
];

/// A flag as it stands in the line.
struct Raw {
    /// The text after `--`, quotes undone.
    text: String,
    /// For each byte of `text`, where in the line it stands; `None` when nothing was undone, so that it stands as it is.
    places: Option<Vec<u32>>,
    /// Where in the line the flag, with `--`, begins and ends.
    start: usize,
    end: usize,
}

/// The flags of one instruction, not yet checked.
pub(crate) struct RawFlags<'a> {
    line: Text<'a>,
    raw: Vec<Raw>,
}

/// Takes the flags off the front of `text`, and gives the arguments after them. `--` alone ends the flags.
pub(crate) fn extract(text: Text<'_>) -> (RawFlags<'_>, Text<'_>) {
    let source = text.as_str();
    let mut raw = Vec::new();
    let mut rest = source;
    loop {
        rest = rest.trim_start();
        let start = source.len() - rest.len();
        if !rest.starts_with("--") {
            return (RawFlags { line: text, raw }, text.from(start).trim());
        }
        let (flag, length) = one(rest, start);
        rest = &rest[length..];
        if flag.text.is_empty() {
            return (RawFlags { line: text, raw }, text.from(start + length).trim());
        }
        raw.push(flag);
    }
}

/// Reads one flag, up to a blank outside quotes, and gives its length.
fn one(source: &str, offset: usize) -> (Raw, usize) {
    let length = source.find(char::is_whitespace).unwrap_or(source.len());
    if !source[..length].contains(['\'', '"', '\\']) {
        let text = source[2..length].to_owned();
        return (Raw { text, places: None, start: offset, end: offset + length }, length);
    }
    let mut text = String::new();
    let mut places = Vec::new();
    let mut quote = None;
    let mut characters = source.char_indices().skip(2);
    let mut length = source.len();
    while let Some((mut at, mut character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => {
                length = at;
                break;
            }
            None if matches!(character, '\'' | '"') => {
                quote = Some(character);
                continue;
            }
            Some(open) if character == open => {
                quote = None;
                continue;
            }
            _ => {}
        }
        if character == '\\' {
            match characters.next() {
                Some(escaped) => (at, character) = escaped,
                None => continue,
            }
        }
        text.push(character);
        places.resize(text.len(), (offset + at) as u32);
    }
    (Raw { text, places: Some(places), start: offset, end: offset + length }, length)
}

impl Raw {
    /// Where in the line the character that holds byte `at` of the text begins; the flag's end after the last one.
    fn place(&self, at: usize) -> usize {
        match &self.places {
            None => self.start + 2 + at,
            Some(places) => places.get(at).map_or(self.end, |place| *place as usize),
        }
    }
}

impl<'a> RawFlags<'a> {
    /// Checks the flags against those that `instruction` (in capitals) knows.
    pub(crate) fn check(self, instruction: &str) -> Result<Flags<'a>> {
        let known = KNOWN.iter().find(|(name, _)| *name == instruction).map_or(&[][..], |(_, flags)| *flags);
        let mut flags = Flags { line: self.line, set: Vec::new() };
        for raw in self.raw {
            let (name, value) = match raw.text.find('=') {
                Some(at) => (raw.text[..at].to_owned(), Some(at + 1)),
                None => (raw.text.clone(), None),
            };
            let span = self.line.span_of(raw.start..raw.end);
            let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
                return Err(unknown(instruction, &name, span, known));
            };
            if *kind != FlagKind::List && flags.set.iter().any(|flag| flag.name == *name) {
                return Err(Error::new(ErrorKind::Flag, span, format!("flag `--{name}` is given twice")));
            }
            let flag = Flag { name, raw, value, span };
            if *kind == FlagKind::Bool {
                flag.boolean()?;
            } else if value.is_none() {
                return Err(Error::new(ErrorKind::Flag, span, format!("flag `--{name}` needs a value"))
                    .hint(format!("write --{name}=VALUE, without blanks around `=`")));
            }
            flags.set.push(flag);
        }
        Ok(flags)
    }
}

fn unknown(instruction: &str, name: &str, span: Span, known: &[(&'static str, FlagKind)]) -> Error {
    let error = Error::new(ErrorKind::UnknownFlag, span, format!("{instruction} has no flag `--{name}`"));
    let lower = name.to_lowercase();
    if known.iter().any(|(candidate, _)| *candidate == lower) {
        return error.hint(format!("flags are in lower case: --{lower}"));
    }
    if let Some(nearest) = crate::suggest::nearest(name, known.iter().map(|(name, _)| *name)) {
        return error.hint(format!("did you mean `--{nearest}`?"));
    }
    if (instruction, name) == ("RUN", "device") {
        return error.hint("`--device` exists only in experimental versions of the Dockerfile syntax");
    }
    if known.is_empty() {
        return error.hint(format!("{instruction} has no flags; to begin an argument with `--` put `--` before it"));
    }
    let names: Vec<_> = known.iter().map(|(name, _)| format!("`--{name}`")).collect();
    error.hint(format!("it has {}", names.join(", ")))
}

/// A checked flag.
pub(crate) struct Flag {
    name: &'static str,
    raw: Raw,
    /// Where in the raw text the value begins.
    value: Option<usize>,
    span: Span,
}

impl Flag {
    fn text(&self) -> &str {
        self.value.map_or("", |at| &self.raw.text[at..])
    }

    fn boolean(&self) -> Result<bool> {
        match self.text().to_ascii_lowercase().as_str() {
            "" if self.value.is_none() => Ok(true),
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(Error::new(
                ErrorKind::Flag,
                self.span,
                format!("flag `--{}` is `true` or `false`, not `{other}`", self.name),
            )),
        }
    }
}

/// The checked flags of one instruction.
pub(crate) struct Flags<'a> {
    line: Text<'a>,
    set: Vec<Flag>,
}

impl<'a> Flags<'a> {
    fn get(&self, name: &str) -> Option<&Flag> {
        self.set.iter().find(|flag| flag.name == name)
    }

    /// The value of a [`FlagKind::Text`] flag; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<Word> {
        self.get(name).map(|flag| self.value(flag).word()).filter(|word| !word.text.is_empty())
    }

    /// The value of a [`FlagKind::Text`] flag, even when it is empty.
    pub(crate) fn text_or_empty(&self, name: &str) -> Option<Word> {
        self.get(name).map(|flag| self.value(flag).word())
    }

    /// The value of a [`FlagKind::Bool`] flag.
    pub(crate) fn boolean(&self, name: &str) -> Option<Spanned<bool>> {
        self.get(name).map(|flag| Spanned::new(flag.boolean().unwrap_or_default(), flag.span))
    }

    /// The values of a [`FlagKind::List`] flag, each with the span of its flag.
    pub(crate) fn list(&self, name: &str) -> Vec<(Value<'_>, Span)> {
        self.set.iter().filter(|flag| flag.name == name).map(|flag| (self.value(flag), flag.span)).collect()
    }

    fn value<'f>(&'f self, flag: &'f Flag) -> Value<'f> {
        let start = flag.value.unwrap_or(flag.raw.text.len());
        Value { line: self.line, text: &flag.raw.text[start..], raw: &flag.raw, start }
    }
}

/// A flag's value, each byte of which knows where it stood.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    line: Text<'a>,
    pub(crate) text: &'a str,
    raw: &'a Raw,
    /// Where in the raw text it begins.
    start: usize,
}

impl Value<'_> {
    /// A part of it.
    pub(crate) fn slice(self, start: usize, end: usize) -> Self {
        Self { text: &self.text[start..end], start: self.start + start, ..self }
    }

    /// Where it stands.
    pub(crate) fn span(self) -> Span {
        let first = self.raw.place(self.start);
        let Some(last) = self.text.chars().next_back() else {
            return self.line.span_of(first..first);
        };
        let last_at = self.raw.place(self.start + self.text.len() - last.len_utf8());
        self.line.span_of(first..last_at + last.len_utf8())
    }

    /// As a word.
    pub(crate) fn word(self) -> Word {
        Word::new(self.text, self.span())
    }
}
