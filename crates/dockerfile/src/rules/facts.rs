//! What only a build knows, and rules may ask: what base images bring along, what steps do, what is in the context.

use crate::ast::Instruction;
use std::sync::Arc;

/// What only a build knows. All of it may be absent.
#[derive(Default)]
pub struct Facts<'a> {
    /// `--build-arg`.
    pub build_args: Vec<(String, String)>,
    /// The stages in the order of their `FROM`; those past the end are unknown.
    pub stages: Vec<StageFacts>,
    /// The text that was parsed. Without it no finding has a fix.
    pub source: &'a str,
    /// What is known of steps, in any order.
    pub steps: Vec<StepFacts>,
    /// Whether a path of the context is left out of it by the ignore file. `None` when nothing is, or when an exception (`!`) makes
    /// that unanswerable for directories.
    pub ignored: Option<&'a dyn Fn(&str) -> bool>,
    /// Whether the context has something of this name at its top that is not left out.
    pub context_holds: Option<&'a dyn Fn(&str) -> bool>,
    /// The text of a regular file of this name at its top that is not left out, if it is no larger than any list of dependencies.
    pub context_text: Option<ReadText<'a>>,
}

/// Reads a file by its name.
pub type ReadText<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Facts<'_> {
    /// What is known of a RUN.
    pub(super) fn step(&self, instruction: &Instruction) -> Option<&StepFacts> {
        self.steps.iter().find(|step| step.at == instruction.span.start)
    }
}

/// What a build knows of a stage.
#[derive(Clone, Debug, Default)]
pub struct StageFacts {
    /// The stage is not built, so that rules on its instructions keep quiet.
    pub skipped: bool,
    /// Its base image, when it has been resolved.
    pub base: Option<BaseFacts>,
}

/// What a build knows of a base image.
#[derive(Clone, Debug, Default)]
pub struct BaseFacts {
    /// The variables of its config. Stages of one image share them.
    pub env: Arc<[(String, String)]>,
    /// Whether its config sets a shell.
    pub has_shell: bool,
    /// The platforms that were expected and the one that each got, where their system or architecture differ: at most one for each
    /// platform that is built for.
    pub platform_mismatches: Vec<(String, String)>,
}

impl StageFacts {
    /// Adds what another platform of the same build knows of the stage. Of its variables nothing is taken: what the rules say of
    /// them is said once.
    pub fn add_platform(&mut self, other: Self) {
        let Some(other) = other.base else { return };
        let base = self.base.get_or_insert_default();
        for mismatch in other.platform_mismatches {
            if !base.platform_mismatches.contains(&mismatch) {
                base.platform_mismatches.push(mismatch);
            }
        }
    }
}

/// What a build knows of a RUN.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepFacts {
    /// Where its instruction begins.
    pub at: u32,
    /// What it runs, in order; nothing if that cannot be read with certainty.
    pub commands: Vec<CommandFacts>,
    /// The cache mounts that it could have and hasn't: only such as keep nothing from any later step.
    pub caches: Vec<CacheFacts>,
    /// Whether what it leaves becomes part of an image, rather than of a stage that others copy from.
    pub in_image: bool,
    /// Whether root runs it.
    pub is_root: bool,
    /// The directory that it begins in, an absolute path.
    pub cwd: String,
    /// Its environment, arguments included.
    pub env: Vec<(String, String)>,
}

/// A program that a step runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandFacts {
    /// Its name and arguments; `None` for what only the shell knows.
    pub words: Vec<Option<String>>,
    /// What a tool that is known does there: `go build`.
    pub does: Option<String>,
}

/// A cache mount that a step could have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CacheFacts {
    /// The command that it is for: `go build`.
    pub command: String,
    /// `target=`, an absolute path.
    pub target: String,
    /// `id=`, where the target alone would be shared by what does not fit together.
    pub id: Option<String>,
    /// `sharing=locked`.
    pub locked: bool,
    /// The variable that tells the tool the same place, for an `ENV` beside it.
    pub variable: Option<&'static str>,
}

impl StepFacts {
    /// The value of a variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }
}

impl CacheFacts {
    /// Whether it holds packages of the system.
    pub(super) fn is_of_system(&self) -> bool {
        ["/var/cache/", "/var/lib/"].iter().any(|start| self.target.starts_with(start))
    }
}

impl CommandFacts {
    /// The program's name, without the directories of an absolute path.
    pub(super) fn name(&self) -> &str {
        let text = self.words.first().and_then(Option::as_deref).unwrap_or_default();
        if text.starts_with('/') { text.rsplit('/').next().unwrap_or_default() } else { text }
    }

    /// Its arguments, as far as they are known.
    pub(super) fn args(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(1).flatten().map(String::as_str)
    }
}
