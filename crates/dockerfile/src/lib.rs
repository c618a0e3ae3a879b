//! The Dockerfile language: text to instructions with spans, as BuildKit's stable frontend (`docker/dockerfile:1`) reads it.
//!
//! ```
//! let (dockerfile, errors) = kiln_dockerfile::parse("FROM golang:1.25 AS build\nRUN go build -o /app .\n");
//! assert!(errors.is_empty());
//! assert_eq!(dockerfile.instructions[1].original, "RUN go build -o /app .");
//! ```
//!
//! Owns the grammar ([`parse`] → [`ast`]), words and variables ([`words`]), the typed forms of what instructions hold after
//! expansion ([`mount`], [`ports`], [`duration`], [`size`]), and the lints ([`rules`]). Stages, arguments' values, and what
//! instructions do are `lower`'s; reading files is `sources`'; rendering errors is the `cli`'s.
//!
//! Invariants: no I/O; any text gives an answer, without panic, in time linear in its length; every span lies within the text
//! and on character boundaries.

pub mod ast;
pub mod duration;
pub mod mount;
pub mod ports;
pub mod rules;
pub mod size;
pub mod span;
pub mod words;

mod directives;
mod encoding;
mod error;
mod flags;
mod heredoc;
mod instruction;
mod json;
mod lines;
mod parser;
mod suggest;

pub use encoding::{EncodingError, decode};
pub use error::{Error, ErrorKind};
pub use flags::{FlagKind, KNOWN as FLAGS};
pub use instruction::KEYWORDS;
pub use parser::{MAX_ERRORS, MAX_FILE, MAX_LINE, parse, parse_strict, parse_trigger};
pub use span::{LineColumn, SourceMap, Span, Spanned};
pub use suggest::nearest;
