//! `kiln pull`, `kiln push` and `kiln tag`: images between the store and registries.

use super::images::familiar;
use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::progress::{self, ModeChoice, Progress};
use crate::session::Session;
use crate::signals::Interrupts;
use crate::{terminal, values};
use clap::Args;
use kiln_engine::{CancelToken, Engine, EngineError, EventSink, PushRequest};
use kiln_graph::Platform;

/// Options of `kiln pull` and `kiln push`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Names of images
    #[arg(required = true, value_name = "NAME[:TAG]", value_parser = values::reference)]
    names: Vec<String>,
    /// The platform, of images that are for several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = values::platform)]
    platform: Option<Platform>,
    /// How to show progress [env: BUILDKIT_PROGRESS] [default: auto]
    #[arg(long, value_name = "MODE")]
    progress: Option<ModeChoice>,
    /// Show nothing but the digests
    #[arg(short, long)]
    quiet: bool,
}

/// Options of `kiln tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Name or id of an image
    #[arg(value_name = "NAME|ID")]
    source: String,
    /// Further names for it
    #[arg(required = true, value_name = "NEW[:TAG]", value_parser = values::tag)]
    names: Vec<String>,
}

/// Pulls each image in turn.
pub(crate) fn pull(globals: &Globals, args: &TransferArgs) -> Result<ExitStatus, CliError> {
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    each(globals, args, "pulled", |engine, name, events, cancel| {
        engine.pull_image(name, &platform, events, cancel).map(|pulled| pulled.digest.to_string())
    })
}

/// Pushes each image in turn.
pub(crate) fn push(globals: &Globals, args: &TransferArgs) -> Result<ExitStatus, CliError> {
    each(globals, args, "pushed", |engine, name, events, cancel| {
        let request = PushRequest { name: name.to_owned(), platform: args.platform.clone() };
        engine.push_image(&request, events, cancel).map(|manifest| manifest.digest.to_string())
    })
}

/// Gives an image further names.
pub(crate) fn tag(globals: &Globals, args: &TagArgs) -> Result<ExitStatus, CliError> {
    let session = Session::open(globals)?;
    for name in &args.names {
        session.engine.tag_image(&args.source, name)?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// Does something with each image; the first with which it fails ends the command.
fn each(
    globals: &Globals,
    args: &TransferArgs,
    done: &str,
    act: impl Fn(&Engine, &str, &dyn EventSink, &CancelToken) -> Result<String, EngineError>,
) -> Result<ExitStatus, CliError> {
    let mode = progress::choose(args.progress, args.quiet)?;
    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    for name in &args.names {
        let progress = Progress::start(mode)?;
        let acted = act(&session.engine, name, &progress, &interrupts.cancel);
        progress.finish();
        let digest = acted.map_err(|error| interrupts.error(error))?;
        let line = if args.quiet { format!("{digest}\n") } else { format!("{done} {} ({digest})\n", familiar(name)) };
        terminal::print(&line)?;
    }
    Ok(ExitStatus::SUCCESS)
}
