//! `kiln cache gc`: drops from a remote cache what builds have not used for long, and deletes what no cache of the place names.

use crate::args::Globals;
use crate::commands::build::caches;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::signals::Interrupts;
use crate::{human, terminal, values};
use clap::Args;
use kiln_engine::{CacheImport, CacheLimits, CollectedCache};
use std::time::Duration;

/// An export that takes no longer than this loses no blobs that it counts on.
const GRACE: &str = "24h";

/// Options of `kiln cache gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Which caches, as in `kiln build --cache-from`: a tag of a registry, type=local,src=DIR, or type=s3,bucket=…
    #[arg(required = true, value_name = "CACHE", value_parser = caches::import)]
    caches: Vec<Vec<CacheImport>>,
    /// Drop what no build and no step has used for so long, for instance 336h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    older_than: Option<Duration>,
    /// Drop the least recently used, until the rest is no larger
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    max_size: Option<u64>,
    /// Delete no blob that was written, or found by an export, so recently: an export that is under way counts on it
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = GRACE)]
    grace: Duration,
}

/// Collects each cache in turn.
pub(crate) fn execute(globals: &Globals, args: &GcArgs) -> Result<ExitStatus, CliError> {
    let limits = CacheLimits { older_than: args.older_than, max_size: args.max_size, grace: args.grace };
    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    for cache in args.caches.iter().flatten() {
        let collected = session.engine.collect_cache(cache, &limits, &interrupts.cancel);
        let collected = collected.map_err(|error| interrupts.error(error))?;
        terminal::print(&collected.map_or_else(|| "there is no cache yet\n".to_owned(), summary))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn summary(collected: CollectedCache) -> String {
    let CollectedCache { steps, layers, mounts, deleted } = collected;
    let dropped = match (steps, layers, mounts) {
        (0, 0, 0) => "nothing to drop\n".to_owned(),
        _ => format!(
            "dropped {}, {} and {}\n",
            human::count(steps, "step"),
            human::count(layers, "layer"),
            human::count(mounts, "cache mount")
        ),
    };
    let deleted = match deleted {
        Some((0, 0)) => String::new(),
        Some((blobs, bytes)) => format!("deleted {} of {}\n", human::count(blobs, "blob"), human::size(bytes)),
        None => "the registry deletes blobs when its owner collects garbage\n".to_owned(),
    };
    dropped + &deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped() {
        let collected = CollectedCache { steps: 2, layers: 1, mounts: 0, deleted: Some((3, 2_000_000)) };
        assert_eq!(summary(collected), "dropped 2 steps, 1 layer and 0 cache mounts\ndeleted 3 blobs of 2MB\n");
        let nothing = CollectedCache { deleted: Some((0, 0)), ..CollectedCache::default() };
        assert_eq!(summary(nothing), "nothing to drop\n");
        assert!(summary(CollectedCache::default()).ends_with("when its owner collects garbage\n"));
    }
}
