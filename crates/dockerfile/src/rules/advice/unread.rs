//! Which steps certainly read no variable that is nobody's own.
//!
//! A program sees all of its step's variables. Those here are known, run no script or program of the project's or of anybody else's,
//! and give a meaning to variables of certain names alone.

use crate::ast::{CommandForm, Instruction, InstructionKind, RunScript};
use crate::rules::scope::Stage;
use crate::rules::{CommandFacts, Scope, StepFacts};

/// Whether none of the programs here, nor what they call, gives the variable a meaning.
pub(super) fn is_nobodys(name: &str) -> bool {
    let theirs = ["GO", "CGO_", "CARGO", "RUST", "GIT_AUTHOR_", "GIT_COMMITTER_", "SSH_", "BASH", "LD_"];
    !theirs.iter().any(|start| name.to_ascii_uppercase().starts_with(start))
}

/// Whether a RUN of a stage that is no image reads no such variable.
pub(super) fn reads_no_variable(scope: &Scope<'_>, stage: &Stage<'_>, instruction: &Instruction) -> bool {
    let InstructionKind::Run(run) = &instruction.kind else { return false };
    let Some(step) = scope.facts.step(instruction).filter(|step| !step.in_image) else { return false };
    // What the shell itself could look at.
    let script = match run.script() {
        RunScript::Shell(text) => text,
        RunScript::Exec(_) => String::new(),
        RunScript::Shebang { .. } => return false,
    };
    let looks = ["$(", "`", "${!", "<("].iter().any(|sign| script.contains(sign));
    let is_other_shell = matches!(run.form, CommandForm::Shell(_)) && has_shell(scope, stage);
    !looks
        && !is_other_shell
        && !step.commands.is_empty()
        && !REDIRECTING.iter().any(|name| step.variable(name).is_some())
        && step.commands.iter().all(is_deaf)
}

/// Whether a stage, or one that it begins with, has its own shell, which may begin with scripts.
fn has_shell(scope: &Scope<'_>, stage: &Stage<'_>) -> bool {
    std::iter::successors(Some(stage), |stage| stage.base.map(|base| &scope.stages[base])).any(|stage| {
        stage.facts.is_some_and(|facts| facts.has_shell)
            || stage.body.iter().any(|instruction| matches!(instruction.kind, InstructionKind::Shell(_)))
    })
}

/// Variables by which other programs come to run.
const REDIRECTING: &[&str] = &[
    "AR",
    "BASH_ENV",
    "CC",
    "CXX",
    "FC",
    "GCCGO",
    "GOENV",
    "GOFLAGS",
    "LD_PRELOAD",
    "PKG_CONFIG",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

fn is_deaf(command: &CommandFacts) -> bool {
    let words: Option<Vec<&str>> = command.words.iter().map(Option::as_deref).collect();
    let Some(words) = words else { return false };
    let tools = ["-toolexec", "--toolexec", "-vettool", "--vettool", "-exec", "--exec"];
    match words.as_slice() {
        ["cd" | "mkdir" | "true" | "rm" | "chmod", ..] => true,
        ["go", "mod", "download" | "verify", ..] => true,
        ["go", "build" | "install" | "vet", rest @ ..] => {
            !rest.iter().any(|word| tools.iter().any(|tool| word.starts_with(tool)))
        }
        ["cargo", "fetch", ..] => true,
        _ => false,
    }
}

/// Whether a step is one command of these words and nothing beside it: no assignment, no redirection.
pub(super) fn is_only<'s>(step: &'s StepFacts, instruction: &Instruction) -> Option<Vec<&'s str>> {
    let InstructionKind::Run(run) = &instruction.kind else { return None };
    let CommandForm::Shell(line) = &run.form else { return None };
    let [command] = &step.commands[..] else { return None };
    let words: Vec<&str> = command.words.iter().map(Option::as_deref).collect::<Option<_>>()?;
    (run.heredocs.is_empty() && line.text.split_whitespace().eq(words.iter().copied())).then_some(words)
}
