//! The builders that the benchmark drives, kiln among them, behind one trait.
//!
//! One file a builder. A builder owns its store and its daemons below the
//! folders it was given, and takes a context and a Dockerfile by path. Tasks
//! that use them run in [`crate::namespaces`] of their own, so a daemon or mount
//! that a builder loses ends with the task at the latest.

mod buildah;
mod buildkit;
mod docker;
mod kiln;
mod mounts;
mod plain_go;
mod registry;
pub(crate) mod timed;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::moto::BUCKET;

pub(crate) use buildah::Buildah;
pub(crate) use buildkit::BuildKit;
pub(crate) use docker::Docker;
pub(crate) use kiln::Kiln;
pub(crate) use plain_go::PlainGo;
pub(crate) use registry::Registry;
pub(crate) use timed::Sample;

/// What a build leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nothing but the builder's own caches.
    Cache,
    /// A tar file of an OCI image layout, gzip layers.
    OciTar,
}

/// Where a cache is that goes from machine to machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The setting's registry.
    Registry,
    /// A directory of the setting's folder.
    Directory,
    /// The setting's S3 server.
    Bucket,
}

/// What a build does with such a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Travel {
    /// Leaves one there, with all steps.
    To(Place),
    /// Pushes the image to the setting's registry, in place of its output, and leaves one beside it, as `--cache-to` does by default.
    Pushed,
    /// Goes on from what is there.
    From(Place),
}

/// One build.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The context, with the Dockerfile in it.
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: &'static str,
    pub(crate) output: Output,
    pub(crate) no_cache: bool,
    pub(crate) travel: Option<Travel>,
}

impl Job {
    fn dockerfile(&self) -> PathBuf {
        self.context.join(self.dockerfile)
    }
}

/// A builder under measurement.
pub(crate) trait Builder {
    /// The name in tables, short.
    fn name(&self) -> &str;

    /// What exactly is measured: the version, and by what it runs.
    fn version(&self) -> Result<String>;

    /// Runs one build to its end.
    fn build(&mut self, job: &Job) -> Result<Sample>;

    /// Mends a Dockerfile in its place; `false` if this builder has nothing for that.
    fn mend(&self, _dockerfile: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Empties the builder's caches and images, as on a fresh machine. Not
    /// measured.
    fn forget(&mut self) -> Result<()>;
}

/// The folders that a builder may use, and the registry it pulls from.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The benchmark's folder; every context lies below it.
    pub(crate) folder: PathBuf,
    /// `HOST:PORT` of the plain-http registry that mirrors Docker Hub.
    pub(crate) registry: String,
    /// `HOST:PORT` of an S3 server, where one runs.
    pub(crate) bucket: Option<String>,
}

impl Setting {
    /// A folder of the builder's own.
    fn own(&self, builder: &str) -> PathBuf {
        self.folder.join(builder)
    }

    fn log(&self, builder: &str) -> PathBuf {
        self.folder.join(format!("{builder}.log"))
    }

    /// The option of a build for a cache that travels, in the words that BuildKit's clients and kiln share.
    fn travel(&self, builder: &str, travel: Travel) -> Result<String> {
        let (option, place, directory, mode) = match travel {
            Travel::To(place) => ("--cache-to", place, "dest", ",mode=max"),
            Travel::Pushed => ("--cache-to", Place::Registry, "dest", ""),
            Travel::From(place) => ("--cache-from", place, "src", ""),
        };
        let own = match place {
            // Nothing of other rows is there.
            Place::Registry if travel == Travel::Pushed => {
                format!("type=registry,ref={}/beside/{builder}:bench", self.registry)
            }
            Place::Registry => format!("type=registry,ref={}/cache/{builder}:bench", self.registry),
            Place::Directory => format!("type=local,{directory}={}", self.own(&format!("{builder}-cache")).display()),
            Place::Bucket => {
                let endpoint = self.bucket.as_ref().context("no S3 server")?;
                format!(
                    "type=s3,bucket={BUCKET},region=us-east-1,name={builder},endpoint_url=http://{endpoint},\
                     use_path_style=true,access_key_id=kiln,secret_access_key=kiln"
                )
            }
        };
        Ok(format!("{option}={own}{mode}"))
    }

    /// The output that pushes an image.
    fn pushed(&self, builder: &str) -> String {
        format!("type=image,push=true,name={}/{builder}:bench", self.registry)
    }

    fn output(&self, builder: &str) -> PathBuf {
        self.folder.join(format!("{builder}.oci.tar"))
    }
}

/// The command-line form of an output that BuildKit's clients and kiln share.
fn oci_output(dest: &Path) -> String {
    format!("type=oci,dest={}", dest.display())
}
