//! `kiln cache`: the directories that outlive builds, those of `RUN --mount=type=cache` and those that steps got by
//! themselves; and caches of other machines, written, read and tidied apart from builds.

mod contents;
mod gc;
mod ls;
mod rm;
mod travel;

use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use clap::{Args, Subcommand};

/// Options of `kiln cache`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, subcommand_required = true, disable_help_subcommand = true)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List cache mounts, with what uses them and how often they helped, or what a remote cache holds
    Ls(ls::LsArgs),
    /// Remove cache mounts
    Rm(rm::RmArgs),
    /// Write all steps and cache mounts of the store to a remote cache
    Export(travel::ExportArgs),
    /// Fetch all steps and cache mounts of a remote cache into the store
    Import(travel::ImportArgs),
    /// Drop what is old from a remote cache
    Gc(gc::GcArgs),
}

/// Does what was asked for.
pub(crate) fn execute(globals: &Globals, args: &CacheArgs) -> Result<ExitStatus, CliError> {
    match &args.command {
        CacheCommand::Ls(args) => ls::execute(globals, args),
        CacheCommand::Rm(args) => rm::execute(globals, args),
        CacheCommand::Export(args) => travel::export(globals, args),
        CacheCommand::Import(args) => travel::import(globals, args),
        CacheCommand::Gc(args) => gc::execute(globals, args),
    }
}

/// As many digits of an id as are shown.
const SHORT_ID: usize = 12;
