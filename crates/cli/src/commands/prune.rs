//! `kiln prune`: frees disk space. Asks first, unless told not to.

use crate::args::Globals;
use crate::confirm;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::{human, terminal};
use clap::Args;
use kiln_engine::{PruneRequest, Pruned};

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
        confirm::ask(
            "kiln prune",
            match args.all {
                true => "this removes all build caches, all cache mounts, and everything that no named image needs",
                false => "this removes the build caches and layers that no image needs",
            },
        )?;
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
