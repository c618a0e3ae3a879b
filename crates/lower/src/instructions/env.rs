//! ENV: variables of the steps that follow and of containers.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Pairs;

/// All pairs see the environment as it was before the instruction.
pub(super) fn lower(step: &mut Step<'_>, pairs: &Pairs) -> Result<(), LowerError> {
    let mut text = "ENV".to_owned();
    let mut expanded = Vec::with_capacity(pairs.pairs.len());
    for (name, value) in &pairs.pairs {
        expanded.push((step.expand(name)?, step.expand(value)?));
    }
    for (name, value) in expanded {
        let pair = format!("{name}={value}");
        text.push_str(&format!(" {pair}"));
        step.stage.env.set(&name, &value);
        let env = &mut step.stage.config.config.env;
        let is_it = |other: &&mut String| {
            other.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        match env.iter_mut().find(is_it) {
            Some(place) => *place = pair,
            None => env.push(pair),
        }
    }
    step.record(config_only(text));
    Ok(())
}
