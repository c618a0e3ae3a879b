//! `kiln check`: lints a Dockerfile, as `kiln build --check` does, with the options that have a meaning for that.

use crate::args::Globals;
use crate::commands::build::contexts;
use crate::commands::call::{self, Call, Format};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::values;
use clap::Args;
use kiln_engine::{BuildRequest, NamedContextSource};
use kiln_graph::Platform;
use std::path::PathBuf;

/// Options of `kiln check`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln check [OPTIONS] CONTEXT")]
pub(crate) struct CheckArgs {
    /// What COPY and ADD take files from: a directory, a git repository, an archive at an http(s) URL; `-` is an archive or a
    /// Dockerfile on standard input
    #[arg(value_name = "CONTEXT")]
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
    /// The platform to build for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = values::platform)]
    platform: Option<Platform>,
    /// How to print what is found
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Lints a Dockerfile.
pub(crate) fn execute(globals: &Globals, args: CheckArgs) -> Result<ExitStatus, CliError> {
    let (context, dockerfile) = contexts::main_context("check", &args.context, args.file)?;
    let request = BuildRequest {
        dockerfile,
        target: args.target.filter(|target| !target.is_empty()),
        build_args: values::environment(&args.build_args)?.into_iter().collect(),
        contexts: args.build_contexts.into_iter().collect(),
        platforms: args.platform.into_iter().collect(),
        ..BuildRequest::new(context)
    };
    call::execute(globals, &request, Call { format: args.format, ..Call::check() })
}
