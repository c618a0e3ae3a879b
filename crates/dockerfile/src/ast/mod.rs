//! What a Dockerfile says, before any variable is expanded.
//!
//! Owns the types that [`parse`](crate::parse) gives. Texts are as BuildKit's parser sees them: continuations joined, comment
//! lines inside them dropped, quotes and `$` still there. Every [`Word`] is expanded later, by [`words`](crate::words), with the
//! environment that `lower` knows; [`words::EXPANSION`](crate::words::EXPANSION) says which ones and how. Stages are `lower`'s.
//!
//! Invariants: every span lies within the text that was parsed; instructions are in the order of the file and do not overlap.

mod commands;
mod files;

pub use commands::{CommandForm, Healthcheck, HealthcheckProbe, MountFlag, Network, Onbuild, Run, RunScript, Security};
pub use files::{Add, Copy, Heredoc, Source};

use crate::span::{Span, Spanned};

/// A whole Dockerfile.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Dockerfile {
    /// What the comments at the very top ask of the parser.
    pub directives: Directives,
    /// All instructions in the order of the file.
    pub instructions: Vec<Instruction>,
}

/// The parser directives (`# name=value` lines before anything else).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directives {
    /// `syntax`: the frontend asked for, such as `docker/dockerfile:1`.
    pub syntax: Option<Spanned<String>>,
    /// `escape`: a backslash unless a directive says backtick.
    pub escape: char,
    /// `check`: the lint options, unparsed: [`rules::Options`](crate::rules::Options) reads them.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// One instruction, from its keyword to the end of its last line or heredoc.
#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    /// What it is, with its arguments.
    pub kind: InstructionKind,
    /// The keyword as written (`run`, `RUN`).
    pub keyword: Spanned<String>,
    /// The whole of it, continuation lines and heredocs included, the last line break excluded.
    pub span: Span,
    /// The text on one line, trimmed, as progress and history show it: `RUN go build -o app`. Heredoc bodies are not in it.
    pub original: String,
    /// The comment lines directly above, without `#` and outer blanks: the description of a stage or an argument in an outline.
    pub comments: Vec<String>,
    /// The first empty line between its continuation lines, which a lint warns of.
    pub gap: Option<Span>,
}

/// The instructions of the language.
#[derive(Clone, PartialEq, Debug)]
pub enum InstructionKind {
    /// `ADD`
    Add(Add),
    /// `ARG`, one or several to a line.
    Arg(Vec<Arg>),
    /// `CMD`
    Cmd(CommandForm),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandForm),
    /// `ENV`
    Env(Pairs),
    /// `EXPOSE`: words such as `80`, `80/udp`, `8000-8010`, `$PORT`; each may expand to several.
    /// Sorted by text, as BuildKit does, which the history shows. See [`ports`](crate::ports).
    Expose(Vec<Word>),
    /// `FROM`
    From(From),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Pairs),
    /// `MAINTAINER`: not expanded.
    Maintainer(Word),
    /// `ONBUILD`
    Onbuild(Onbuild),
    /// `RUN`
    Run(Run),
    /// `SHELL`: always a JSON list; not expanded.
    Shell(Vec<Word>),
    /// `STOPSIGNAL`
    StopSignal(Word),
    /// `USER`
    User(Word),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `WORKDIR`
    Workdir(Word),
}

impl InstructionKind {
    /// The keyword in capitals.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::From(_) => "FROM",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A piece of text with quotes, escapes and `$` as written. From a JSON list it is the decoded string.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Word {
    /// The text, unexpanded.
    pub text: String,
    /// Where it stands; over several lines when a continuation cuts it.
    pub span: Span,
}

impl Word {
    /// Pairs a text with its place.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span }
    }
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// An image reference, `scratch`, the name of an earlier stage or of a context.
    pub image: Word,
    /// The stage's name as written; BuildKit compares names in lower case, see [`From::stage_name`].
    pub alias: Option<Spanned<String>>,
    /// The word between image and name as written (`AS`, `as`), for the lint about its casing.
    pub as_keyword: Option<Spanned<String>>,
}

impl From {
    /// The stage's name in lower case, as it is looked up.
    pub fn stage_name(&self) -> Option<String> {
        self.alias.as_ref().map(|alias| alias.value.to_lowercase())
    }
}

/// One `NAME` or `NAME=DEFAULT` of `ARG`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arg {
    /// The name. BuildKit expands it too.
    pub name: Word,
    /// The default; `Some` of an empty word for `NAME=`.
    pub default: Option<Word>,
}

/// The pairs of `ENV` and `LABEL`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pairs {
    /// Keys and values in order, both to be expanded.
    pub pairs: Vec<(Word, Word)>,
    /// Whether it was `ENV name value…`, without `=`: one pair, its value the rest of the line.
    pub legacy: bool,
}
