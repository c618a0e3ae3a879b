//! The one pass that undoes quotes and escapes, replaces variables and splits at blanks.

use super::pattern::Pattern;
use super::{Expanded, MAX_DEPTH, MAX_LENGTH, Unset};
use crate::ast::Word;
use crate::error::{Error, ErrorKind};
use crate::span::Span;
use std::collections::HashMap;
use std::ops::Range;

/// Why a word cannot be expanded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// What is wrong.
    pub kind: ExpandErrorKind,
    /// Byte range of the word's text at fault.
    pub range: Range<usize>,
}

/// What is wrong with a word.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandErrorKind {
    /// A quote without its partner.
    #[error("`{0}` is not closed")]
    Quote(char),
    /// `${` without `}`.
    #[error("`${{` is not closed: missing `}}`")]
    Brace,
    /// `${name/pattern` without the second `/`.
    #[error("`${{…/…` is not complete: missing `/`")]
    Slash,
    /// `${}`, `${{`, `${:`.
    #[error("bad substitution: expected a name after `${{`")]
    Substitution,
    /// Something after the name that is no modifier.
    #[error("unsupported modifier `{0}` in substitution")]
    Modifier(String),
    /// A pattern with an escape that has no meaning.
    #[error("invalid pattern `{0}` in substitution")]
    Pattern(String),
    /// `${name:?message}` of a variable that is unset or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the word said, or `is not allowed to be unset`.
        message: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("substitutions are nested too deeply (more than {MAX_DEPTH})")]
    Depth,
    /// The result would exceed [`MAX_LENGTH`].
    #[error("the expanded text is longer than {MAX_LENGTH} bytes")]
    Length,
}

impl ExpandError {
    /// As an error in the file, at the word.
    pub fn at(&self, word: &Word) -> Error {
        let exact = word.span.range().len() == word.text.len();
        let span = if exact {
            let at = |offset: usize| word.span.start + offset.min(word.text.len()) as u32;
            Span::new(at(self.range.start), at(self.range.end))
        } else {
            word.span
        };
        let error = Error::new(ErrorKind::Expansion, span, self.kind.to_string());
        match &self.kind {
            ExpandErrorKind::Required { name, .. } => error.hint(format!("set it: --build-arg {name}=…")),
            ExpandErrorKind::Modifier(_) => {
                error.hint("known are `:-`, `-`, `:+`, `+`, `:?`, `?`, `#`, `##`, `%`, `%%`, `/` and `//`")
            }
            ExpandErrorKind::Quote(quote) => error.hint(format!("close it, or escape it: \\{quote}")),
            _ => error,
        }
    }
}

/// What a lexer leaves alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The escape character.
    pub(crate) escape: char,
    /// Whether `'` and `"` quote.
    pub(crate) quotes: bool,
    /// Whether quotes stay in the result.
    pub(crate) keep_quotes: bool,
    /// Whether escape characters stay in the result.
    pub(crate) keep_escapes: bool,
    /// Whether variables that are not set stay as written.
    pub(crate) keep_unset: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { escape: '\\', quotes: true, keep_quotes: false, keep_escapes: false, keep_unset: false }
    }
}

type Result<T> = std::result::Result<T, ExpandError>;

/// A pass over one word.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    position: usize,
    options: Options,
    keep_escapes: bool,
    depth: u32,
    /// How many bytes all intermediate results may still grow by, which bounds time as well as memory.
    budget: usize,
    env: &'a dyn Fn(&str) -> Option<String>,
    used: Vec<String>,
    unset: Vec<Unset>,
    /// The names looked up so far, with their place in `unset` when they are there.
    seen: HashMap<&'a str, Option<usize>>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str, options: Options, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            text,
            position: 0,
            options,
            keep_escapes: options.keep_escapes,
            depth: 0,
            budget: MAX_LENGTH + text.len().saturating_mul(2),
            env,
            used: Vec::new(),
            unset: Vec::new(),
            seen: HashMap::new(),
        }
    }

    pub(crate) fn run(mut self) -> Result<Expanded> {
        let mut words = Words::default();
        let text = self.whole(Some(&mut words))?;
        Ok(Expanded { text, words: words.finish(), used: self.used, unset: self.unset })
    }

    /// The text alone.
    pub(crate) fn run_text(mut self) -> Result<String> {
        self.whole(None)
    }

    fn whole(&mut self, words: Option<&mut Words>) -> Result<String> {
        let text = self.until(None, words)?;
        if text.len() > MAX_LENGTH { Err(self.error(0, ExpandErrorKind::Length)) } else { Ok(text) }
    }

    /// Takes the next character, and all up to one that may mean something.
    fn plain(&mut self, stop: Option<char>) -> &'a str {
        let rest = &self.text[self.position..];
        let escape = self.options.escape;
        let means_something = |c: char| matches!(c, '$' | '\'' | '"') || c == escape || Some(c) == stop;
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let length = rest[first..].find(means_something).map_or(rest.len(), |length| first + length);
        self.position += length;
        &rest[..length]
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    fn error(&self, start: usize, kind: ExpandErrorKind) -> ExpandError {
        ExpandError { kind, range: start..self.position.max(start) }
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        match self.budget.checked_sub(bytes) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => Err(self.error(0, ExpandErrorKind::Length)),
        }
    }

    /// Reads up to `stop`, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>, mut words: Option<&mut Words>) -> Result<String> {
        let start = self.position;
        let mut result = String::new();
        while let Some(character) = self.peek() {
            if Some(character) == stop {
                self.next();
                return Ok(result);
            }
            match character {
                '$' => {
                    let value = self.dollar()?;
                    self.spend(value.len())?;
                    result.push_str(&value);
                    if let Some(words) = &mut words {
                        words.add_split(&value);
                    }
                }
                '\'' | '"' if self.options.quotes => {
                    let value = if character == '"' { self.double_quote()? } else { self.single_quote()? };
                    result.push_str(&value);
                    if let Some(words) = &mut words {
                        words.add_whole(&value);
                    }
                }
                _ if character == self.options.escape => {
                    self.next();
                    if self.keep_escapes {
                        result.push(character);
                        if let Some(words) = &mut words {
                            words.add_raw(character);
                        }
                    }
                    let Some(escaped) = self.next() else { break };
                    if let Some(words) = &mut words {
                        words.add_raw(escaped);
                    }
                    result.push(escaped);
                }
                _ => {
                    let plain = self.plain(stop);
                    if let Some(words) = &mut words {
                        plain.chars().for_each(|character| words.add(character));
                    }
                    result.push_str(plain);
                }
            }
        }
        if stop.is_some() {
            return Err(self.error(start, ExpandErrorKind::Brace));
        }
        Ok(result)
    }

    fn single_quote(&mut self) -> Result<String> {
        let start = self.position;
        self.next();
        let rest = &self.text[self.position..];
        let Some(length) = rest.find('\'') else {
            self.position = self.text.len();
            return Err(ExpandError { kind: ExpandErrorKind::Quote('\''), range: start..start + 1 });
        };
        self.position += length + 1;
        Ok(if self.options.keep_quotes { format!("'{}'", &rest[..length]) } else { rest[..length].to_owned() })
    }

    fn double_quote(&mut self) -> Result<String> {
        let start = self.position;
        let mut result = String::new();
        self.next();
        if self.options.keep_quotes {
            result.push('"');
        }
        loop {
            let Some(character) = self.peek() else {
                return Err(ExpandError { kind: ExpandErrorKind::Quote('"'), range: start..start + 1 });
            };
            match character {
                '"' => {
                    self.next();
                    if self.options.keep_quotes {
                        result.push('"');
                    }
                    return Ok(result);
                }
                '$' => {
                    let value = self.dollar()?;
                    self.spend(value.len())?;
                    result.push_str(&value);
                }
                _ if character == self.options.escape => {
                    self.next();
                    if self.keep_escapes {
                        result.push(character);
                    }
                    match self.peek() {
                        None => continue,
                        Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.options.escape => {
                            self.next();
                            result.push(escaped);
                        }
                        Some(_) => result.push(character),
                    }
                }
                _ => result.push_str(self.plain(None)),
            }
        }
    }

    fn dollar(&mut self) -> Result<String> {
        let start = self.position;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.look_up(name, false) {
                None if self.options.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(self.error(start, ExpandErrorKind::Brace)),
            Some('{' | '}' | ':') => {
                self.next();
                return Err(self.error(start, ExpandErrorKind::Substitution));
            }
            Some(_) => {}
        }
        if self.depth >= MAX_DEPTH {
            return Err(self.error(start, ExpandErrorKind::Depth));
        }
        self.depth += 1;
        let value = self.braces(start);
        self.depth -= 1;
        value
    }

    /// What follows `${`.
    fn braces(&mut self, start: usize) -> Result<String> {
        let name = self.name();
        let operator_at = self.position;
        let Some(mut operator) = self.next() else {
            return Err(self.error(start, ExpandErrorKind::Brace));
        };
        match operator {
            '}' => {
                return Ok(match self.look_up(name, false) {
                    None if self.options.keep_unset => format!("${{{name}}}"),
                    value => value.unwrap_or_default(),
                });
            }
            '/' => return self.replace(start, name),
            _ => {}
        }
        let colon = operator == ':';
        if colon {
            let Some(next) = self.next() else {
                return Err(self.error(start, ExpandErrorKind::Brace));
            };
            operator = next;
        }
        let written = &self.text[operator_at..self.position];
        let supported = match operator {
            '+' | '-' | '?' => true,
            '#' | '%' => !colon,
            // Where variables that are not set stay, so does what only other shells know, such as `${x:0:3}`.
            _ => colon && self.options.keep_unset,
        };
        if !supported {
            return Err(self.error(operator_at, ExpandErrorKind::Modifier(written.to_owned())));
        }

        let word = self.argument('}', matches!(operator, '#' | '%'), start, ExpandErrorKind::Brace)?;
        let value = self.look_up(name, matches!(operator, '-' | '+'));
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let absent = value.is_none() || (colon && value.as_deref() == Some(""));
        match operator {
            '-' => Ok(if absent { word } else { value.unwrap_or_default() }),
            '+' => Ok(if absent { String::new() } else { word }),
            '?' if absent => {
                let message = match (&value, word.as_str()) {
                    (None, "") => "is not allowed to be unset".to_owned(),
                    (Some(_), "") => "is not allowed to be empty".to_owned(),
                    _ => word,
                };
                Err(self.error(start, ExpandErrorKind::Required { name: name.to_owned(), message }))
            }
            '?' => Ok(value.unwrap_or_default()),
            '#' | '%' => {
                let value = value.unwrap_or_default();
                let (greedy, glob) = match word.strip_prefix(operator) {
                    Some(rest) => (true, rest),
                    None => (false, word.as_str()),
                };
                let pattern = self.pattern(start, glob)?;
                Ok(if operator == '#' {
                    pattern.without_prefix(&value, greedy)
                } else {
                    pattern.without_suffix(&value, greedy)
                })
            }
            _ => {
                self.position = operator_at + written.len();
                Err(self.error(operator_at, ExpandErrorKind::Modifier(written.to_owned())))
            }
        }
    }

    /// `${name/pattern/word}` and `${name//pattern/word}`, after the first slash.
    fn replace(&mut self, start: usize, name: &'a str) -> Result<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let glob = self.argument('/', true, start, ExpandErrorKind::Slash)?;
        let replacement = self.argument('}', true, start, ExpandErrorKind::Brace)?;
        let value = self.look_up(name, false);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}/{glob}/{replacement}}}"));
        }
        let pattern = self.pattern(start, &glob)?;
        pattern
            .replace(&value.unwrap_or_default(), &replacement, all, MAX_LENGTH)
            .ok_or_else(|| self.error(start, ExpandErrorKind::Length))
    }

    fn pattern(&self, start: usize, glob: &str) -> Result<Pattern> {
        Pattern::new(glob).ok_or_else(|| self.error(start, ExpandErrorKind::Pattern(glob.to_owned())))
    }

    /// Reads an argument up to `stop`, with escapes kept for patterns.
    fn argument(&mut self, stop: char, keep_escapes: bool, start: usize, missing: ExpandErrorKind) -> Result<String> {
        let before = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let word = self.until(Some(stop), None);
        self.keep_escapes = before;
        word.map_err(|error| match error.kind {
            ExpandErrorKind::Brace => self.error(start, missing),
            _ => error,
        })
    }

    /// A variable's name; one character for the special ones, digits only for those that begin with a digit.
    fn name(&mut self) -> &'a str {
        let rest = &self.text[self.position..];
        let length = match rest.chars().next() {
            Some(first) if first.is_numeric() => rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        self.position += length;
        &rest[..length]
    }

    fn look_up(&mut self, name: &'a str, handled: bool) -> Option<String> {
        let value = (self.env)(name);
        match self.seen.get(name) {
            Some(Some(index)) => self.unset[*index].handled &= handled,
            Some(None) => {}
            None if value.is_some() => {
                self.used.push(name.to_owned());
                self.seen.insert(name, None);
            }
            None => {
                self.unset.push(Unset { name: name.to_owned(), handled });
                self.seen.insert(name, Some(self.unset.len() - 1));
            }
        }
        value
    }
}

/// Collects words; a blank ends one unless it was quoted or escaped.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    fn add(&mut self, character: char) {
        if !character.is_whitespace() {
            self.current.push(character);
        } else if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn add_raw(&mut self, character: char) {
        self.current.push(character);
    }

    fn add_split(&mut self, text: &str) {
        for character in text.chars() {
            self.add(character);
        }
    }

    fn add_whole(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}
