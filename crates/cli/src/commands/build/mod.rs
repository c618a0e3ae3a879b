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
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::lints;
use crate::progress::{self, Progress};
use crate::session::Session;
use crate::signals::Interrupts;

/// Builds an image.
pub(crate) fn execute(globals: &Globals, args: BuildArgs) -> Result<ExitStatus, CliError> {
    if let Some(call) = args.call()? {
        return call::execute(globals, &request::make(args)?, call);
    }
    let mode = progress::choose(args.progress, args.quiet)?;
    let results = results::Results::new(&args);
    let request = request::make(args)?;
    results.remove_stale()?;

    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    let progress = Progress::start(mode)?;
    let built = session.engine.build(&request, &progress, &interrupts.cancel);
    let shown = progress.finish();
    match built {
        Ok(outcome) => {
            results.write(&outcome)?;
            if mode.summarizes() {
                if let Some(lints) = &outcome.lints {
                    lints::print(lints);
                }
                results::summarize(&outcome, &request);
            }
            Ok(ExitStatus::SUCCESS)
        }
        Err(mut error) => {
            if shown.failed_log {
                error.log_tail.clear();
            }
            Err(interrupts.error(error))
        }
    }
}
