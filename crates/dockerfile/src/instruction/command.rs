//! `CMD`, `ENTRYPOINT`, `SHELL` and `HEALTHCHECK`.

use super::{Arguments, Parts, not_strings};
use crate::ast::{CommandForm, Healthcheck, HealthcheckProbe, InstructionKind, Word};
use crate::duration::parse as parse_duration;
use crate::error::{Error, ErrorKind, Result};
use crate::flags::Flags;
use crate::json::{Json, read as read_json};
use crate::lines::Text;
use std::time::Duration;

/// A command in JSON form, else in shell form.
pub(super) fn form(text: Text<'_>) -> Result<CommandForm> {
    match read_json(text) {
        Json::List(words) => Ok(CommandForm::Exec(words)),
        Json::NotStrings(span) => Err(not_strings(span)),
        Json::No => Ok(CommandForm::Shell(text.word())),
    }
}

pub(super) fn cmd(args: Arguments<'_>) -> Result<InstructionKind> {
    form(args.text).map(InstructionKind::Cmd)
}

pub(super) fn entrypoint(args: Arguments<'_>) -> Result<InstructionKind> {
    form(args.text).map(InstructionKind::Entrypoint)
}

pub(super) fn shell(args: Arguments<'_>) -> Result<InstructionKind> {
    let hint = "write SHELL [\"program\", \"argument\"], with double quotes";
    match form(args.text)? {
        CommandForm::Exec(words) if !words.is_empty() => Ok(InstructionKind::Shell(words)),
        CommandForm::Shell(word) if !word.text.is_empty() => {
            Err(Error::new(ErrorKind::Arguments, word.span, "SHELL needs a JSON list of strings").hint(hint))
        }
        _ => Err(args.missing("a JSON list with at least one string").hint(hint)),
    }
}

pub(super) fn healthcheck(parts: Parts<'_>) -> Result<InstructionKind> {
    let (kind, rest) = split_type(parts.args);
    if kind.as_str().eq_ignore_ascii_case("NONE") {
        // Flags before NONE are not looked at.
        if !rest.is_empty() {
            return Err(Error::new(ErrorKind::Arguments, rest.span(), "HEALTHCHECK NONE takes no arguments"));
        }
        return Ok(InstructionKind::Healthcheck(Healthcheck::None));
    }
    let args = parts.arguments("HEALTHCHECK")?;
    if kind.is_empty() {
        return Err(args.missing("`NONE` or `CMD` and a command"));
    }
    if !kind.as_str().eq_ignore_ascii_case("CMD") {
        return Err(Error::new(
            ErrorKind::Arguments,
            kind.span(),
            format!("HEALTHCHECK has no type `{}`", kind.as_str()),
        )
        .hint("write HEALTHCHECK CMD command, or HEALTHCHECK NONE"));
    }
    let form = form(rest)?;
    let empty = match &form {
        CommandForm::Shell(word) => word.text.is_empty(),
        CommandForm::Exec(words) => words.is_empty(),
    };
    if empty {
        return Err(Error::new(ErrorKind::Arguments, kind.span(), "HEALTHCHECK CMD needs a command"));
    }
    Ok(InstructionKind::Healthcheck(Healthcheck::Probe(HealthcheckProbe {
        interval: interval(&args.flags, "interval")?,
        timeout: interval(&args.flags, "timeout")?,
        start_period: interval(&args.flags, "start-period")?,
        start_interval: interval(&args.flags, "start-interval")?,
        retries: retries(&args.flags)?,
        form,
    })))
}

/// The first word, which any Unicode blank ends, and the rest.
fn split_type(text: Text<'_>) -> (Text<'_>, Text<'_>) {
    let source = text.as_str();
    let end = source.find(char::is_whitespace).unwrap_or(source.len());
    (text.slice(0..end), text.from(end).trim())
}

fn interval(flags: &Flags<'_>, name: &str) -> Result<Option<Duration>> {
    let Some(word) = flags.text(name) else { return Ok(None) };
    let fault = |word: &Word, why: String| {
        Error::new(ErrorKind::Flag, word.span, format!("`--{name}={}`: {why}", word.text))
            .hint("durations are written like 30s, 1m30s or 500ms")
    };
    let nanoseconds = parse_duration(&word.text).map_err(|error| fault(&word, error.to_string()))?;
    match u64::try_from(nanoseconds) {
        Ok(0) => Ok(None),
        Ok(nanoseconds) if nanoseconds >= 1_000_000 => Ok(Some(Duration::from_nanos(nanoseconds))),
        _ => Err(fault(&word, "an interval is at least 1ms, or 0 for the default".to_owned())),
    }
}

fn retries(flags: &Flags<'_>) -> Result<Option<u32>> {
    let Some(word) = flags.text("retries") else { return Ok(None) };
    match word.text.parse::<i32>().map(u32::try_from) {
        Ok(Ok(0)) => Ok(None),
        Ok(Ok(retries)) => Ok(Some(retries)),
        _ => Err(Error::new(
            ErrorKind::Flag,
            word.span,
            format!("`--retries={}`: expected a number, not negative", word.text),
        )),
    }
}
