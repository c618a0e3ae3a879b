//! The terminal, if there is one: colours, size, and writing to the standard streams.
//!
//! Standard output may be closed by its reader at any time: that is an error for the caller ([`CliError::Stdout`]), never a panic.
//! What cannot be written to standard error is dropped, since there is nobody left to tell.

use crate::error::CliError;
use std::env;
use std::io::{self, IsTerminal, Write};

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// What a piece of text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Bold,
    Dim,
    Done,
    Cached,
    Failed,
    Warning,
}

/// Colours text, or leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) colours: bool,
}

impl Paint {
    /// Colours on standard error if it is a terminal and nobody said no (`NO_COLOR`, no-color.org).
    pub(crate) fn stderr() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { colours: !refused && !dumb && io::stderr().is_terminal() }
    }

    /// The text in the look. An empty text stays empty.
    pub(crate) fn paint(self, look: Look, text: &str) -> String {
        if !self.colours || text.is_empty() {
            return text.to_owned();
        }
        let code = match look {
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Done => "34",
            Look::Cached => "36",
            Look::Failed => "31",
            Look::Warning => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The size of the terminal on standard error, if it is one that moves its cursor.
pub(crate) fn stderr_size() -> Option<Size> {
    let stderr = io::stderr();
    if !stderr.is_terminal() || env::var_os("TERM").is_some_and(|value| value == "dumb") {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stderr).ok()?;
    // A terminal that does not know its size says 0.
    let or = |value: u16, default: usize| if value == 0 { default } else { usize::from(value) };
    Some(Size { columns: or(size.ws_col, 80), rows: or(size.ws_row, 24) })
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Stdout)
}

/// Writes bytes to standard error.
pub(crate) fn error_bytes(bytes: &[u8]) {
    let _nobody_to_tell = io::stderr().lock().write_all(bytes);
}

/// Writes a line to standard error.
pub(crate) fn error_line(line: &str) {
    error_bytes(format!("{line}\n").as_bytes());
}
