//! The `kiln` binary: builds it, and makes its command lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::places::Places;
use crate::process;

/// A built `kiln`.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    path: PathBuf,
}

impl Binary {
    /// Builds kiln as it is shipped; with `KILN_BINARY` set, takes that one as it is.
    pub(crate) fn release(places: &Places) -> Result<Self> {
        if let Some(path) = std::env::var_os("KILN_BINARY") {
            eprintln!("using the kiln at `{}`", path.display());
            return Ok(Self { path: path.into() });
        }
        let mut command = process::cargo();
        command.args(["build", "--release", "--package", "kiln-cli"]).current_dir(&places.root);
        process::run(&mut command)?;
        let path = places.target.join("release/kiln");
        if !path.is_file() {
            bail!("cargo built no `{}`", path.display());
        }
        Ok(Self { path })
    }

    /// A call of kiln with a store of its own below `root`.
    pub(crate) fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(root);
        command
    }

    /// A call of kiln with the user's own store.
    pub(crate) fn plain_command(&self) -> Command {
        Command::new(&self.path)
    }
}
