//! The instructions, one a file: what each adds to the graph, to the image config and to the history.

mod add;
mod arg;
mod cmd;
mod copy;
mod entrypoint;
mod env;
mod expose;
mod files;
mod healthcheck;
mod label;
mod maintainer;
mod onbuild;
mod run;
mod shell;
mod stopsignal;
mod user;
mod volume;
mod workdir;

use crate::LowerError;
use crate::stage::Step;
use kiln_dockerfile::ast::InstructionKind;

/// Lowers one instruction.
///
/// # Errors
/// Whatever is wrong with it, with its place or, without one, to be placed at the whole instruction.
pub(crate) fn lower(mut step: Step<'_>) -> Result<(), LowerError> {
    let command = step.command;
    let step = &mut step;
    match &command.instruction.kind {
        InstructionKind::Add(add) => add::lower(step, add),
        InstructionKind::Arg(args) => arg::lower(step, args),
        InstructionKind::Cmd(form) => cmd::lower(step, form),
        InstructionKind::Copy(copy) => copy::lower(step, copy),
        InstructionKind::Entrypoint(form) => entrypoint::lower(step, form),
        InstructionKind::Env(pairs) => env::lower(step, pairs),
        InstructionKind::Expose(ports) => expose::lower(step, ports),
        // Stages are split at FROM, so that none stands inside of one.
        InstructionKind::From(_) => Ok(()),
        InstructionKind::Healthcheck(check) => healthcheck::lower(step, check),
        InstructionKind::Label(pairs) => label::lower(step, pairs),
        InstructionKind::Maintainer(word) => maintainer::lower(step, word),
        InstructionKind::Onbuild(onbuild) => onbuild::lower(step, onbuild),
        InstructionKind::Run(run) => run::lower(step, run),
        InstructionKind::Shell(words) => shell::lower(step, words),
        InstructionKind::StopSignal(word) => stopsignal::lower(step, word),
        InstructionKind::User(word) => user::lower(step, word),
        InstructionKind::Volume(words) => volume::lower(step, words),
        InstructionKind::Workdir(word) => workdir::lower(step, word),
    }
}
