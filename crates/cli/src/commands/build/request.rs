//! The request that the arguments of `kiln build` describe. What can be wrong with them on this machine is found here, before
//! anything is built: contexts that do not exist, archives that would go to a terminal.

use super::args::BuildArgs;
use super::{attest, contexts, output, ssh, steps};
use crate::docker_host;
use crate::error::{CliError, UsageError};
use crate::values;
use kiln_engine::{
    AnnotationPlace, AutoCacheMode, BuildRequest, Destination, DockerfileSource, ImageOutput, NoCache, Output, Push,
};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// No Dockerfile is as large as this many bytes.
pub(super) const DOCKERFILE_LIMIT: u64 = 16 << 20;

/// Makes the request. Reads standard input if the Dockerfile comes from there.
pub(super) fn make(args: BuildArgs) -> Result<BuildRequest, CliError> {
    let attestations = attest::all(args.attestations.into_iter().chain(args.provenance).chain(args.sbom).collect())?;
    let annotations = args.annotations.into_iter().flatten().collect();
    let outputs = output::all(args.outputs, args.push, args.load, annotations, docker_host::address)?;
    if attestations.any() && outputs.iter().filter_map(Output::image).any(|image| image.docker_media_types) {
        return Err(UsageError::new("`oci-mediatypes=false` leaves no place for attestations")
            .hint("leave it out, or `--attest`, `--provenance` and `--sbom`")
            .into());
    }
    check_outputs(&outputs, args.quiet, io::stdout().is_terminal())?;
    check_names(&outputs, &args.tags)?;
    let build_args = build_args(&args.build_args)?;
    if args.platform.len() < 2 && !build_args.contains_key("BUILDKIT_MULTI_PLATFORM") {
        check_annotations(&outputs)?;
    }
    let (context, dockerfile) = contexts::main_context("build", &args.context, args.file)?;
    if args.no_cache_mounts && !args.no_cache && args.no_cache_filter.is_empty() {
        return Err(UsageError::new("`--no-cache-mounts` says what steps that run again find in their cache mounts")
            .hint("add `--no-cache` or `--no-cache-filter STAGE`")
            .into());
    }
    let mut agents = args.steps.ssh;
    // As with buildx, whoever names a repository to be reached by SSH lends their own agent.
    if agents.is_empty() && contexts::is_ssh(&context) {
        agents.extend(ssh::own());
    }
    let ssh = ssh::open(agents)?;
    Ok(BuildRequest {
        context,
        dockerfile,
        target: args.target.filter(|target| !target.is_empty()),
        build_args,
        labels: values::labels(&args.labels)?,
        contexts: args.build_contexts.into_iter().collect::<BTreeMap<_, _>>(),
        tags: args.tags,
        platforms: args.platform,
        no_cache: match args.no_cache {
            true => NoCache::All,
            false if args.no_cache_filter.is_empty() => NoCache::No,
            false => NoCache::Stages(args.no_cache_filter),
        },
        auto_cache: auto_cache(args.auto_cache)?,
        no_cache_mounts: args.no_cache_mounts,
        pull: args.pull,
        entitlements: steps::entitlements(&args.steps.allow),
        network: args.steps.network,
        extra_hosts: args.steps.add_hosts,
        shm_size: args.steps.shm_size,
        ulimits: args.steps.ulimits,
        cgroup_parent: args.steps.cgroup_parent,
        resources: args.steps.resources.resources()?,
        secrets: args.steps.secrets.into_iter().map(|secret| (secret.id, secret.source)).collect(),
        ssh,
        attestations,
        outputs,
        cache_from: args.cache_from.into_iter().flatten().collect(),
        cache_to: args.cache_to.into_iter().flatten().collect(),
    })
}

/// The mode for `--auto-cache` and `KILN_AUTO_CACHE`.
fn auto_cache(option: Option<AutoCacheMode>) -> Result<AutoCacheMode, UsageError> {
    let variable = std::env::var("KILN_AUTO_CACHE").ok().filter(|value| !value.is_empty());
    match (option, variable) {
        (Some(mode), _) => Ok(mode),
        (None, None) => Ok(AutoCacheMode::default()),
        (None, Some(value)) => values::auto_cache(&value).map_err(|_| {
            UsageError::new(format!("unknown mode `{value}` in the environment variable `KILN_AUTO_CACHE`"))
                .hint("expected `off`, `safe` or `all`")
        }),
    }
}

/// `--build-arg`, and `SOURCE_DATE_EPOCH` of the environment, as `docker buildx` passes it on.
fn build_args(texts: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    let inherited = values::environment("--build-arg", &["SOURCE_DATE_EPOCH".to_owned()])?;
    Ok(inherited
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .chain(values::environment("--build-arg", texts)?)
        .collect())
}

/// The Dockerfile on standard input.
pub(super) fn dockerfile_text(stdin: &mut dyn Read) -> Result<DockerfileSource, CliError> {
    let mut bytes = Vec::new();
    stdin.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes).map_err(CliError::Stdin)?;
    if bytes.len() as u64 > DOCKERFILE_LIMIT {
        return Err(UsageError::new("the Dockerfile on standard input is larger than 16 MiB").into());
    }
    let text = kiln_dockerfile::decode(bytes).map_err(|error| {
        UsageError::new(format!("the Dockerfile on standard input is {error}")).hint("save it as UTF-8")
    })?;
    Ok(DockerfileSource::Text { name: "Dockerfile".to_owned(), text })
}

/// Refuses what could only go wrong after the build.
fn check_outputs(outputs: &[Output], quiet: bool, stdout_is_terminal: bool) -> Result<(), UsageError> {
    let to_stdout = outputs.iter().filter(|output| destination(output) == Some(&Destination::Stdout)).count();
    if to_stdout > 1 {
        return Err(UsageError::new("more than one output goes to standard output").hint("give all but one a `dest`"));
    }
    if to_stdout == 1 && stdout_is_terminal {
        return Err(
            UsageError::new("an archive would go to the terminal").hint("give it a file with `dest=FILE`, or a pipe")
        );
    }
    if to_stdout == 1 && quiet {
        return Err(UsageError::new("`--quiet` prints the image id on standard output, where the archive goes")
            .hint("`--progress=quiet` prints nothing, and `--iidfile FILE` writes the id"));
    }
    for output in outputs {
        match (output, destination(output)) {
            (Output::Local { dest, .. }, _) | (_, Some(Destination::Directory(dest)))
                if is_other_than_directory(dest) =>
            {
                return Err(UsageError::new(format!(
                    "the destination `{}` is a file, not a directory",
                    dest.display()
                )));
            }
            (_, Some(Destination::File(dest))) if dest.is_dir() => {
                return Err(UsageError::new(format!("the destination `{}` is a directory", dest.display()))
                    .hint("give it the name of a file"));
            }
            (_, Some(Destination::File(dest)))
                if dest.parent().is_some_and(|parent| parent != Path::new("") && !parent.is_dir()) =>
            {
                return Err(UsageError::new(format!("there is no directory for the destination `{}`", dest.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_other_than_directory(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_dir())
}

fn destination(output: &Output) -> Option<&Destination> {
    match output {
        Output::Oci { dest, .. } | Output::Docker { dest, .. } | Output::Tar { dest, .. } => Some(dest),
        Output::Image(_) | Output::Load { .. } | Output::Local { .. } | Output::CacheOnly => None,
    }
}

/// Refuses pushes that have nowhere to go.
fn check_names(outputs: &[Output], tags: &[String]) -> Result<(), UsageError> {
    for output in outputs {
        let Output::Image(ImageOutput { push: Some(push), image, .. }) = output else { continue };
        let names = if tags.is_empty() { &image.names } else { tags };
        if names.is_empty() {
            return Err(
                UsageError::new("an image without a name cannot be pushed").hint("`--tag REGISTRY/NAME:TAG` names it")
            );
        }
        let tagged = |name: &&String| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if *push == Push::Digest
            && let Some(name) = names.iter().find(tagged)
        {
            return Err(UsageError::new(format!("`push-by-digest=true` leaves no use for the tag of `{name}`"))
                .hint("give a name without a tag"));
        }
    }
    Ok(())
}

/// Refuses annotations of an index that a build for one platform does not make.
fn check_annotations(outputs: &[Output]) -> Result<(), UsageError> {
    let annotations = outputs.iter().filter_map(Output::image).flat_map(|image| &image.annotations);
    let of_index = |place: AnnotationPlace| matches!(place, AnnotationPlace::Index | AnnotationPlace::IndexDescriptor);
    match annotations.into_iter().find(|annotation| of_index(annotation.place)) {
        Some(annotation) => Err(UsageError::new(format!(
            "`--annotation`: `{}` is for an index, and an image of one platform has none",
            annotation.key
        ))
        .hint("annotate the manifest, or build for several platforms")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str], quiet: bool, terminal: bool) -> Result<(), String> {
        let requested = texts.iter().map(|text| output::parse(text).unwrap()).collect();
        let outputs = output::all(requested, false, false, Vec::new(), || unreachable!("nothing is loaded")).unwrap();
        check_outputs(&outputs, quiet, terminal).map_err(|error| error.message)
    }

    #[test]
    fn destinations_are_checked_before_the_build() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (root, file) = (dir.path().display().to_string(), file.display().to_string());

        assert_eq!(check(&["type=oci"], false, false), Ok(()));
        assert_eq!(check(&["type=oci"], false, true), Err("an archive would go to the terminal".into()));
        assert_eq!(check(&["-", "type=oci"], false, false), Err("more than one output goes to standard output".into()));
        assert!(check(&["-"], true, false).unwrap_err().contains("`--quiet`"));
        assert_eq!(check(&[&format!("{root}/new")], false, true), Ok(()));
        assert_eq!(check(&[&root, &format!("type=tar,dest={file}")], true, true), Ok(()));
        assert!(check(&[&file], false, true).unwrap_err().contains("is a file"));
        assert!(check(&[&format!("type=oci,tar=false,dest={file}")], false, true).unwrap_err().contains("is a file"));
        assert!(check(&[&format!("type=oci,dest={root}")], false, true).unwrap_err().contains("is a directory"));
        assert!(check(&[&format!("type=oci,dest={root}/no/x.tar")], false, true).unwrap_err().contains("no directory"));
    }
}
