//! `kiln report` and `kiln build --report`: a build as one page of HTML, or as a trace for a viewer of traces.
//!
//! [`lanes`] says what was done at which time, [`page`] and [`trace`] write it down. Everything comes from the [`BuildRecord`], which
//! holds no secret; what steps printed is untrusted, and becomes text in the page and nothing else.

mod chart;
mod colours;
mod lanes;
mod page;
mod step;
mod trace;

use crate::args::Globals;
use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::terminal;
use clap::Args;
use kiln_engine::BuildRecord;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Options of `kiln report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The start of an id that `kiln history` lists [default: the last build]
    #[arg(value_name = "BUILD", default_value = "", hide_default_value = true)]
    build: String,
    /// Write the page to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the times of the build to a file, as JSON for chrome://tracing or Perfetto; then a page is made only with --output
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Writes the report of a build that is over.
pub(crate) fn execute(globals: &Globals, args: ReportArgs) -> Result<ExitStatus, CliError> {
    let to_stdout = args.output.is_none() && args.trace.is_none();
    if to_stdout && io::stdout().is_terminal() {
        return Err(UsageError::new("a page of HTML would go to the terminal")
            .hint("give it a file with `--output FILE`, or a pipe")
            .into());
    }
    let reports = Reports { page: args.output, trace: args.trace };
    reports.check("--output")?;
    let session = Session::open(globals)?;
    let (_, build) = session.engine.history()?.find(&args.build)?;
    if to_stdout {
        terminal::print(&page::render(&build))?;
    }
    reports.write(&build)?;
    Ok(ExitStatus::SUCCESS)
}

/// The files in which a build is to be told.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) page: Option<PathBuf>,
    pub(super) trace: Option<PathBuf>,
}

impl Reports {
    /// Finds what would keep the files from being written once the build is over. `page` is the option that names the page.
    pub(super) fn check(&self, page: &str) -> Result<(), UsageError> {
        for (option, path) in [(page, &self.page), ("--trace", &self.trace)] {
            let Some(path) = path else { continue };
            if path.is_dir() {
                return Err(UsageError::new(format!("`{option}`: `{}` is a directory", path.display()))
                    .hint("give it the name of a file"));
            }
            if path.parent().is_some_and(|parent| parent != Path::new("") && !parent.is_dir()) {
                let message = format!("`{option}`: there is no directory for `{}`", path.display());
                return Err(UsageError::new(message));
            }
        }
        match (&self.page, &self.trace) {
            (Some(one), Some(other)) if one == other => {
                Err(UsageError::new(format!("`{page}` and `--trace` name the same file `{}`", one.display())))
            }
            _ => Ok(()),
        }
    }

    /// Removes the files of an earlier build, so that nobody takes them for this one's if it does not get that far.
    pub(super) fn remove_stale(&self) -> Result<(), CliError> {
        for path in [&self.page, &self.trace].into_iter().flatten() {
            // Never a link or a device, such as `/dev/stdout`.
            if path.symlink_metadata().is_ok_and(|file| file.is_file()) {
                fs::remove_file(path).map_err(|source| CliError::Write { path: path.clone(), source })?;
            }
        }
        Ok(())
    }

    /// Writes what was asked for.
    pub(super) fn write(&self, build: &BuildRecord) -> Result<(), CliError> {
        let write = |path: &PathBuf, text: String| {
            fs::write(path, text).map_err(|source| CliError::Write { path: path.clone(), source })
        };
        if let Some(path) = &self.page {
            write(path, page::render(build))?;
        }
        if let Some(path) = &self.trace {
            write(path, trace::render(build))?;
        }
        Ok(())
    }
}
