//! `kiln build`: arguments to a request, the engine's events to the progress, the outcome to files and to a line of summary.

mod args;
mod attest;
pub(super) mod caches;
pub(super) mod contexts;
pub(super) mod output;
pub(super) mod request;
mod results;
mod secret;
mod ssh;
mod steps;

pub(crate) use args::BuildArgs;

use crate::args::Globals;
use crate::commands::call;
use crate::commands::report::Reports;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::lints;
use crate::progress::{self, Progress};
use crate::report;
use crate::session::Session;
use crate::signals::Interrupts;

/// Builds an image.
pub(crate) fn execute(globals: &Globals, args: BuildArgs) -> Result<ExitStatus, CliError> {
    if let Some(call) = args.call()? {
        return call::execute(globals, &request::make(args)?, call);
    }
    let mode = progress::choose(args.progress, args.quiet)?;
    let results = results::Results::new(&args);
    let reports = Reports { page: args.report.clone(), trace: args.trace.clone() };
    reports.check("--report")?;
    let request = request::make(args)?;
    results.remove_stale()?;
    reports.remove_stale()?;

    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    let progress = Progress::start(mode)?;
    let (built, record) = session.engine.build_and_tell(&request, &progress, &interrupts.cancel);
    let shown = progress.finish();
    let reported = reports.write(&record);
    match built {
        Ok(outcome) => {
            results.write(&outcome)?;
            if mode.summarizes() {
                if let Some(lints) = &outcome.lints {
                    lints::print(lints);
                }
                results::summarize(&outcome, &request);
            }
            reported?;
            Ok(ExitStatus::SUCCESS)
        }
        Err(mut error) => {
            if shown.failed_log {
                error.log_tail.clear();
            }
            // The build's own error is the one to end with.
            if let Err(error) = reported {
                report::print(&error, globals.debug);
            }
            Err(interrupts.error(error))
        }
    }
}
