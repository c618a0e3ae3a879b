//! ENV: variables of the steps that follow and of containers.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Pairs;
use std::collections::HashMap;

/// All pairs see the environment as it was before the instruction.
pub(super) fn lower(step: &mut Step<'_>, pairs: &Pairs) -> Result<(), LowerError> {
    let mut text = "ENV".to_owned();
    let mut expanded = Vec::with_capacity(pairs.pairs.len());
    for (name, value) in &pairs.pairs {
        expanded.push((step.expand(name)?, step.expand(value)?));
    }
    let env = &step.stage.config.config.env;
    // Of a name that the base image has twice, the first counts.
    let mut places: HashMap<String, usize> =
        env.iter().enumerate().rev().map(|(place, pair)| (name_of(pair).to_owned(), place)).collect();
    for (name, value) in expanded {
        let pair = format!("{name}={value}");
        text.push_str(&format!(" {pair}"));
        step.stage.env.set(&name, &value);
        let env = &mut step.stage.config.config.env;
        match places.get(&name) {
            Some(&place) => env[place] = pair,
            None => {
                places.insert(name, env.len());
                env.push(pair);
            }
        }
    }
    step.record(config_only(text));
    Ok(())
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}
