//! ARG: makes an argument visible in the stage, as a variable of its environment that the image does not keep.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Arg;

/// Arguments for the builder, which steps do not see.
const NOT_IN_ENVIRONMENT: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// A build argument goes before the default, the default before the global argument of that name. Without any of them the
/// argument is declared but not set, and a variable of ENV of that name stays.
pub(super) fn lower(step: &mut Step<'_>, args: &[Arg]) -> Result<(), LowerError> {
    let mut text = "ARG".to_owned();
    for arg in args {
        let name = &arg.name.text;
        let value = match (step.build.options.build_args.get(name), &arg.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(step.expand(default)?),
            (None, None) => step.build.globals.get(name).map(str::to_owned),
        };
        let inherited = arg.default.is_none() && !step.build.options.build_args.contains_key(name) && value.is_some();
        step.out.parameters.arg(name, value.as_deref(), inherited, step.command);
        text.push(' ');
        text.push_str(name);
        if let Some(value) = &value {
            text.push_str(&format!("={value}"));
            if !NOT_IN_ENVIRONMENT.contains(&name.as_str()) {
                step.stage.env.set(name, value);
            }
        }
        step.stage.args.declare(name, value);
    }
    step.record(config_only(text));
    Ok(())
}
