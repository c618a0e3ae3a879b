//! The command line as a whole: global options and the list of commands. Each command's own options are beside the command.

use crate::commands::{
    build, cache, check, du, history, images, inspect, login, prune, report, rmi, run, transfer, why,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Build, run and keep container images, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, args_override_self = true)]
#[command(arg_required_else_help = true, subcommand_required = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Where kiln keeps images, caches and layers [env: KILN_ROOT] [default: /var/lib/kiln for root,
    /// otherwise $XDG_DATA_HOME/kiln]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for root, otherwise
    /// $XDG_CONFIG_HOME/kiln/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Show errors with everything that is known about their causes
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Lint a Dockerfile
    Check(Box<check::CheckArgs>),
    /// Run a program in an image
    Run(Box<run::RunArgs>),
    /// Pull images from their registries
    Pull(transfer::TransferArgs),
    /// Push images to their registries
    Push(transfer::TransferArgs),
    /// Give an image further names
    Tag(transfer::TagArgs),
    /// Show what an image is
    Inspect(inspect::InspectArgs),
    /// Store the credentials of a registry
    Login(login::LoginArgs),
    /// Remove the credentials of a registry
    Logout(login::LogoutArgs),
    /// List images
    Images(images::ImagesArgs),
    /// Remove images
    Rmi(rmi::RmiArgs),
    /// Show what takes up disk space
    Du(du::DuArgs),
    /// List and remove cache mounts; write, read and tidy caches of other machines
    Cache(cache::CacheArgs),
    /// Remove what no image needs
    Prune(prune::PruneArgs),
    /// Tell why the steps of a build ran
    Why(why::WhyArgs),
    /// List the builds that kiln remembers
    History(history::HistoryArgs),
    /// Write a page about a build: its times, reasons, sizes and logs
    Report(report::ReportArgs),
    /// Show the version
    Version,
    /// Make what earlier commands wrote durable; started by kiln in the background
    #[command(hide = true)]
    InternalSync,
}
