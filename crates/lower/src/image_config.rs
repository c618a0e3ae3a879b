//! The config of an image, as OCI image-spec's `config.md` has it, with Docker's extensions.
//!
//! `oci-spec`'s `ImageConfiguration` is not used: it has no place for `Healthcheck`, `OnBuild`, `Shell` and `ArgsEscaped`, nor for
//! anything it does not know, so reading and writing a base image's config with it would lose them.
//!
//! Invariants: what is read is written again, fields that kiln does not know included (`extra`); [`ImageConfig::derived`] drops
//! these, since they describe the base image's own making. Fields are written in the order that BuildKit writes them (by name on
//! the outside, as the specification lists them within), sets and labels in the order of their keys; what is empty is left out.

use kiln_graph::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Where programs are looked for when neither the base image nor the Dockerfile sets `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole config blob.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// The architecture, in Go's name for it.
    #[serde(deserialize_with = "null_as_default")]
    pub architecture: String,
    /// Who made it (`MAINTAINER`).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// How a container of the image is started.
    #[serde(deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// When the image was made, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// One entry an instruction.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// The operating system.
    #[serde(deserialize_with = "null_as_default")]
    pub os: String,
    /// Features that the operating system must have (Windows).
    #[serde(rename = "os.features", deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Version of the operating system (Windows).
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The layers.
    #[serde(deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
    /// Variant of the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What else was there.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a container of the image is started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `USER`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `EXPOSE`: `80/tcp` to an empty object.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `ENV`, as `NAME=value`, in order.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`; an empty one and none at all are written alike.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `CMD`; an empty one and none at all are written alike.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `VOLUME`: path to an empty object.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// `WORKDIR`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `LABEL`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Whether the arguments are already escaped for the command line (Windows).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// `HEALTHCHECK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// `ONBUILD`, the instructions as written.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// `SHELL`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// What else was there.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The value of a set written as an object: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A health check, as Docker keeps it. Durations are in nanoseconds; zero or absent is the image's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time that a check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// What else was there.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The layers, lowest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, as the config spells them.
    #[serde(deserialize_with = "null_as_default")]
    pub diff_ids: Vec<String>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// What one instruction did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, in RFC 3339; the engine fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who (`MAINTAINER`).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// `buildkit.dockerfile.v0` from BuildKit's frontend and from kiln.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "str::is_empty")]
    pub comment: Cow<'static, str>,
    /// Whether it made no layer.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// What else was there.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageConfig {
    /// Reads a config blob.
    ///
    /// # Errors
    /// When it is not JSON of this shape.
    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The config of an image of no layer at all, for a platform.
    pub fn empty(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: ContainerConfig {
                working_dir: "/".to_owned(),
                env: if platform.os == "windows" { Vec::new() } else { vec![format!("PATH={DEFAULT_PATH}")] },
                ..ContainerConfig::default()
            },
            ..Self::default()
        }
    }

    /// What an image built on top of this one starts from: the same, without its time and without what kiln does not know.
    #[must_use]
    pub fn derived(mut self) -> Self {
        self.created = None;
        self.extra.clear();
        self.config.extra.clear();
        self
    }

    /// The value of a variable of `ENV`.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().find_map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        })
    }

    /// The config blob's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialize")
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Go writes empty lists and maps as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
