//! `ENV`, `LABEL` and `ARG`: names and values.

use super::{Arguments, Parts};
use crate::ast::{Arg, InstructionKind, Pairs, Word};
use crate::error::{Error, ErrorKind, Result};
use crate::lines::Text;
use crate::words::split;

pub(super) fn env(args: Arguments<'_>) -> Result<InstructionKind> {
    pairs(&args).map(InstructionKind::Env)
}

pub(super) fn label(args: Arguments<'_>) -> Result<InstructionKind> {
    pairs(&args).map(InstructionKind::Label)
}

fn pairs(args: &Arguments<'_>) -> Result<Pairs> {
    let name = args.name;
    let words = split(args.text, args.escape);
    let Some(first) = words.first() else {
        return Err(args.missing("at least one name=value"));
    };
    if !first.as_str().contains('=') {
        let (key, value) = args.text.split_first();
        if value.is_empty() {
            return Err(Error::new(
                ErrorKind::Malformed,
                key.span(),
                format!("{name} of `{}` has no value", key.as_str()),
            )
            .hint(format!("write {name} {}=VALUE", key.as_str())));
        }
        return Ok(Pairs { pairs: vec![(key.word(), value.word())], legacy: true });
    }
    let mut pairs = Vec::with_capacity(words.len());
    for word in words {
        let Some((key, value)) = split_pair(word) else {
            return Err(Error::new(ErrorKind::Malformed, word.span(), format!("`{}` is no name=value", word.as_str()))
                .hint("a value with blanks goes in quotes: name=\"some words\""));
        };
        pairs.push((key?, value));
    }
    Ok(Pairs { pairs, legacy: false })
}

pub(super) fn arg(parts: Parts<'_>) -> Result<InstructionKind> {
    // BuildKit takes flags off the line here too, and ignores them.
    let words = split(parts.args, parts.escape);
    if words.is_empty() {
        return Err(Error::new(ErrorKind::Arguments, parts.keyword.span(), "ARG needs at least one name"));
    }
    let args = words.into_iter().map(|word| match split_pair(word) {
        Some((name, default)) => Ok(Arg { name: name?, default: Some(default) }),
        None => Ok(Arg { name: word.word(), default: None }),
    });
    args.collect::<Result<_>>().map(InstructionKind::Arg)
}

/// Splits at the first `=`; the name may not be empty.
fn split_pair(word: Text<'_>) -> Option<(Result<Word>, Word)> {
    let at = word.as_str().find('=')?;
    let name = if at == 0 {
        Err(Error::new(ErrorKind::Arguments, word.span(), format!("`{}` has no name before `=`", word.as_str())))
    } else {
        Ok(word.slice(0..at).word())
    };
    Some((name, word.from(at + 1).word()))
}
