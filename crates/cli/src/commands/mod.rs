//! The commands, one module each. A command returns its exit status or an error; it never exits by itself.

pub(crate) mod build;
pub(crate) mod cache;
mod call;
pub(crate) mod check;
pub(crate) mod du;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod internal_sync;
pub(crate) mod login;
pub(crate) mod prune;
pub(crate) mod report;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod transfer;
pub(crate) mod version;
pub(crate) mod why;

use crate::args::{Cli, Command};
use crate::error::CliError;
use crate::exit::ExitStatus;

/// Does what the command line asks for.
pub(crate) fn dispatch(cli: Cli) -> Result<ExitStatus, CliError> {
    let globals = &cli.globals;
    match cli.command {
        Command::Build(args) => build::execute(globals, *args),
        Command::Check(args) => check::execute(globals, *args),
        Command::Run(args) => run::execute(globals, *args),
        Command::Pull(args) => transfer::pull(globals, &args),
        Command::Push(args) => transfer::push(globals, &args),
        Command::Tag(args) => transfer::tag(globals, &args),
        Command::Inspect(args) => inspect::execute(globals, &args),
        Command::Login(args) => login::login(globals, args),
        Command::Logout(args) => login::logout(&args),
        Command::Images(args) => images::execute(globals, &args),
        Command::Rmi(args) => rmi::execute(globals, &args),
        Command::Du(args) => du::execute(globals, &args),
        Command::Cache(args) => cache::execute(globals, &args),
        Command::Prune(args) => prune::execute(globals, &args),
        Command::Why(args) => why::execute(globals, &args),
        Command::History(args) => history::execute(globals, &args),
        Command::Report(args) => report::execute(globals, args),
        Command::Version => version::execute(),
        Command::InternalSync => internal_sync::execute(globals),
    }
}
