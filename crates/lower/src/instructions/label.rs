//! LABEL: notes about the image.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Pairs;

pub(super) fn lower(step: &mut Step<'_>, pairs: &Pairs) -> Result<(), LowerError> {
    let mut text = "LABEL".to_owned();
    for (name, value) in &pairs.pairs {
        let (name, value) = (step.expand(name)?, step.expand(value)?);
        text.push_str(&format!(" {name}={value}"));
        step.stage.config.config.labels.insert(name, value);
    }
    step.record(config_only(text));
    Ok(())
}
