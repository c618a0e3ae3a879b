//! What the checks look at: the text of every tracked file, and the
//! dependencies between the workspace's packages as `cargo metadata` tells.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// One file's text, its path relative to the work tree's root.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// One package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a package asks for in its manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev` or `build`; none for a normal dependency.
    pub(crate) kind: Option<String>,
}

/// The work tree as the checks see it.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    pub(crate) packages: Vec<Package>,
}

impl Tree {
    /// Reads what git tracks below `root` (and what it would track: new files
    /// that no rule ignores). Files that are not UTF-8 are left out.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let listing = process::stdout(
            Command::new("git")
                .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
                .current_dir(root),
        )?;
        let mut files = Vec::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            // A tracked file that was deleted but not yet committed is no
            // longer there to be read; symbolic links are read through.
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            let Ok(text) = String::from_utf8(bytes) else { continue };
            files.push(File { path: path.into(), text });
        }
        Ok(Self { files, packages: packages(root)? })
    }

    pub(crate) fn rust_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let json =
        process::stdout(process::cargo().args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root))?;
    let metadata: Metadata = serde_json::from_str(&json).context("cannot read `cargo metadata`'s output")?;
    let mut packages = metadata.packages;
    for package in &mut packages {
        if let Ok(relative) = package.manifest_path.strip_prefix(root) {
            package.manifest_path = relative.to_owned();
        }
    }
    Ok(packages)
}

#[cfg(test)]
pub(crate) fn of_file(path: &str, text: &str) -> Tree {
    Tree { files: vec![File { path: path.into(), text: text.into() }], packages: Vec::new() }
}
