//! The options of `kiln build`: those of `docker buildx build` under the same names, as far as kiln has them.

use super::attest;
use super::caches;
use super::contexts;
use super::output;
use super::steps::StepArgs;
use crate::commands::call;
use crate::error::UsageError;
use crate::progress::ModeChoice;
use crate::values;
use clap::Args;
use clap::builder::BoolishValueParser;
use kiln_engine::{Annotation, AutoCacheMode, CacheExport, CacheImport, NamedContextSource};
use kiln_graph::Platform;
use std::path::PathBuf;

/// Options of `kiln build`.
#[derive(Debug, Args)]
#[command(override_usage = "kiln build [OPTIONS] CONTEXT")]
pub(crate) struct BuildArgs {
    /// What COPY and ADD take files from: a directory, a git repository, an archive at an http(s) URL; `-` is an archive or a
    /// Dockerfile on standard input
    #[arg(value_name = "CONTEXT")]
    pub(super) context: Vec<PathBuf>,

    /// The Dockerfile, also at an http(s) URL; `-` reads it from standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// A name for the image
    #[arg(short, long = "tag", value_name = "NAME[:TAG]", value_parser = values::tag)]
    pub(super) tags: Vec<String>,
    /// The stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,
    /// The value of an ARG; without a value, that of the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(super) build_args: Vec<String>,
    /// Another context, for COPY --from, RUN --mount=from and FROM: a directory, oci-layout://DIR[:TAG][@DIGEST],
    /// docker-image://REFERENCE, a git repository or a file at an http(s) URL
    #[arg(long = "build-context", value_name = "NAME=CONTEXT", value_parser = contexts::named)]
    pub(super) build_contexts: Vec<(String, NamedContextSource)>,
    /// A label of the image
    #[arg(long = "label", value_name = "NAME[=VALUE]")]
    pub(super) labels: Vec<String>,
    /// The platforms to build for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',', value_parser = values::platform)]
    pub(super) platform: Vec<Platform>,

    /// Run every step again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) no_cache: bool,
    /// Run every step of these stages again
    #[arg(long, value_name = "STAGE,...", value_delimiter = ',')]
    pub(super) no_cache_filter: Vec<String>,
    /// Empty the cache mounts of the steps that --no-cache runs again; without this they keep what they have
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) no_cache_mounts: bool,
    /// Which caches of their tools RUN steps get without an edit of the Dockerfile: none; those that no image shows; or
    /// those of the exported stage, and what a step left behind last time, as well [env: KILN_AUTO_CACHE]
    /// [default: safe]
    #[arg(long, value_name = "off|safe|all", value_parser = values::auto_cache)]
    pub(super) auto_cache: Option<AutoCacheMode>,
    /// A cache of other machines to look in: type=registry|local|s3[,ATTRIBUTE=VALUE,...], or the reference of
    /// one in a registry; of several, the first that has a step
    #[arg(long = "cache-from", value_name = "CACHE", value_parser = caches::import)]
    pub(super) cache_from: Vec<Vec<CacheImport>>,
    /// Where to leave what this build makes, cache mounts included, for other machines:
    /// type=registry|local|s3|inline[,mode=min|max][,ATTRIBUTE=VALUE,...]
    #[arg(long = "cache-to", value_name = "CACHE", value_parser = caches::export)]
    pub(super) cache_to: Vec<Vec<CacheExport>>,
    /// Ask registries again for every base image
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) pull: bool,

    /// Where the result goes: type=image|registry|oci|docker|local|tar|cacheonly[,ATTRIBUTE=VALUE,...]; a directory; or `-`
    /// [default: type=image]
    #[arg(short, long = "output", value_name = "OUTPUT", value_parser = output::parse)]
    pub(super) outputs: Vec<output::Requested>,
    /// Push the image to the registry of its name; short for --output=type=registry
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) push: bool,
    /// Load the image into the Docker daemon; short for --output=type=docker
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) load: bool,
    /// An annotation of the image: [PLACE[PLATFORM],...:]KEY=VALUE, on the manifest, manifest-descriptor, index or
    /// index-descriptor [default: manifest]
    #[arg(long = "annotation", value_name = "ANNOTATION", value_parser = output::annotation::parse)]
    pub(super) annotations: Vec<Vec<Annotation>>,
    /// What to state of the image, in its index: type=provenance|sbom[,ATTRIBUTE=VALUE,...]
    #[arg(long = "attest", value_name = "ATTESTATION", value_parser = attest::parse)]
    pub(super) attestations: Vec<attest::Requested>,
    /// How the image was made, in its index: true, false, or mode=min|max[,...]; short for --attest=type=provenance
    #[arg(long, value_name = "PROVENANCE", value_parser = attest::parse_provenance)]
    pub(super) provenance: Option<attest::Requested>,
    /// What is in the image, in its index: true or false; short for --attest=type=sbom
    #[arg(long, value_name = "SBOM", value_parser = attest::parse_sbom)]
    pub(super) sbom: Option<attest::Requested>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(super) iidfile: Option<PathBuf>,
    /// Write the digests and names of the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) metadata_file: Option<PathBuf>,
    /// Write a page about the build to a file, whatever becomes of it: its times, reasons, sizes and logs, as HTML
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Write the times of the build to a file, as JSON for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,

    /// What to do: build, or check, outline or targets, which tell of the Dockerfile; [,format=text|json]
    /// [,ignorestatus=BOOL] [default: build]
    #[arg(long, value_name = "METHOD", value_parser = call::parse)]
    pub(super) call: Option<call::Call>,
    /// Lint the Dockerfile instead of building it; short for --call=check
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) check: bool,

    /// How to show progress [env: BUILDKIT_PROGRESS] [default: auto]
    #[arg(long, value_name = "MODE")]
    pub(super) progress: Option<ModeChoice>,
    /// Show nothing but the image id
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) steps: StepArgs,
}

impl BuildArgs {
    /// What to do instead of building, if anything.
    pub(super) fn call(&self) -> Result<Option<call::Call>, UsageError> {
        match (self.call, self.check) {
            (Some(call), true) if call.method != call::Method::Check => {
                Err(UsageError::new("`--check` and `--call` contradict each other").hint("leave one out"))
            }
            (None, true) => Ok(Some(call::Call::check())),
            (call, _) => Ok(call.filter(|call| call.method != call::Method::Build)),
        }
    }
}
