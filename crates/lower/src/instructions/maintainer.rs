//! MAINTAINER: who made the image.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Word;

pub(super) fn lower(step: &mut Step<'_>, word: &Word) -> Result<(), LowerError> {
    step.stage.config.author.clone_from(&word.text);
    step.record(config_only(format!("MAINTAINER {}", word.text)));
    Ok(())
}
