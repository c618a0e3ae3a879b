//! How an image was made: the predicate of SLSA provenance v1, in the form that BuildKit gives it (BuildKit, *SLSA definitions*).
//!
//! `min` tells of the sources, the Dockerfile's name, times and the repository. `max` adds the arguments, the ids of secrets and
//! agents, the Dockerfile's text and the steps. No value of a secret is ever told, nor that of a variable whose name looks like one.

use super::image_url;
use super::options::{ProvenanceMode, ProvenanceOptions};
use super::repository::Repository;
use crate::build::Build;
use crate::build::contexts::MAIN;
use crate::export::Image;
use crate::history::HIDDEN;
use crate::request::{BuildRequest, ContextSource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::rules::is_secret_name;
use kiln_graph::{Network, Op, Platform, Source, VertexId, without_credentials};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;

const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// What is known of a build besides its images.
pub(super) struct Facts<'a> {
    build: &'a Build<'a>,
    request: &'a BuildRequest,
    options: &'a ProvenanceOptions,
    repository: Option<Repository>,
    finished: SystemTime,
    invocation: String,
}

impl<'a> Facts<'a> {
    /// Facts of a build whose steps are done.
    pub(super) fn new(build: &'a Build<'a>, request: &'a BuildRequest, options: &'a ProvenanceOptions) -> Self {
        let repository = match &request.context {
            ContextSource::Directory(directory) => Repository::of(directory),
            _ => None,
        };
        let random = || RandomState::new().build_hasher().finish();
        let invocation = format!("{:016x}{:016x}", random(), random());
        Self { build, request, options, repository, finished: SystemTime::now(), invocation }
    }

    /// The predicate about one image.
    pub(super) fn predicate(&self, image: &Image) -> Value {
        let targets: Vec<VertexId> = image.target.into_iter().collect();
        let needed = self.build.graph.reachable(&targets);
        let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
        if self.options.mode == ProvenanceMode::Max {
            internal["buildConfig"] = json!({ "steps": self.steps(&needed) });
        }
        let (materials, complete) = self.materials(&needed);
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "configSource": self.config_source(), "request": self.asked() },
                "internalParameters": internal,
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": { "id": self.options.builder_id, "version": { "kiln": env!("CARGO_PKG_VERSION") } },
                "metadata": self.metadata(&needed, complete),
            },
        })
    }

    /// Where the Dockerfile comes from.
    fn config_source(&self) -> Value {
        let mut source = json!({ "path": self.build.dockerfile.name });
        match &self.request.context {
            ContextSource::Git(tree) => {
                let reference = tree.reference.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
                source["uri"] = json!(format!("{}{reference}", without_credentials(&tree.remote)));
                if let Some(commit) = &self.build.context_commit {
                    source["digest"] = json!({ "sha1": commit });
                }
            }
            ContextSource::Http(url) => source["uri"] = json!(without_credentials(url)),
            ContextSource::Directory(_) | ContextSource::Archive(_) | ContextSource::Empty => {}
        }
        source
    }

    /// What the user asked for.
    fn asked(&self) -> Value {
        let local = matches!(self.request.context, ContextSource::Directory(_) | ContextSource::Archive(_));
        let mut asked = json!({ "frontend": "dockerfile.v0" });
        if local {
            asked["locals"] = json!([{ "name": "context" }, { "name": "dockerfile" }]);
        }
        if self.options.mode == ProvenanceMode::Min {
            return asked;
        }
        let mut arguments = Map::new();
        let shown = |name: &str, value: &str| if is_secret_name(name) { HIDDEN.to_owned() } else { value.to_owned() };
        for (name, value) in &self.request.build_args {
            arguments.insert(format!("build-arg:{name}"), json!(shown(name, value)));
        }
        for (name, value) in &self.request.labels {
            arguments.insert(format!("label:{name}"), json!(value));
        }
        if let Some(target) = &self.request.target {
            arguments.insert("target".to_owned(), json!(target));
        }
        asked["args"] = Value::Object(arguments);
        let ids =
            |ids: Vec<&String>| ids.into_iter().map(|id| json!({ "id": id, "optional": true })).collect::<Vec<_>>();
        if !self.request.secrets.is_empty() {
            asked["secrets"] = json!(ids(self.request.secrets.keys().collect()));
        }
        if !self.request.ssh.is_empty() {
            asked["ssh"] = json!(ids(self.request.ssh.keys().collect()));
        }
        asked
    }

    /// The sources of an image, each once and in order, and whether that is all it was made from.
    fn materials(&self, needed: &[VertexId]) -> (Vec<Value>, bool) {
        let mut materials: BTreeMap<String, Value> = BTreeMap::new();
        let mut complete = matches!(self.request.context, ContextSource::Git(_) | ContextSource::Empty);
        if let (ContextSource::Git(_), Some(uri)) = (&self.request.context, self.config_source().get("uri")) {
            let digest = self.build.context_commit.as_ref().map(|commit| json!({ "sha1": commit }));
            materials.insert(uri.to_string(), json!({ "uri": uri, "digest": digest }));
        }
        let known = self.build.materials();
        for id in needed {
            let Op::Source(source) = &self.build.graph.vertex(*id).op else { continue };
            let (uri, digest) = match source {
                Source::Image(image) => (
                    image_url(&image.reference, &image.platform.to_string()),
                    Some(json!({ "sha256": image.digest.hex() })),
                ),
                Source::Http(file) => {
                    (without_credentials(&file.url), known.get(id).map(|digest| json!({ "sha256": digest })))
                }
                Source::Git(tree) => {
                    let reference = tree.reference.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
                    let uri = format!("{}{reference}", without_credentials(&tree.remote));
                    (uri, known.get(id).map(|commit| json!({ "sha1": commit })))
                }
                Source::Local(local) => {
                    complete &= local.name == MAIN;
                    continue;
                }
            };
            materials.insert(uri.clone(), json!({ "uri": uri, "digest": digest }));
        }
        (materials.into_values().collect(), complete)
    }

    fn metadata(&self, needed: &[VertexId], complete: bool) -> Value {
        let max = self.options.mode == ProvenanceMode::Max;
        let offline = needed.iter().all(|id| match &self.build.graph.vertex(*id).op {
            Op::Exec(exec) => exec.network == Network::None,
            _ => true,
        });
        let mut kiln = Map::new();
        if let Some(repository) = &self.repository {
            let mut vcs = json!({ "revision": repository.revision });
            if let Some(source) = &repository.source {
                vcs["source"] = json!(source);
            }
            kiln.insert("vcs".to_owned(), vcs);
        }
        if max {
            let dockerfile = self.build.dockerfile;
            kiln.insert(
                "source".to_owned(),
                json!({ "infos": [{
                    "filename": dockerfile.name,
                    "language": "Dockerfile",
                    "data": STANDARD.encode(&dockerfile.text),
                }] }),
            );
        }
        json!({
            "invocationID": self.invocation,
            "startedOn": time(self.build.started),
            "finishedOn": time(self.finished),
            "buildkit_completeness": { "request": max, "resolvedDependencies": complete },
            "buildkit_hermetic": complete && offline,
            "buildkit_reproducible": self.options.reproducible,
            "buildkit_metadata": kiln,
        })
    }

    /// The steps in the order in which they depend on each other.
    fn steps(&self, needed: &[VertexId]) -> Vec<Value> {
        let id = |vertex: &VertexId| format!("step{}", vertex.0);
        let step = |vertex: &VertexId| {
            let described = self.build.graph.vertex(*vertex);
            json!({
                "id": id(vertex),
                "name": described.label.name,
                "inputs": described.inputs.iter().map(id).collect::<Vec<_>>(),
            })
        };
        let mut needed = needed.to_vec();
        needed.sort_unstable();
        needed.iter().map(step).collect()
    }
}

fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
