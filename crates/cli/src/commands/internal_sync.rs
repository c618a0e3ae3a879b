//! `kiln internal-sync`: started in the background by a command that wrote something, so that nobody waits for the disk.

use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::paths;
use kiln_engine::{Engine, Settings};
use kiln_registry::Config;

/// Makes what is in the store durable.
pub(crate) fn execute(globals: &Globals) -> Result<ExitStatus, CliError> {
    let root = paths::root(globals)?;
    // A store that was removed in the meantime must not come back.
    if root.is_dir() {
        Engine::open(Settings { root, registries: Config::default() })?.sync()?;
    }
    Ok(ExitStatus::SUCCESS)
}
