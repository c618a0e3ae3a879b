//! ENTRYPOINT: what a container runs.

use crate::LowerError;
use crate::history::{config_only, quoted_list};
use crate::instructions::shell::command_line;
use crate::stage::Step;
use kiln_dockerfile::ast::CommandForm;

/// The CMD of a base were arguments for another program, so it goes; one of this stage stays, wherever it stands.
pub(super) fn lower(step: &mut Step<'_>, form: &CommandForm) -> Result<(), LowerError> {
    let args = command_line(&step.stage.config, form);
    step.record(config_only(format!("ENTRYPOINT {}", quoted_list(&args))));
    step.stage.config.config.entrypoint = args;
    if !step.stage.cmd_set {
        step.stage.config.config.cmd.clear();
    }
    Ok(())
}
