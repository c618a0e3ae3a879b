//! The four ways in which `bench auto-cache` builds a project, each with a store of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::link::Link;
use crate::compare::Archive;
use crate::images::Recipe;
use crate::kiln::Binary;
use crate::peers::{Sample, timed};
use crate::places::{self, Places};
use crate::process;

/// Those ways by which the Dockerfile is built as people write it.
pub(super) const MODES: [&str; 3] = ["off", "safe", "all"];
/// The way with cache mounts written by hand.
pub(super) const BY_HAND: &str = "by hand";

pub(super) struct Way<'a> {
    pub(super) name: &'static str,
    kiln: &'a Binary,
    link: Option<&'a Link>,
    folder: PathBuf,
}

impl<'a> Way<'a> {
    /// Makes its store, with base images in it.
    pub(super) fn new(
        places: &Places,
        kiln: &'a Binary,
        images: &[&Recipe],
        link: Option<&'a Link>,
        folder: &Path,
        name: &'static str,
    ) -> Result<Self> {
        let folder = folder.join(name.replace(' ', "-"));
        places::make(&folder)?;
        let way = Self { name, kiln, link, folder };
        for recipe in images {
            recipe.build(places, kiln.command(&way.store()))?;
        }
        Ok(way)
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Builds what is there and keeps nothing but the store.
    pub(super) fn build(&self, context: &Path) -> Result<Sample> {
        timed::run(&mut self.command(context), &self.folder.join("build.log"))
    }

    /// The image of what is there.
    pub(super) fn image(&self, context: &Path) -> Result<Archive> {
        let path = self.folder.join("image.oci.tar");
        let mut command = self.command(context);
        process::quiet(command.arg("--output").arg(format!("type=oci,dest={}", path.display())))?;
        Archive::read(&path)
    }

    /// Writes the project's lock file into the context.
    pub(super) fn lock(&self, dockerfile: &Path, context: &Path) -> Result<()> {
        let mut command = self.kiln.command(&self.store());
        command.args(["build", "--progress", "plain", "--file"]).arg(dockerfile);
        process::quiet(command.arg("--output").arg(context).arg(context)).context("cannot make the lock file")
    }

    fn command(&self, context: &Path) -> Command {
        let (dockerfile, mode) = match self.name {
            BY_HAND => ("Dockerfile.cached", "off"),
            mode => ("Dockerfile.baseline", mode),
        };
        let mut command = self.kiln.command(&self.store());
        command.args(["build", "--progress", "plain", "--auto-cache", mode]);
        command.args(self.link.map(Link::arguments).unwrap_or_default());
        command.arg("--file").arg(context.join(dockerfile)).arg(context);
        command
    }
}
