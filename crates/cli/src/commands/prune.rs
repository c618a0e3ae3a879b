//! `kiln prune`: frees disk space. Asks first, unless told not to.

use crate::args::Globals;
use crate::confirm;
use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::{human, terminal, values};
use clap::Args;
use kiln_engine::{PruneRequest, Pruned};
use std::time::Duration;

/// Options of `kiln prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove everything that is not in use at this moment: caches of recent builds, cache mounts, and what is remembered of
    /// builds, too
    #[arg(short, long)]
    all: bool,
    /// With --all: keep the cache mounts
    #[arg(long)]
    keep_mounts: bool,
    /// Remove only what matches: until=DURATION, what was not used for so long, for instance until=24h
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    filter: Option<Duration>,
    /// Remove the least recently used, and only so much that the store takes up no more than this
    #[arg(long, aliases = ["keep-storage", "reserved-space"], value_name = "BYTES", value_parser = values::size)]
    max_used_space: Option<u64>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// One `--filter`. Docker's other filters are about things that kiln does not have.
fn filter(text: &str) -> Result<Duration, UsageError> {
    match text.split_once('=') {
        Some(("until" | "unused-for", age)) => values::duration(age),
        _ => {
            Err(UsageError::new(format!("unknown filter `{text}`"))
                .hint("expected `until=DURATION`, such as `until=24h`"))
        }
    }
}

/// Prunes the store.
pub(crate) fn execute(globals: &Globals, args: &PruneArgs) -> Result<ExitStatus, CliError> {
    if args.keep_mounts && !args.all {
        return Err(UsageError::new("`--keep-mounts` needs `--all`")
            .hint("without `--all` cache mounts are kept anyway")
            .into());
    }
    if !args.force {
        confirm::ask("kiln prune", &format!("this removes {}{}", what(args), limit(args)))?;
    }
    let session = Session::open(globals)?;
    let pruned = session.engine.prune(PruneRequest {
        all: args.all,
        keep_mounts: args.keep_mounts,
        older_than: args.filter,
        max_size: args.max_used_space,
    })?;
    terminal::print(&summary(&pruned))?;
    Ok(ExitStatus::SUCCESS)
}

fn what(args: &PruneArgs) -> &'static str {
    match (args.all, args.keep_mounts) {
        (true, false) => {
            "all build caches, all cache mounts, the history of builds, and everything that no named image needs"
        }
        (true, true) => {
            "all build caches, the history of builds, and everything that no named image needs, but no cache mounts"
        }
        (false, _) => "the build caches and layers that no image needs",
    }
}

fn limit(args: &PruneArgs) -> String {
    let mut limit = String::new();
    if let Some(age) = args.filter {
        limit.push_str(&format!(", as far as it was not used for {}", human::duration(age)));
    }
    if let Some(size) = args.max_used_space {
        limit.push_str(&format!(", until the store takes up no more than {}", human::size(size)));
    }
    limit
}

fn summary(pruned: &Pruned) -> String {
    let counts = [
        (pruned.images, "image"),
        (pruned.layers, "layer"),
        (pruned.mounts, "cache mount"),
        (pruned.blobs, "blob"),
        (pruned.records, "record"),
        (pruned.builds, "remembered build"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, noun)| human::count(*count, noun)).collect();
    match counts.is_empty() {
        true => "nothing to remove\n".to_owned(),
        false => format!("removed {}\nfreed {}\n", counts.join(", "), human::size(pruned.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_went() {
        assert_eq!(summary(&Pruned::default()), "nothing to remove\n");
        let pruned = Pruned { layers: 2, mounts: 1, bytes: 12_300_000, ..Pruned::default() };
        assert_eq!(summary(&pruned), "removed 2 layers, 1 cache mount\nfreed 12.3MB\n");
    }
}
