//! ARG: makes an argument visible in the stage, as a variable of its environment that the image does not keep.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Arg;

/// Arguments for the builder, which steps do not see.
const NOT_IN_ENVIRONMENT: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The history tells of defaults alone. A build argument goes before the default, the default before the global argument of that
/// name. Without any of them the argument is declared but not set, and a variable of ENV of that name stays. Names are words as
/// well, unlike those of global arguments: they are expanded before the first of them is set, each default after those before it.
pub(super) fn lower(step: &mut Step<'_>, args: &[Arg]) -> Result<(), LowerError> {
    let mut text = "ARG".to_owned();
    let names = args.iter().map(|arg| step.expand(&arg.name)).collect::<Result<Vec<_>, _>>()?;
    for (arg, name) in args.iter().zip(&names) {
        text.extend([" ", name]);
        let given = step.build.options.build_args.get(name);
        let default = match (given, &arg.default) {
            // What is wrong with a default that does not count is wrong with nothing.
            (Some(_), Some(default)) => Some(step.expand(default).unwrap_or_else(|_| default.text.clone())),
            (None, Some(default)) => Some(step.expand(default)?),
            (_, None) => None,
        };
        if let Some(default) = &default {
            text.extend(["=", default]);
        }
        let value = given.cloned().or(default).or_else(|| step.build.globals.get(name).map(str::to_owned));
        let inherited = arg.default.is_none() && given.is_none() && value.is_some();
        step.out.parameters.arg(name, value.as_deref(), inherited, step.command);
        if let Some(value) = &value
            && !NOT_IN_ENVIRONMENT.contains(&name.as_str())
        {
            step.stage.env.set(name, value);
        }
        step.stage.args.push((name.clone(), value));
    }
    step.record(config_only(text));
    Ok(())
}
