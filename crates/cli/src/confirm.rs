//! Asking before something is removed.

use crate::error::{CliError, UsageError};
use crate::terminal;
use std::io::{self, BufRead, IsTerminal};

/// Says `what` a command does and asks on the terminal. Where nobody can answer, that is a mistake on the command line.
pub(crate) fn ask(command: &str, what: &str) -> Result<(), CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(UsageError::new(format!(
            "`{command}` asks before it removes anything, and standard input is not a terminal"
        ))
        .hint(format!("`{command} --force` does not ask"))
        .into());
    }
    terminal::error_bytes(format!("{what}\ncontinue? [y/N] ").as_bytes());
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(CliError::Stdin)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(CliError::Declined) }
}
