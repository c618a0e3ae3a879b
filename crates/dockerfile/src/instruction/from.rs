//! `FROM`.

use super::Arguments;
use crate::ast::{From, InstructionKind};
use crate::error::{Error, ErrorKind, Result};
use crate::lines::Text;
use crate::span::Spanned;

pub(super) fn from(args: Arguments<'_>) -> Result<InstructionKind> {
    let words = args.text.split_blanks();
    let spanned = |text: Text<'_>| Spanned::new(text.as_str().to_owned(), text.span());
    let (alias, as_keyword) = match words.as_slice() {
        [] => return Err(args.missing("an image, `scratch` or a stage")),
        [_] => (None, None),
        [_, keyword, name] if keyword.as_str().eq_ignore_ascii_case("AS") => {
            check_name(*name)?;
            (Some(spanned(*name)), Some(spanned(*keyword)))
        }
        [_, keyword, rest @ ..] => {
            let error =
                Error::new(ErrorKind::Arguments, keyword.span(), "FROM takes an image, or an image, `AS` and a name");
            return Err(match rest {
                [] if keyword.as_str().eq_ignore_ascii_case("AS") => {
                    error.hint("a name for the stage is missing after `AS`")
                }
                [] => error.hint(format!("to name the stage: AS {}", keyword.as_str())),
                [name] => error.suggest(keyword.as_str(), ["AS"]).label(format!("`AS` before `{}`?", name.as_str())),
                [..] => error,
            });
        }
    };
    Ok(InstructionKind::From(From { platform: args.flags.text("platform"), image: words[0].word(), alias, as_keyword }))
}

fn check_name(name: Text<'_>) -> Result<()> {
    let lower = name.as_str().to_lowercase();
    let first = lower.chars().next();
    let valid = first.is_some_and(|c| c.is_ascii_lowercase())
        && lower.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
    if valid {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Malformed, name.span(), format!("`{}` cannot be the name of a stage", name.as_str()))
        .hint("a name begins with a letter, and has only letters, digits, `-`, `_` and `.`"))
}
