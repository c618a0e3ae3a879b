//! ENV: variables of the steps that follow and of containers.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::{StageState, Step};
use kiln_dockerfile::ast::Pairs;
use std::collections::{HashMap, HashSet};

/// All pairs see the environment as it was before the instruction.
pub(super) fn lower(step: &mut Step<'_>, pairs: &Pairs) -> Result<(), LowerError> {
    let mut text = "ENV".to_owned();
    let mut expanded = Vec::with_capacity(pairs.pairs.len());
    for (name, value) in &pairs.pairs {
        expanded.push((step.expand(name)?, step.expand(value)?));
    }
    let StageState { env: known, config, .. } = &mut *step.stage;
    let env = &mut config.config.env;
    // What the config has the stage's environment has too: a name that is new there need not be looked for.
    let mut places: HashMap<String, usize> = HashMap::new();
    let again: HashSet<&str> =
        expanded.iter().map(|(name, _)| name.as_str()).filter(|name| known.get(name).is_some()).collect();
    if !again.is_empty() {
        for (place, name) in env.iter().map(|pair| name_of(pair)).enumerate().filter(|(_, name)| again.contains(name)) {
            // Of a name that the base image has twice, the first counts.
            places.entry(name.to_owned()).or_insert(place);
        }
    }
    for (name, value) in expanded {
        let pair = format!("{name}={value}");
        text.push_str(&format!(" {pair}"));
        known.set(&name, &value);
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
