//! Errors as people read them, on standard error:
//!
//! ```text
//! the last output of the step:
//!   main.go:7:2: undefined: fmt
//!
//! error: process `/bin/sh -c go build` failed with exit status 1
//!   --> Dockerfile:5:1
//!    |
//!  5 | RUN go build
//!    | ^^^^^^^^^^^^ this step failed
//! caused by: …
//! hint: …
//! ```
//!
//! Every text in it may come from a registry, an image or a program, and is cleaned before it is shown.

#[cfg(test)]
mod tests;

use crate::error::{CliError, UsageError};
use crate::lints;
use crate::terminal::{self, Look, Paint};
use crate::text;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use kiln_engine::{EngineError, ErrorKind, Place};
use std::error::Error as StdError;

/// Prints an error; with everything known about it if `debug`.
pub(crate) fn print(error: &CliError, debug: bool) {
    terminal::error_bytes(render(error, Paint::stderr(), debug).as_bytes());
}

/// The error as text.
fn render(error: &CliError, paint: Paint, debug: bool) -> String {
    let mut report = Report { paint, text: String::new(), hints: Vec::new(), said: String::new() };
    match error {
        CliError::Engine(engine) => report.engine(engine),
        CliError::LoginRefused { .. } => report.simple(
            &error.to_string(),
            Some("check both; many registries want an access token in place of the password"),
        ),
        CliError::Usage(UsageError { message, hint, .. }) => report.simple(message, hint.as_deref()),
        CliError::Stdout(source) if source.kind() == std::io::ErrorKind::BrokenPipe => return String::new(),
        CliError::Cancelled(_) => report.line(Look::Failed, "cancelled", ""),
        other => {
            let text = other.to_string();
            let (message, hint) = text.split_once("\nhint: ").map_or((text.as_str(), None), |(m, h)| (m, Some(h)));
            report.simple(message, hint);
        }
    }
    report.causes(error);
    report.finish();
    if debug {
        report.text.push_str(&format!("debug: {error:?}\n"));
    }
    report.text
}

struct Report {
    paint: Paint,
    text: String,
    hints: Vec<String>,
    /// Everything said so far, so that a cause which its effect quotes is not told twice.
    said: String,
}

impl Report {
    fn engine(&mut self, error: &EngineError) {
        if error.kind == ErrorKind::Cancelled {
            self.line(Look::Failed, "cancelled", "");
            return;
        }
        if !error.log_tail.is_empty() {
            self.line(Look::Bold, "the last output of the step:", "");
            for line in &error.log_tail {
                self.text.push_str("  ");
                self.text.push_str(&text::line(line.as_bytes(), text::Escapes::None));
                self.text.push('\n');
            }
            self.text.push('\n');
        }
        if let Some(lints) = &error.lints {
            self.text.push_str(&lints::render(lints, usize::MAX, self.paint));
        }
        self.simple(&error.message, error.hint.as_deref());
        if let Some(Place { file, text, span, label }) = error.place.as_deref() {
            self.text.push_str(&excerpt(file, text, *span, label, Level::ERROR, self.paint));
        }
        if error.kind == ErrorKind::Internal && self.hints.is_empty() {
            self.hints.push("if the disk is not full, this may be a mistake in kiln; `--debug` shows more".to_owned());
        }
    }

    /// `error: message`. Hints may come as lines of the message.
    fn simple(&mut self, message: &str, hint: Option<&str>) {
        let message = self.take_hints(message);
        self.line(Look::Failed, "error", &message);
        self.said.push_str(&message);
        if let Some(hint) = hint {
            self.hints.push(text::message(hint));
        }
    }

    fn causes(&mut self, error: &CliError) {
        let mut cause = error.source();
        while let Some(error) = cause {
            let message = self.take_hints(&error.to_string());
            if !self.said.contains(&message) {
                self.line(Look::Bold, "caused by", &message);
                self.said.push('\n');
                self.said.push_str(&message);
            }
            cause = error.source();
        }
    }

    fn finish(&mut self) {
        let mut hints = std::mem::take(&mut self.hints);
        hints.dedup();
        for hint in hints {
            self.line(Look::Cached, "hint", &hint);
        }
    }

    /// A line that begins with a word in a colour; further lines are indented.
    fn line(&mut self, look: Look, word: &str, message: &str) {
        self.text.push_str(&self.paint.paint(look, word));
        if !message.is_empty() {
            self.text.push_str(": ");
            self.text.push_str(&message.trim_end().replace('\n', "\n  "));
        }
        self.text.push('\n');
    }

    /// The cleaned message without its `hint:` lines, which are kept for the end.
    fn take_hints(&mut self, message: &str) -> String {
        let message = text::message(message);
        let mut rest = Vec::new();
        for line in message.lines() {
            match line.strip_prefix("hint: ") {
                Some(hint) => self.hints.push(hint.to_owned()),
                None => rest.push(line),
            }
        }
        rest.join("\n")
    }
}

/// The lines of the Dockerfile with line numbers, and carets below what is wrong.
pub(crate) fn excerpt(
    file: &str,
    source: &str,
    (start, end): (u32, u32),
    label: &str,
    level: Level<'_>,
    paint: Paint,
) -> String {
    let start = source.floor_char_boundary(start as usize);
    let end = source.floor_char_boundary(end as usize).max(start);
    let label = text::message(label);
    let annotation = AnnotationKind::Primary.span(start..end);
    let annotation = if label.is_empty() { annotation } else { annotation.label(label) };
    let file = text::message(file);
    let snippet = Snippet::source(source).path(file).annotation(annotation);
    let group = level.no_name().primary_title("").element(snippet);
    let renderer = if paint.colours { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group]) + "\n"
}
