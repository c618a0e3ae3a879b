//! `kiln run`: runs a program in an image, and ends as the program does.

use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::resources::{self, ResourceArgs};
use crate::session::Session;
use crate::signals::Interrupts;
use crate::{terminal, values};
use clap::Args;
use clap::builder::BoolishValueParser;
use kiln_engine::RunRequest;
use kiln_graph::Network;

/// Options of `kiln run`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub(crate) struct RunArgs {
    /// Name or id of an image, which is pulled if kiln does not have it; and what to run instead of its own command, with
    /// arguments
    // One argument, so that what follows the image is never taken for an option of kiln's.
    #[arg(value_name = "IMAGE", required = true, trailing_var_arg = true)]
    image_and_command: Vec<String>,
    /// Set an environment variable; without a value, pass on kiln's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Run this instead of the image's entrypoint; an empty one removes it
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user, and perhaps the group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The network it sees
    #[arg(long, value_name = "default|none|host", default_value = "default", value_parser = values::network)]
    network: Network,
    /// The control group below which it runs [default: /kiln if it has limits, else kiln's own]
    #[arg(long, value_name = "CGROUP", value_parser = resources::cgroup_parent)]
    cgroup_parent: Option<String>,
    #[command(flatten)]
    resources: ResourceArgs,
    /// Ask the registry again even if the image is here
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pull: bool,
    /// Nothing is ever left of the container: accepted because Docker needs it
    #[arg(long, hide = true)]
    rm: bool,
}

/// Runs the program.
pub(crate) fn execute(globals: &Globals, args: RunArgs) -> Result<ExitStatus, CliError> {
    let mut words = args.image_and_command.into_iter();
    let request = RunRequest {
        image: words.next().unwrap_or_default(),
        args: words.collect(),
        env: values::environment("--env", &args.env)?,
        entrypoint: args.entrypoint.map(|program| if program.is_empty() { Vec::new() } else { vec![program] }),
        workdir: args.workdir,
        user: args.user,
        network: args.network,
        cgroup_parent: args.cgroup_parent,
        resources: args.resources.resources()?,
        pull: args.pull,
    };
    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    let end = session.engine.run(&request, &interrupts.cancel).map_err(|error| interrupts.error(error))?;
    if let Some(how) = &end.out_of_memory {
        terminal::error_line(&format!("warning: {how}"));
    }
    // The kernel keeps eight bits of an exit status.
    Ok(ExitStatus((end.code & 0xff) as u8))
}
