//! USER: who runs the steps that follow and the container. Names are looked up when something runs.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Word;

pub(super) fn lower(step: &mut Step<'_>, word: &Word) -> Result<(), LowerError> {
    let user = step.expand(word)?;
    step.record(config_only(format!("USER {user}")));
    step.stage.config.config.user = user;
    Ok(())
}
