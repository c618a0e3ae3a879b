//! `kiln prune`: frees disk space. Asks first, unless told not to.

use crate::args::Globals;
use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::{human, terminal};
use clap::Args;
use kiln_engine::{PruneRequest, Pruned};
use std::io::{self, BufRead, IsTerminal};

/// Options of `kiln prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove everything that is not in use at this moment: caches of recent builds and cache mounts, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Prunes the store.
pub(crate) fn execute(globals: &Globals, args: &PruneArgs) -> Result<ExitStatus, CliError> {
    if !args.force {
        confirm(args.all)?;
    }
    let session = Session::open(globals)?;
    let pruned = session.engine.prune(PruneRequest { all: args.all })?;
    terminal::print(&summary(&pruned))?;
    Ok(ExitStatus::SUCCESS)
}

fn summary(pruned: &Pruned) -> String {
    let counts = [
        (pruned.images, "image"),
        (pruned.layers, "layer"),
        (pruned.mounts, "cache mount"),
        (pruned.blobs, "blob"),
        (pruned.records, "record"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, noun)| human::count(*count, noun)).collect();
    match counts.is_empty() {
        true => "nothing to remove\n".to_owned(),
        false => format!("removed {}\nfreed {}\n", counts.join(", "), human::size(pruned.bytes)),
    }
}

/// Asks on the terminal. Where nobody can answer, that is a mistake on the command line.
fn confirm(all: bool) -> Result<(), CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(UsageError::new(
            "`kiln prune` asks before it removes anything, and standard input is not a terminal",
        )
        .hint("`kiln prune --force` does not ask")
        .into());
    }
    let what = if all {
        "this removes all build caches, all cache mounts, and everything that no named image needs"
    } else {
        "this removes the build caches and layers that no image needs"
    };
    terminal::error_bytes(format!("{what}\ncontinue? [y/N] ").as_bytes());
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(CliError::Stdin)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(CliError::Declined) }
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
