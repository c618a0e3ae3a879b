//! `kiln cache export` and `kiln cache import`: all that the store has into a remote cache, and all that a remote cache has into the store,
//! for pipelines in which something other than `kiln build` says when.

use crate::args::Globals;
use crate::commands::build::caches;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::progress::{self, ModeChoice, Progress};
use crate::session::Session;
use crate::signals::Interrupts;
use crate::{human, terminal};
use clap::Args;
use kiln_engine::{CacheExport, CacheImport, CancelToken, Engine, EngineError, EventSink, ImportedCache};

/// Options of `kiln cache export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to, as in `kiln build --cache-to`: type=registry,ref=…, type=local,dest=…, or type=s3,bucket=…; of cache mounts all,
    /// unless there is mounts=none or mounts=id=ID
    #[arg(required = true, value_name = "CACHE", value_parser = caches::export)]
    caches: Vec<Vec<CacheExport>>,
    #[command(flatten)]
    shown: Shown,
}

/// Options of `kiln cache import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Where from, as in `kiln build --cache-from`; of several the first counts
    #[arg(required = true, value_name = "CACHE", value_parser = caches::import)]
    caches: Vec<Vec<CacheImport>>,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
struct Shown {
    /// How to show progress [env: BUILDKIT_PROGRESS] [default: auto]
    #[arg(long, value_name = "MODE")]
    progress: Option<ModeChoice>,
    /// Show nothing but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

/// Writes each cache in turn.
pub(crate) fn export(globals: &Globals, args: &ExportArgs) -> Result<ExitStatus, CliError> {
    each(globals, &args.shown, args.caches.iter().flatten(), |engine, cache, events, cancel| {
        engine.export_cache(cache, events, cancel).map(|()| None)
    })
}

/// Reads each cache in turn.
pub(crate) fn import(globals: &Globals, args: &ImportArgs) -> Result<ExitStatus, CliError> {
    each(globals, &args.shown, args.caches.iter().flatten(), |engine, cache, events, cancel| {
        let imported = engine.import_cache(cache, events, cancel)?;
        Ok(Some(imported.map_or_else(|| "there is no cache yet\n".to_owned(), summary)))
    })
}

fn each<'a, C: 'a>(
    globals: &Globals,
    shown: &Shown,
    caches: impl Iterator<Item = &'a C>,
    act: impl Fn(&Engine, &C, &dyn EventSink, &CancelToken) -> Result<Option<String>, EngineError>,
) -> Result<ExitStatus, CliError> {
    let mode = progress::choose(shown.progress, shown.quiet)?;
    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    for cache in caches {
        let progress = Progress::start(mode)?;
        let acted = act(&session.engine, cache, &progress, &interrupts.cancel);
        progress.finish();
        let line = acted.map_err(|error| interrupts.error(error))?;
        if let Some(line) = line.filter(|_| !shown.quiet) {
            terminal::print(&line)?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn summary(imported: ImportedCache) -> String {
    let ImportedCache { steps, mounts, present, lost } = imported;
    let mut text = format!("imported {} and {}", human::count(steps, "step"), human::count(mounts, "cache mount"));
    for (count, what) in [(present, "here already"), (lost, "unusable")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_import_came_to() {
        let imported = ImportedCache { steps: 1, mounts: 2, present: 3, lost: 0 };
        assert_eq!(summary(imported), "imported 1 step and 2 cache mounts, 3 here already\n");
        let imported = ImportedCache { lost: 1, ..ImportedCache::default() };
        assert_eq!(summary(imported), "imported 0 steps and 0 cache mounts, 1 unusable\n");
    }
}
