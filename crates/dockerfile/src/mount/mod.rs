//! The fields of `RUN --mount=…`: comma-separated `key=value`, with the quoting of CSV (RFC 4180).
//!
//! The instruction keeps them [unexpanded](MountFlag). After expansion [`parse`] gives a [`Mount`], whose defaults are BuildKit's.
//! A mount is only checked then, so a stage that isn't built may hold a bad one, as in BuildKit.

mod typed;

#[cfg(test)]
mod tests;

pub use typed::{
    Bind, Cache, DEFAULT_SECRET_MODE, DEFAULT_SSH_MODE, Mount, OPTIONS, Secret, Sharing, Ssh, Tmpfs, parse,
};

use crate::ast::MountFlag;
use crate::error::{Error, ErrorKind, Result};
use crate::flags::Value;
use crate::span::{Span, Spanned};

/// A field after expansion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The key, in lower case.
    pub key: Spanned<String>,
    /// The value, expanded; `None` without a `=`.
    pub value: Option<Spanned<String>>,
}

impl MountFlag {
    /// Expands each value with `expand`, in order.
    ///
    /// # Errors
    /// The first that `expand` gives.
    pub fn expand<E>(&self, mut expand: impl FnMut(&crate::ast::Word) -> Result<String, E>) -> Result<Vec<Field>, E> {
        let mut fields = Vec::with_capacity(self.fields.len());
        for (key, value) in &self.fields {
            let value = match value {
                Some(word) => Some(Spanned::new(expand(word)?, word.span)),
                None => None,
            };
            fields.push(Field { key: key.clone(), value });
        }
        Ok(fields)
    }

    /// The value of a field as written, the last one if it is repeated.
    pub fn value(&self, key: &str) -> Option<&crate::ast::Word> {
        self.fields.iter().rev().find(|(name, _)| name.value == key).and_then(|(_, value)| value.as_ref())
    }
}

/// Takes a flag's value apart.
pub(crate) fn flag(value: Value<'_>, span: Span) -> Result<MountFlag> {
    let mut fields = Vec::new();
    for (start, end, text) in split(value)? {
        let (key, written) = match text.split_once('=') {
            Some((key, written)) => (key, Some(written)),
            None => (text.as_str(), None),
        };
        // Undoubling quotes shifts places within the field; such fields point at the whole of it.
        let exact = end - start == text.len();
        let part = |from: usize, to: usize| {
            if exact { value.slice(start + from, start + to) } else { value.slice(start, end) }
        };
        let word =
            written.map(|written| crate::ast::Word::new(written, part(text.len() - written.len(), text.len()).span()));
        let lower = key.to_lowercase();
        if lower == "from" && word.as_ref().is_some_and(|word| has_variable(&word.text)) {
            return Err(Error::new(
                ErrorKind::Mount,
                word.map_or(span, |word| word.span),
                "`from` of a mount does not expand variables",
            )
            .hint("name a stage before: FROM image-with-variables AS name"));
        }
        fields.push((Spanned::new(lower, part(0, key.len()).span()), word));
    }
    Ok(MountFlag { fields, span })
}

/// Whether a text has `$` with anything after it.
fn has_variable(text: &str) -> bool {
    text.find('$').is_some_and(|at| at + 1 < text.len())
}

/// Splits at commas outside quotes. Gives each field's range and its text with quotes undone.
fn split(value: Value<'_>) -> Result<Vec<(usize, usize, String)>> {
    let source = value.text;
    let fault = |start: usize, end: usize, message: &str| {
        Error::new(ErrorKind::Mount, value.slice(start, end).span(), message)
            .hint("a field with a comma goes in quotes: --mount='type=bind,\"source=a,b\",target=/x'")
    };
    if source.is_empty() {
        return Err(fault(0, 0, "`--mount` has no fields").hint("write --mount=type=cache,target=/PATH"));
    }
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if !source[at..].starts_with('"') {
            let end = source[at..].find(',').map_or(source.len(), |length| at + length);
            let text = &source[at..end];
            if let Some(quote) = text.find('"') {
                return Err(fault(at + quote, at + quote + 1, "a quote may only stand around a whole field"));
            }
            fields.push((at, end, text.to_owned()));
            at = end;
        } else {
            let start = at + 1;
            let mut text = String::new();
            let mut from = start;
            loop {
                let Some(length) = source[from..].find('"') else {
                    return Err(fault(at, at + 1, "a quoted field is not closed"));
                };
                text.push_str(&source[from..from + length]);
                from += length + 1;
                if !source[from..].starts_with('"') {
                    break;
                }
                text.push('"');
                from += 1;
            }
            if !matches!(source.as_bytes().get(from), None | Some(b',')) {
                return Err(fault(from - 1, from, "a quoted field must end at a comma"));
            }
            fields.push((start, from - 1, text));
            at = from;
        }
        if at == source.len() {
            return Ok(fields);
        }
        at += 1;
    }
}
