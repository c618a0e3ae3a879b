//! SHELL: what runs the shell form of the commands that follow.

use crate::history::{config_only, list};
use crate::stage::Step;
use crate::{ImageConfig, LowerError};
use kiln_dockerfile::ast::{CommandForm, Word};

pub(super) fn lower(step: &mut Step<'_>, words: &[Word]) -> Result<(), LowerError> {
    let shell: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
    step.record(config_only(format!("SHELL {}", list(&shell))));
    step.stage.config.config.shell = shell;
    Ok(())
}

/// The arguments that a command comes to.
pub(super) fn command_line(config: &ImageConfig, form: &CommandForm) -> Vec<String> {
    match form {
        CommandForm::Exec(words) => words.iter().map(|word| word.text.clone()).collect(),
        CommandForm::Shell(line) => with_shell(config, &line.text),
    }
}

/// A line for the shell, as arguments.
pub(super) fn with_shell(config: &ImageConfig, line: &str) -> Vec<String> {
    let default: &[&str] = if config.os == "windows" { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
    let shell = &config.config.shell;
    let mut args = Vec::with_capacity(default.len().max(shell.len()) + 1);
    match shell.is_empty() {
        true => args.extend(default.iter().map(|&word| word.to_owned())),
        false => args.extend_from_slice(shell),
    }
    args.push(line.to_owned());
    args
}
