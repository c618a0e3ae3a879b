//! CMD: what a container runs, or the arguments of its ENTRYPOINT.

use crate::LowerError;
use crate::history::{config_only, quoted_list};
use crate::instructions::shell::command_line;
use crate::stage::Step;
use kiln_dockerfile::ast::CommandForm;

pub(super) fn lower(step: &mut Step<'_>, form: &CommandForm) -> Result<(), LowerError> {
    let args = command_line(&step.stage.config, form);
    step.record(config_only(format!("CMD {}", quoted_list(&args))));
    step.stage.cmd_set = true;
    let config = &mut step.stage.config.config;
    config.cmd = args;
    // Docker's clients on Windows look at it; it says nothing on Linux, but BuildKit writes it.
    config.args_escaped = true;
    Ok(())
}
