//! VOLUME: directories that containers get a volume for. Steps do not.

use crate::history::{config_only, list};
use crate::stage::Step;
use crate::{Empty, LowerError};
use kiln_dockerfile::ast::Word;

pub(super) fn lower(step: &mut Step<'_>, words: &[Word]) -> Result<(), LowerError> {
    let mut volumes = Vec::with_capacity(words.len());
    for word in words {
        let volume = step.expand(word)?;
        if volume.is_empty() {
            return Err(LowerError::new("a volume's path is empty", word.span));
        }
        volumes.push(volume);
    }
    step.record(config_only(format!("VOLUME {}", list(&volumes))));
    step.out.volumes.extend(volumes.iter().cloned());
    step.stage.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
    Ok(())
}
