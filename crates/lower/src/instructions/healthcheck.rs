//! HEALTHCHECK: how to see whether a container works.

use crate::history::{config_only, healthcheck};
use crate::stage::Step;
use crate::{HealthConfig, LowerError};
use kiln_dockerfile::ast::{CommandForm, Healthcheck};
use std::time::Duration;

pub(super) fn lower(step: &mut Step<'_>, check: &Healthcheck) -> Result<(), LowerError> {
    let config = match check {
        Healthcheck::None => HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() },
        Healthcheck::Probe(probe) => HealthConfig {
            test: match &probe.form {
                CommandForm::Shell(line) => vec!["CMD-SHELL".to_owned(), line.text.clone()],
                CommandForm::Exec(words) => {
                    let words = words.iter().map(|word| word.text.clone());
                    std::iter::once("CMD".to_owned()).chain(words).collect()
                }
            },
            interval: nanoseconds(probe.interval),
            timeout: nanoseconds(probe.timeout),
            start_period: nanoseconds(probe.start_period),
            start_interval: nanoseconds(probe.start_interval),
            retries: probe.retries.unwrap_or(0).into(),
            ..HealthConfig::default()
        },
    };
    step.record(config_only(healthcheck(&config)));
    step.stage.config.config.healthcheck = Some(config);
    Ok(())
}

fn nanoseconds(duration: Option<Duration>) -> i64 {
    duration.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}
