//! `kiln rmi`: takes names off images, and removes images that have none left.

use super::images::familiar;
use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::terminal;
use clap::Args;

/// Options of `kiln rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Names or ids of images
    #[arg(required = true, value_name = "NAME|ID")]
    images: Vec<String>,
}

/// Removes each image in turn; the first that cannot be removed ends the command.
pub(crate) fn execute(globals: &Globals, args: &RmiArgs) -> Result<ExitStatus, CliError> {
    let session = Session::open(globals)?;
    for name in &args.images {
        let removed = session.engine.remove_image(name)?;
        let lines = removed.iter().map(|image| format!("removed {} ({})\n", familiar(&image.name), image.id));
        terminal::print(&lines.collect::<String>())?;
    }
    Ok(ExitStatus::SUCCESS)
}
