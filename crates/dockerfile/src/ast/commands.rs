//! Instructions that hold a command: `RUN`, `CMD`, `ENTRYPOINT`, `HEALTHCHECK`, and `ONBUILD`, which holds an instruction.

use super::{Heredoc, Instruction, Word};
use crate::span::{Span, Spanned};
use std::time::Duration;

/// A command: a line for the shell, or an argument list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandForm {
    /// Text for the shell that `SHELL` names. It may be empty (`CMD` alone).
    Shell(Word),
    /// `["program", "argument"]`, decoded.
    Exec(Vec<Word>),
}

/// `RUN [flags] command`.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// `--mount`, in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Option<Spanned<Network>>,
    /// `--security`.
    pub security: Option<Spanned<Security>>,
    /// The command line. With heredocs it is always [`CommandForm::Shell`]; [`Run::script`] puts them together.
    pub form: CommandForm,
    /// The heredocs in the order of their markers.
    pub heredocs: Vec<Heredoc>,
}

/// What a `RUN` executes, its heredocs put in place as BuildKit does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunScript {
    /// Text for the shell.
    Shell(String),
    /// An argument list, executed without a shell.
    Exec(Vec<String>),
    /// A lone heredoc that opens with `#!`: a file of this name and text, mode 0755, at `/dev/pipes/NAME`, executed itself.
    Shebang {
        /// The file's name: that of the heredoc.
        name: String,
        /// The file's text.
        text: String,
    },
}

impl Run {
    /// The command with its heredocs. Nothing in them is expanded: variables are the shell's.
    ///
    /// A command line that is nothing but one heredoc marker runs the heredoc's text. Any other command line with heredocs goes to
    /// the shell with them appended, which then reads them itself.
    pub fn script(&self) -> RunScript {
        let line = match &self.form {
            CommandForm::Exec(words) => {
                return RunScript::Exec(words.iter().map(|word| word.text.clone()).collect());
            }
            CommandForm::Shell(line) => &line.text,
        };
        let Some(first) = self.heredocs.first() else {
            return RunScript::Shell(line.clone());
        };
        if crate::heredoc::is_lone_marker(line) {
            let text = first.text();
            return if first.content.starts_with("#!") {
                RunScript::Shebang { name: first.name.clone(), text }
            } else {
                RunScript::Shell(text)
            };
        }
        let mut full = line.clone();
        for heredoc in &self.heredocs {
            full.push('\n');
            full.push_str(&heredoc.content);
            full.push_str(&heredoc.name);
        }
        RunScript::Shell(full)
    }
}

/// One `--mount=…`: its fields in order, values unexpanded. [`mount::parse`](crate::mount::parse) gives them a type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountFlag {
    /// Keys in lower case, with the value when there is a `=`.
    pub fields: Vec<(Spanned<String>, Option<Word>)>,
    /// The whole flag, from `--`.
    pub span: Span,
}

/// `RUN --network=…`
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Network {
    /// `default`: the network of the build.
    Default,
    /// `none`: loopback only.
    None,
    /// `host`: in a build with `--network=none` it needs `--allow network.host`.
    Host,
}

/// `RUN --security=…`
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Security {
    /// `sandbox`, the default.
    Sandbox,
    /// `insecure`: needs `--allow security.insecure`.
    Insecure,
}

/// `HEALTHCHECK …`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: also disables what the base image has.
    None,
    /// `HEALTHCHECK [options] CMD command`
    Probe(HealthcheckProbe),
}

/// The options and the command of a health check. An option that is absent or zero is `None`: the image's default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthcheckProbe {
    /// `--interval`
    pub interval: Option<Duration>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--start-period`
    pub start_period: Option<Duration>,
    /// `--start-interval`
    pub start_interval: Option<Duration>,
    /// `--retries`
    pub retries: Option<u32>,
    /// What is executed; not expanded.
    pub form: CommandForm,
}

/// `ONBUILD instruction`
#[derive(Clone, PartialEq, Debug)]
pub struct Onbuild {
    /// The inner instruction's text, as the image config keeps it (with its heredocs' bodies).
    pub text: String,
    /// The inner instruction; `None` when it is malformed, which only those who build on the image get to see (as in BuildKit).
    /// What an image's config holds is read by [`parse_trigger`](crate::parse_trigger).
    pub instruction: Option<Box<Instruction>>,
}
