//! The program `kiln`: arguments, progress, error messages and exit statuses around the engine.
//!
//! Nothing here knows how to build. A command turns arguments into a request, hands it to `kiln_engine`, and renders what comes
//! back: events through [`progress`], errors through [`report`]. Only this crate prints, reads environment variables, or exits.
//!
//! Results go to standard output, everything else to standard error. A build in which nothing changed has 20 ms for everything,
//! so nothing here is set up before it is needed.

mod args;
mod commands;
mod config;
mod confirm;
mod docker_host;
mod error;
mod exit;
mod human;
mod lints;
mod patch;
mod paths;
mod progress;
mod report;
mod resources;
mod session;
mod signals;
mod table;
mod terminal;
mod text;
mod usage;
mod values;

use crate::args::Cli;
use crate::exit::ExitStatus;
use clap::Parser;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let status = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_panic| {
        terminal::error_line("hint: this is a mistake in kiln; please report it with the lines above");
        ExitStatus::INTERNAL
    });
    status.into()
}

fn run() -> ExitStatus {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let debug = cli.globals.debug;
    let runs_a_program = matches!(cli.command, args::Command::Run(_));
    match commands::dispatch(cli) {
        Ok(status) => status,
        Err(error) => {
            report::print(&error, debug);
            if runs_a_program { error.run_status() } else { error.status() }
        }
    }
}
