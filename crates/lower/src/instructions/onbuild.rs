//! ONBUILD: an instruction for those who build on the image. It is only noted here; [`crate::onbuild`] runs the triggers.

use crate::LowerError;
use crate::stage::Step;
use kiln_dockerfile::ast::Onbuild;

/// Leaves no history entry.
pub(super) fn lower(step: &mut Step<'_>, onbuild: &Onbuild) -> Result<(), LowerError> {
    step.stage.config.config.on_build.push(onbuild.text.clone());
    Ok(())
}
