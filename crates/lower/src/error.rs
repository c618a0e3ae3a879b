//! What can go wrong, or look wrong, while lowering: always with a place in the Dockerfile where there is one.

use kiln_dockerfile::Span;
use std::error::Error;
use std::fmt;

/// Why a Dockerfile cannot be lowered.
#[derive(Debug)]
pub struct LowerError {
    /// Where, if it has a place in the Dockerfile.
    pub span: Option<Span>,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// A few words beside the caret, when they say more than the message.
    pub label: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// What an [`ImageResolver`](crate::ImageResolver) said, where that is the cause.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Dockerfile or the options are wrong.
    User,
    /// They are right, but kiln cannot do it.
    Unsupported,
    /// An image could not be resolved; the source says why.
    Image,
}

impl LowerError {
    /// A mistake of the Dockerfile or the options.
    pub fn new(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self {
            span: span.into(),
            message: message.into(),
            label: None,
            hint: None,
            kind: ErrorKind::User,
            source: None,
        }
    }

    /// Something that kiln cannot do.
    pub fn unsupported(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self { kind: ErrorKind::Unsupported, ..Self::new(message, span) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Points somewhere else.
    #[must_use]
    pub(crate) fn at(self, span: Span) -> Self {
        Self { span: Some(span), ..self }
    }

    /// Hints at the nearest of some names, when one is near.
    #[must_use]
    pub(crate) fn suggest<'a>(self, word: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        match kiln_dockerfile::nearest(word, names) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

impl From<kiln_dockerfile::Error> for LowerError {
    fn from(error: kiln_dockerfile::Error) -> Self {
        Self { label: error.label, hint: error.hint, ..Self::new(error.message, error.span) }
    }
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for LowerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Something that looks wrong but does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What, as people are shown it.
    pub message: String,
    /// Where, if it has a place in the Dockerfile.
    pub span: Option<Span>,
}
