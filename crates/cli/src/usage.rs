//! Mistakes on the command line, told in kiln's words: what clap found wrong becomes an `error:` line and a `hint:` line.
//!
//! Options that Docker has and kiln does not are known by name, so that whoever brings a script from there learns that the
//! option is missing, rather than that it does not exist. None is ever accepted and ignored.

mod missing;

use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::{report, terminal};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error as _;
use std::ffi::OsString;

/// Prints what clap says: help and version to standard output, mistakes to standard error.
pub(crate) fn report(error: &clap::Error) -> ExitStatus {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match terminal::print(&error.render().to_string()) {
            Ok(()) => ExitStatus::SUCCESS,
            Err(error) => error.status(),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            terminal::error_bytes(error.render().to_string().as_bytes());
            ExitStatus::USAGE
        }
        _ => {
            let usage = CliError::Usage(explain(error));
            report::print(&usage, false);
            if is_run(error, &mut std::env::args_os().skip(1)) { ExitStatus::RUN_FAILED } else { usage.status() }
        }
    }
}

/// Whether it was `kiln run` that went wrong. For some errors clap does not say which command it was reading, so that the first word
/// that is no global option is looked at.
fn is_run(error: &clap::Error, arguments: &mut dyn Iterator<Item = OsString>) -> bool {
    match command(error).as_str() {
        "" => {}
        command => return command == "run",
    }
    while let Some(argument) = arguments.next() {
        if argument == "--root" || argument == "--config" {
            arguments.next();
        } else if !argument.as_encoded_bytes().starts_with(b"-") {
            return argument == "run";
        }
    }
    false
}

/// What is wrong, and what to do about it.
fn explain(error: &clap::Error) -> UsageError {
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let option = name(&argument);
    // A positional argument needs no name: the value stands in the message.
    let prefix = if option.starts_with('-') { format!("`{option}`: ") } else { String::new() };
    let command = command(error);
    let help = format!("`{} --help` lists the options", program(&command));
    match error.kind() {
        ErrorKind::UnknownArgument => match missing::lookup(&command, option) {
            Some(hint) => {
                let usage = UsageError::unsupported(format!("`{option}` is not supported by `{}`", program(&command)));
                match hint {
                    "" => usage,
                    hint => usage.hint(hint),
                }
            }
            None if !argument.starts_with('-') => {
                UsageError::new(format!("unexpected argument `{argument}`")).hint(help)
            }
            None => {
                let hint =
                    text(error, ContextKind::SuggestedArg).map_or(help, |like| format!("did you mean `{like}`?"));
                UsageError::new(format!("unknown option `{option}`")).hint(hint)
            }
        },
        ErrorKind::InvalidSubcommand => {
            let name = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let docker = missing::command(&name).filter(|_| command.is_empty()).map(str::to_owned);
            let like = || {
                let like = text(error, ContextKind::SuggestedSubcommand)?;
                Some(format!("did you mean `{} {like}`?", program(&command)))
            };
            let hint =
                docker.or_else(like).unwrap_or_else(|| format!("`{} --help` lists the commands", program(&command)));
            UsageError::new(format!("unknown command `{name}`")).hint(hint)
        }
        ErrorKind::ValueValidation => match error.source().and_then(|source| source.downcast_ref::<UsageError>()) {
            Some(UsageError { message, hint, unsupported }) => {
                UsageError { message: format!("{prefix}{message}"), hint: hint.clone(), unsupported: *unsupported }
            }
            None => {
                let reason = error.source().map_or_else(|| "not understood".to_owned(), ToString::to_string);
                match text(error, ContextKind::InvalidValue).filter(|_| reason.contains("boolean")) {
                    Some(value) => {
                        UsageError::new(format!("{prefix}bad value `{value}`")).hint("expected `true` or `false`")
                    }
                    None => UsageError::new(format!("{prefix}{reason}")),
                }
            }
        },
        ErrorKind::InvalidValue => {
            let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
            let expected = text(error, ContextKind::ValidValue).map(|values| format!("expected one of {values}"));
            if value.is_empty() {
                return UsageError::new(format!("`{option}` needs a value")).hint(expected.unwrap_or(help));
            }
            UsageError::new(format!("`{option}`: bad value `{value}`")).hint(expected.unwrap_or(help))
        }
        ErrorKind::MissingRequiredArgument => {
            UsageError::new(format!("`{}` needs {}", program(&command), argument.trim_end_matches("...")))
                .hint(format!("`{} --help` shows how it is used", program(&command)))
        }
        ErrorKind::ArgumentConflict => {
            let other = text(error, ContextKind::PriorArg).unwrap_or_default();
            UsageError::new(format!("`{option}` cannot be used together with `{}`", name(&other)))
        }
        ErrorKind::TooManyValues => {
            let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
            UsageError::new(format!("`{option}` takes no value `{value}`")).hint(help)
        }
        ErrorKind::InvalidUtf8 => UsageError::new("an argument is not UTF-8"),
        _ => UsageError::new(
            error.to_string().trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned(),
        )
        .hint(help),
    }
}

/// An option by its name alone, `--tag` of `--tag <NAME[:TAG]>`; a positional argument as people know it, `ID` of `[ID]...`.
fn name(argument: &str) -> &str {
    if argument.starts_with('-') {
        return argument.split([' ', '=', '[']).next().unwrap_or_default();
    }
    let one = argument.trim_end_matches("...");
    one.strip_prefix(['<', '[']).and_then(|name| name.strip_suffix(['>', ']'])).unwrap_or(one)
}

/// The command that clap was reading, from its usage line: `build`, `cache rm`, or nothing for `kiln` itself.
fn command(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => return String::new(),
    };
    let is_command = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let words = usage.split_whitespace().skip_while(|word| *word != "kiln").skip(1).take_while(is_command);
    words.collect::<Vec<_>>().join(" ")
}

fn program(command: &str) -> String {
    if command.is_empty() { "kiln".to_owned() } else { format!("kiln {command}") }
}

/// A piece of clap's error as text; lists are joined.
fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let text = match error.get(kind)? {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_names() {
        for (argument, expected) in [
            ("--tag <NAME[:TAG]>", "--tag"),
            ("--pull[=<BOOL>]", "--pull"),
            ("<NEW[:TAG]>...", "NEW[:TAG]"),
            ("[ID]...", "ID"),
            ("-x", "-x"),
            ("word", "word"),
        ] {
            assert_eq!(name(argument), expected);
        }
    }

    #[test]
    fn run_is_found_behind_global_options() {
        let error = clap::Error::new(ErrorKind::ValueValidation);
        let is_run = |line: &str| is_run(&error, &mut line.split_whitespace().map(OsString::from));
        for line in ["run --network x y", "--root run run x", "--debug --config=c run"] {
            assert!(is_run(line), "{line}");
        }
        for line in ["build run", "--root run build", "--root run", ""] {
            assert!(!is_run(line), "{line}");
        }
    }
}
