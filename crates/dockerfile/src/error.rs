//! What is wrong with a Dockerfile, and where. Rendering with an excerpt is the `cli`'s.

use crate::span::Span;

/// The result of reading one part of a Dockerfile.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// One fault in a Dockerfile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What class of fault it is.
    pub kind: ErrorKind,
    /// The title: a lowercase fragment without a full stop.
    pub message: String,
    /// What the caret points at.
    pub span: Span,
    /// A few words beside the caret, when they say more than the title.
    pub label: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, span: Span, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), span, label: None, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds the nearest of `candidates` as a hint, when one is near.
    pub(crate) fn suggest<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match crate::suggest::nearest(word, candidates) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// The classes of faults.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is larger than kiln reads, or one of its lines is.
    TooLarge,
    /// No instruction at all.
    Empty,
    /// A parser directive that is repeated or has a value it cannot have.
    Directive,
    /// A keyword that no instruction has.
    UnknownInstruction,
    /// An instruction other than `ARG` before the first `FROM`.
    NoStage,
    /// Too few or too many arguments, or one that may not be empty.
    Arguments,
    /// An argument that has not the form it must have.
    Malformed,
    /// A flag that the instruction does not have.
    UnknownFlag,
    /// A flag that is repeated, or whose value is missing or wrong.
    Flag,
    /// A heredoc that is not closed, or stands where none may.
    Heredoc,
    /// A JSON list that is missing or holds something else than strings.
    Json,
    /// A field of `--mount`.
    Mount,
    /// A word that cannot be expanded: quotes, braces, modifiers, `:?`.
    Expansion,
    /// `ONBUILD` of what it may not hold.
    Trigger,
    /// A port of `EXPOSE`.
    Port,
}
