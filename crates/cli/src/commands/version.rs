//! `kiln version`.

use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::terminal;

/// Prints the same as `--version`.
pub(crate) fn execute() -> Result<ExitStatus, CliError> {
    terminal::print(concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n"))?;
    Ok(ExitStatus::SUCCESS)
}
