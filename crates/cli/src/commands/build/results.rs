//! What `kiln build` leaves for scripts: `--iidfile`, `--metadata-file` (with the keys that `docker buildx build` writes), the
//! image id of `--quiet`; and the line of summary for people.

use super::args::BuildArgs;
use crate::commands::images::familiar;
use crate::error::{CliError, UsageError};
use crate::terminal::{self, Look, Paint};
use crate::{human, text};
use kiln_digest::Digest;
use kiln_engine::{BuildOutcome, BuildRequest, Destination, Output};
use serde_json::{Map, Value, json};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The files and lines that were asked for.
pub(super) struct Results {
    iidfile: Option<PathBuf>,
    metadata_file: Option<PathBuf>,
    print_id: bool,
}

impl Results {
    /// What the arguments ask for.
    pub(super) fn new(args: &BuildArgs) -> Self {
        Self { iidfile: args.iidfile.clone(), metadata_file: args.metadata_file.clone(), print_id: args.quiet }
    }

    /// Removes files of an earlier build, so that nobody takes them for this one's if it fails. Finds what would keep new ones from
    /// being written once the build is over.
    pub(super) fn remove_stale(&self) -> Result<(), CliError> {
        for (option, path) in [("--iidfile", &self.iidfile), ("--metadata-file", &self.metadata_file)] {
            let Some(path) = path else { continue };
            if path.parent().is_some_and(|parent| parent != Path::new("") && !parent.is_dir()) {
                let message = format!("`{option}`: there is no directory for `{}`", path.display());
                return Err(UsageError::new(message).into());
            }
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(_) if path.is_dir() => {
                    let message = format!("`{option}`: `{}` is a directory", path.display());
                    return Err(UsageError::new(message).hint("give it the name of a file").into());
                }
                Err(error) => {
                    let message = format!("`{option}`: cannot write `{}`: {error}", path.display());
                    return Err(UsageError::new(message).into());
                }
            }
        }
        Ok(())
    }

    /// Writes everything. A build without an image has an empty id.
    pub(super) fn write(&self, outcome: &BuildOutcome) -> Result<(), CliError> {
        let id = id(outcome).map(ToString::to_string).unwrap_or_default();
        if let Some(path) = &self.iidfile {
            write(path, &id)?;
        }
        if let Some(path) = &self.metadata_file {
            write(path, &format!("{:#}\n", Value::Object(metadata(outcome))))?;
        }
        if self.print_id && !id.is_empty() {
            terminal::print(&format!("{id}\n"))?;
        }
        Ok(())
    }
}

/// The image's id: the digest of its config, or that of the index of several platforms.
fn id(outcome: &BuildOutcome) -> Option<&Digest> {
    outcome.config.as_ref().or(outcome.manifest.as_ref().map(|manifest| &manifest.digest))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|source| CliError::Write { path: path.to_owned(), source })
}

fn metadata(outcome: &BuildOutcome) -> Map<String, Value> {
    let mut metadata = Map::new();
    if let Some(config) = &outcome.config {
        metadata.insert("containerimage.config.digest".to_owned(), json!(config.to_string()));
    }
    if let Some(manifest) = &outcome.manifest {
        let digest = manifest.digest.to_string();
        let descriptor = json!({ "mediaType": manifest.media_type, "digest": digest, "size": manifest.size });
        metadata.insert("containerimage.descriptor".to_owned(), descriptor);
        metadata.insert("containerimage.digest".to_owned(), json!(digest));
    } else if let Some(config) = &outcome.config {
        // The store makes a manifest only for who asks for the bytes. A Docker daemon's own store has none either, and names the id.
        metadata.insert("containerimage.digest".to_owned(), json!(config.to_string()));
    }
    if !outcome.names.is_empty() {
        metadata.insert("image.name".to_owned(), json!(outcome.names.join(",")));
    }
    if let Some(provenance) = &outcome.provenance {
        metadata.insert("buildx.build.provenance".to_owned(), provenance.clone());
    }
    metadata.insert("buildx.build.ref".to_owned(), json!(build_ref()));
    metadata
}

/// A name for the build, in the shape of buildx's `BUILDER/NODE/ID`.
fn build_ref() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("kiln/kiln/{:013x}{:012x}", random() >> 12, random() >> 16)
}

/// Prints one line about the result.
pub(super) fn summarize(outcome: &BuildOutcome, request: &BuildRequest) {
    terminal::error_line(&summary(outcome, request, Paint::stderr()));
}

fn summary(outcome: &BuildOutcome, request: &BuildRequest, paint: Paint) -> String {
    let mut made: Vec<String> = outcome.names.iter().map(|name| familiar(name)).collect();
    made.extend(request.outputs.iter().filter_map(written));
    let id = id(outcome).map(|id| id.to_string().chars().take("sha256:".len() + 12).collect::<String>());
    if made.is_empty() && id.is_none() {
        made.push("nothing that is kept".to_owned());
    }
    made.extend(id);
    let steps = outcome.steps;
    let counts = match (steps.ran, steps.cached) {
        (0, 0) => String::new(),
        (0, _) => format!(": {}, all cached", human::count(steps.cached.into(), "step")),
        (ran, 0) => format!(": {} ran", human::count(ran.into(), "step")),
        (ran, cached) => format!(": {} ran, {cached} cached", human::count(ran.into(), "step")),
    };
    format!(
        "{} {} in {}{counts}",
        paint.paint(Look::Bold, "built"),
        text::message(&made.join(" ")),
        human::duration(outcome.duration)
    )
}

/// Where an output went, if that is a path.
fn written(output: &Output) -> Option<String> {
    match output {
        Output::Oci { dest, .. } | Output::Docker { dest, .. } | Output::Tar { dest, .. } => match dest {
            Destination::File(path) | Destination::Directory(path) => Some(path.display().to_string()),
            Destination::Stdout => None,
        },
        Output::Local { dest, .. } => Some(dest.display().to_string()),
        Output::Load { daemon, .. } => Some(format!("into {daemon}")),
        Output::CacheOnly => Some("into the cache".to_owned()),
        Output::Image(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::{ManifestDescriptor, StepCounts};
    use std::time::Duration;

    fn outcome() -> BuildOutcome {
        BuildOutcome {
            config: Some(Digest::of_bytes(b"config")),
            manifest: Some(ManifestDescriptor {
                media_type: "application/x".into(),
                digest: Digest::of_bytes(b"manifest"),
                size: 7,
            }),
            names: vec!["docker.io/library/app:latest".into(), "docker.io/library/app:2".into()],
            provenance: None,
            steps: StepCounts { ran: 1, cached: 6 },
            duration: Duration::from_millis(1234),
            lints: None,
        }
    }

    #[test]
    fn metadata_has_the_keys_of_buildx() {
        let mut metadata = metadata(&outcome());
        let build_ref = metadata.remove("buildx.build.ref").unwrap();
        assert_eq!(build_ref.as_str().unwrap().len(), "kiln/kiln/".len() + 25);
        let metadata = Value::Object(metadata);
        let digest = Digest::of_bytes(b"manifest").to_string();
        assert_eq!(
            metadata,
            json!({
                "containerimage.config.digest": Digest::of_bytes(b"config").to_string(),
                "containerimage.descriptor": {"mediaType": "application/x", "digest": digest, "size": 7},
                "containerimage.digest": digest,
                "image.name": "docker.io/library/app:latest,docker.io/library/app:2",
            })
        );
    }

    #[test]
    fn without_a_manifest_the_digest_is_the_id() {
        let metadata = metadata(&BuildOutcome { manifest: None, ..outcome() });
        assert_eq!(metadata["containerimage.digest"], metadata["containerimage.config.digest"]);
        assert!(!metadata.contains_key("containerimage.descriptor"));
    }

    #[test]
    fn the_summary_says_what_was_made() {
        let mut request = BuildRequest::new(kiln_engine::ContextSource::Empty);
        let paint = Paint { colours: false };
        let id = &Digest::of_bytes(b"config").to_string()[..19];
        assert_eq!(
            summary(&outcome(), &request, paint),
            format!("built app:latest app:2 {id} in 1.2s: 1 step ran, 6 cached")
        );
        request.outputs = vec![Output::Local { dest: "out".into(), platform_split: None }];
        let outcome = BuildOutcome {
            config: None,
            manifest: None,
            names: vec![],
            steps: StepCounts { ran: 0, cached: 2 },
            ..outcome()
        };
        assert_eq!(summary(&outcome, &request, paint), "built out in 1.2s: 2 steps, all cached");
    }
}
