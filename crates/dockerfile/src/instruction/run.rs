//! `RUN`.

use super::{Arguments, command};
use crate::ast::{CommandForm, Heredoc, InstructionKind, Network, Run, Security};
use crate::error::{Error, ErrorKind, Result};
use crate::mount;
use crate::span::Spanned;

pub(super) fn run(args: Arguments<'_>, heredocs: Vec<Heredoc>) -> Result<InstructionKind> {
    let form = command::form(args.text)?;
    if matches!(&form, CommandForm::Exec(words) if words.is_empty()) {
        return Err(Error::new(ErrorKind::Arguments, args.text.span(), "RUN of an empty list has nothing to execute"));
    }
    let flags = &args.flags;
    let mounts = flags.list("mount").into_iter().map(|(value, span)| mount::flag(value, span));
    Ok(InstructionKind::Run(Run {
        mounts: mounts.collect::<Result<_>>()?,
        network: choice(
            &args,
            "network",
            &[("default", Network::Default), ("none", Network::None), ("host", Network::Host)],
        )?,
        security: choice(&args, "security", &[("sandbox", Security::Sandbox), ("insecure", Security::Insecure)])?,
        form,
        heredocs,
    }))
}

/// The value of a flag that has only certain values.
fn choice<T: Copy>(args: &Arguments<'_>, flag: &str, values: &[(&str, T)]) -> Result<Option<Spanned<T>>> {
    let Some(word) = args.flags.text_or_empty(flag) else { return Ok(None) };
    if let Some((_, value)) = values.iter().find(|(name, _)| *name == word.text) {
        return Ok(Some(Spanned::new(*value, word.span)));
    }
    let names: Vec<_> = values.iter().map(|(name, _)| format!("`{name}`")).collect();
    Err(Error::new(ErrorKind::Flag, word.span, format!("`--{flag}` cannot be `{}`", word.text))
        .hint(format!("it is one of {}", names.join(", "))))
}
