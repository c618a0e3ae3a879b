//! `kiln check`: lints a Dockerfile, as `kiln build --check` does, with the options that have a meaning for that and the rules of kiln's
//! own; and mends what can be mended without a change of the image.

use crate::args::Globals;
use crate::commands::build::contexts;
use crate::commands::call::{CheckFormat, answer_check};
use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::{human, patch, terminal, text, values};
use clap::Args;
use kiln_engine::{BuildRequest, Fixed, NamedContextSource, Rules};
use kiln_graph::Platform;
use std::env;
use std::path::PathBuf;

/// Options of `kiln check`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln check [OPTIONS] CONTEXT|FILE")]
pub(crate) struct CheckArgs {
    /// What COPY and ADD take files from: a directory, a git repository, an archive at an http(s) URL; `-` is an archive or a
    /// Dockerfile on standard input. Or a Dockerfile, whose directory it is then
    #[arg(value_name = "CONTEXT|FILE")]
    context: Vec<PathBuf>,

    /// The Dockerfile, also at an http(s) URL; `-` reads it from standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Look at this stage and those that it needs [default: all stages]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// The value of an ARG; without a value, that of the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Another context, for COPY --from, RUN --mount=from and FROM: a directory, oci-layout://DIR[:TAG][@DIGEST],
    /// docker-image://REFERENCE, a git repository or a file at an http(s) URL
    #[arg(long = "build-context", value_name = "NAME=CONTEXT", value_parser = contexts::named)]
    build_contexts: Vec<(String, NamedContextSource)>,
    /// The platforms to build for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',', value_parser = values::platform)]
    platform: Vec<Platform>,
    /// Mend the Dockerfile, as far as its image stays what it is
    #[arg(long)]
    fix: bool,
    /// Print what --fix changes as a patch; without --fix, leave the file alone
    #[arg(long)]
    diff: bool,
    /// How to print what is found
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: CheckFormat,
}

/// Lints a Dockerfile, and mends it if asked to.
pub(crate) fn execute(globals: &Globals, mut args: CheckArgs) -> Result<ExitStatus, CliError> {
    if args.diff && args.format != CheckFormat::Text {
        let error = UsageError::new("`--diff` prints a patch, and takes no `--format`");
        return Err(error.hint("run `kiln check` once for each").into());
    }
    if let ([path], None) = (&args.context[..], &args.file)
        && path.is_file()
    {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).map(PathBuf::from);
        args.file = args.context.pop();
        args.context.push(directory.unwrap_or_else(|| PathBuf::from(".")));
    }
    let (context, dockerfile) = contexts::main_context("check", &args.context, args.file)?;
    let request = BuildRequest {
        dockerfile,
        target: args.target.filter(|target| !target.is_empty()),
        build_args: values::environment("--build-arg", &args.build_args)?.into_iter().collect(),
        contexts: args.build_contexts.into_iter().collect(),
        platforms: args.platform,
        ..BuildRequest::new(context)
    };
    let session = Session::open(globals)?;
    if !args.fix && !args.diff {
        return answer_check(session.engine.check(&request, Rules::All)?, args.format, false);
    }
    let fixed = session.engine.fix(&request)?;
    if args.fix && fixed.is_changed() {
        fixed.write()?;
        tell(&fixed);
    }
    if !args.diff {
        return answer_check(fixed.check, args.format, false);
    }
    let current = env::current_dir().and_then(|current| current.canonicalize()).unwrap_or_default();
    terminal::print(&patch::unified(&fixed.path, &current, &fixed.before, &fixed.after))?;
    match fixed.check.error.filter(|error| error.lints.is_none()) {
        Some(error) => Err(error.into()),
        None if fixed.mended.is_empty() || args.fix => Ok(ExitStatus::SUCCESS),
        None => Ok(ExitStatus::FAILED),
    }
}

/// Says what was mended.
fn tell(fixed: &Fixed) {
    let findings = human::count(fixed.mended.len() as u64, "finding");
    terminal::error_line(&format!("mended {findings} in {}:", text::message(&fixed.check.lints.file)));
    for (rule, title) in &fixed.mended {
        terminal::error_line(&format!("  {rule}: {title}"));
    }
}
