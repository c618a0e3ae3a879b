//! Arguments: the automatic ones, those before the first FROM, and which build arguments nobody asked for.
//!
//! Who sees what: FROM and the ARGs before it see the global ones; a stage sees an argument only after its own ARG
//! names it, and then as part of its environment, where the last of ARG and ENV that set a name wins.

use crate::env::Env;
use crate::expand::expand;
use crate::settings::is_known_undeclared;
use crate::{LowerError, Options, Warning};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::{Arg, Dockerfile, InstructionKind};
use kiln_dockerfile::words;
use std::collections::HashSet;

/// The automatic arguments, with build arguments of the same names in their place.
pub(crate) fn automatic(options: &Options, target_stage: Option<&str>) -> Env {
    let (build, target) = (&options.build_platform, &options.platform);
    let variant = |platform: &kiln_graph::Platform| platform.variant.clone().unwrap_or_default();
    let mut env = Env::default();
    for (name, value) in [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", target_stage.unwrap_or("default").to_owned()),
    ] {
        env.set(name, options.build_args.get(name).unwrap_or(&value));
    }
    env
}

/// Adds the ARGs before the first FROM to the automatic ones. Each sees those before it.
///
/// # Errors
/// A default that cannot be expanded. One that a build argument replaces is not looked at.
pub(crate) fn add_global(env: &mut Env, args: &[Arg], options: &Options, escape: char) -> Result<(), LowerError> {
    for arg in args {
        let name = &arg.name.text;
        if let Some(value) = options.build_args.get(name) {
            env.set(name, value);
        } else if let Some(default) = &arg.default {
            let value = expand(default, escape, env)?;
            env.set(name, &value);
        }
    }
    Ok(())
}

/// `SOURCE_DATE_EPOCH`, from the options, a build argument or a global ARG.
///
/// # Errors
/// A value that is not a number of seconds.
pub(crate) fn source_date_epoch(options: &Options, globals: &Env) -> Result<Option<i64>, LowerError> {
    if options.source_date_epoch.is_some() {
        return Ok(options.source_date_epoch);
    }
    let given = options.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str);
    match given.or_else(|| globals.get("SOURCE_DATE_EPOCH")) {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(seconds) if jiff::Timestamp::from_second(seconds).is_ok() => Ok(Some(seconds)),
            _ => {
                Err(LowerError::new(format!("`SOURCE_DATE_EPOCH={text}` is not a number of seconds since 1970"), None))
            }
        },
    }
}

/// A warning about build arguments that no ARG of the file names.
pub(crate) fn unused(dockerfile: &Dockerfile, options: &Options) -> Option<Warning> {
    let mut declared = HashSet::new();
    for instruction in &dockerfile.instructions {
        let inner = match &instruction.kind {
            InstructionKind::Onbuild(onbuild) => onbuild.instruction.as_deref(),
            _ => Some(instruction),
        };
        if let Some(InstructionKind::Arg(args)) = inner.map(|inner| &inner.kind) {
            // A name that holds a variable has none here, and may be any.
            let name = |arg: &Arg| words::expand_text(&arg.name.text, dockerfile.directives.escape, &|_| None);
            declared.extend(args.iter().filter_map(|arg| name(arg).ok()));
        }
    }
    let automatic = automatic(options, None);
    let left: Vec<&str> = options
        .build_args
        .keys()
        .map(String::as_str)
        .filter(|name| !declared.contains(*name) && !is_known_undeclared(name) && automatic.get(name).is_none())
        .collect();
    (!left.is_empty()).then(|| Warning {
        message: format!("one or more build-args [{}] were not consumed", left.join(" ")),
        span: None::<Span>,
    })
}
