//! EXPOSE: the ports that a container listens on.

use crate::history::{config_only, set};
use crate::stage::Step;
use crate::{Empty, LowerError};
use kiln_dockerfile::ast::Word;
use kiln_dockerfile::ports;

pub(super) fn lower(step: &mut Step<'_>, words: &[Word]) -> Result<(), LowerError> {
    let mut exposed = Vec::new();
    for word in words {
        for text in step.expand_words(word)? {
            let parsed = ports::parse(&text).map_err(|error| {
                LowerError::new(error.to_string(), word.span).hint("a port is `80`, `80/udp` or `8000-8010`")
            })?;
            exposed.extend(parsed.ports);
        }
    }
    step.record(config_only(format!("EXPOSE {}", set(&exposed))));
    step.stage.config.config.exposed_ports.extend(exposed.into_iter().map(|port| (port, Empty {})));
    Ok(())
}
