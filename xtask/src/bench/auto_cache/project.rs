//! The projects that `bench auto-cache` builds: the example with Go, and those below `xtask/projects/`, each with
//!
//! ```text
//! Dockerfile.baseline   as people write it
//! Dockerfile.cached     the same with cache mounts, written by hand
//! Dockerfile.lock       writes the lock file of the dependencies into the context, where the project has one
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::images::{GOLANG, Recipe, TOOLCHAINS, UBUNTU};
use crate::places::{self, Places};
use crate::process;

/// A project and what happens to it.
pub(super) struct Project {
    pub(super) name: &'static str,
    /// What is changed before a build is measured.
    pub(super) title: &'static str,
    /// Where it lies in the work tree.
    folder: &'static str,
    /// What it is built from.
    pub(super) images: &'static [&'static Recipe],
    edit: Edit,
    pub(super) rounds: u32,
    /// Files of the image whose content two builds of one and the same way do not agree in either.
    varying: &'static [&'static str],
}

/// Puts a line, or several, in the place of the first that begins so.
struct Edit {
    files: &'static [&'static str],
    beginning: &'static str,
    /// `%` stands for one of the values.
    with: &'static str,
    /// One a round.
    values: [&'static str; 3],
}

const DOCKERFILES: &[&str] = &["Dockerfile.baseline", "Dockerfile.cached"];

pub(super) const PROJECTS: &[Project] = &[
    Project {
        name: "auto-cache/go",
        title: "Go: a line edited",
        folder: "examples/hello-go",
        images: &[&GOLANG, &UBUNTU],
        edit: Edit {
            files: &["main.go"],
            beginning: "const greeting",
            with: "const greeting = \"Hello %!\"",
            values: ["1", "2", "3"],
        },
        rounds: 3,
        varying: &[],
    },
    Project {
        name: "auto-cache/cargo",
        title: "Cargo, 67 crates of others: a line edited",
        folder: "xtask/projects/cargo",
        images: &[&TOOLCHAINS, &UBUNTU],
        edit: Edit {
            files: &["src/main.rs"],
            beginning: "const GREETING",
            with: "const GREETING: &str = \"Hello %\";",
            values: ["1", "2", "3"],
        },
        rounds: 1,
        varying: &[],
    },
    Project {
        name: "auto-cache/npm",
        title: "npm, vite and react: a dependency added",
        folder: "xtask/projects/npm",
        images: &[&TOOLCHAINS, &UBUNTU],
        edit: Edit {
            files: &["package.json"],
            beginning: "  \"dependencies\": {",
            with: "  \"dependencies\": { %,",
            values: ["\"clsx\": \"2.1.1\"", "\"zustand\": \"5.0.6\"", "\"nanoid\": \"5.1.5\""],
        },
        rounds: 3,
        varying: &[],
    },
    Project {
        name: "auto-cache/pip",
        title: "pip, two packages compiled: a dependency added",
        folder: "xtask/projects/pip",
        images: &[&TOOLCHAINS],
        edit: Edit {
            files: &["requirements.txt"],
            beginning: "regex",
            with: "regex==2024.11.6\n%",
            values: ["tabulate==0.9.0", "humanize==4.12.3", "tomlkit==0.13.3"],
        },
        rounds: 1,
        varying: &[],
    },
    Project {
        name: "auto-cache/apt",
        title: "apt, fonts and tools: a package added to a list",
        folder: "xtask/projects/apt",
        images: &[&TOOLCHAINS],
        edit: Edit {
            files: DOCKERFILES,
            beginning: "    jq",
            with: "    jq \\\n    % \\",
            values: ["tree", "less", "file"],
        },
        rounds: 1,
        // Logs with times in them, and a cache of libraries' times.
        varying: &[
            "var/log/apt/history.log",
            "var/log/apt/term.log",
            "var/log/dpkg.log",
            "var/log/alternatives.log",
            "var/cache/ldconfig/aux-cache",
        ],
    },
];

impl Project {
    /// Fills an empty folder.
    pub(super) fn prepare(&self, places: &Places, context: &Path) -> Result<()> {
        process::quiet(Command::new("cp").arg("-R").arg(places.root.join(self.folder).join(".")).arg(context))
    }

    /// How often it can be changed, at most so many times.
    pub(super) fn rounds(&self, asked: Option<u32>) -> impl Iterator<Item = &'static str> {
        self.edit.values.into_iter().take(asked.unwrap_or(self.rounds) as usize)
    }

    /// Changes the context. A value makes it another one.
    pub(super) fn change(&self, context: &Path, value: &str) -> Result<()> {
        let Edit { files, beginning, with, .. } = self.edit;
        files.iter().try_for_each(|file| replace_line(&context.join(file), beginning, &with.replace('%', value)))
    }

    /// Whether a difference of two images is in what varies anyway. That a file is only in one of them never is.
    pub(super) fn varies(&self, difference: &str) -> bool {
        !difference.contains(": only ") && self.varying.iter().any(|path| difference.contains(&format!(" `{path}`: ")))
    }

    /// The Dockerfile that makes its lock file.
    pub(super) fn lock(context: &Path) -> Option<PathBuf> {
        Some(context.join("Dockerfile.lock")).filter(|path| path.is_file())
    }
}

fn replace_line(path: &Path, beginning: &str, with: &str) -> Result<()> {
    let text = places::read(path)?;
    let line = text.lines().find(|line| line.starts_with(beginning));
    let line = line.with_context(|| format!("`{}` has no line `{beginning}`", path.display()))?;
    places::write(path, text.replacen(line, with, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_a_new_one() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let places = Places { root, target: "/nowhere".into(), cache: "/nowhere".into() };
        for project in PROJECTS {
            let dir = tempfile::tempdir().unwrap();
            project.prepare(&places, dir.path()).unwrap();
            let read = || -> Vec<String> {
                project.edit.files.iter().map(|name| places::read(&dir.path().join(name)).unwrap()).collect()
            };
            let mut seen = vec![read()];
            for value in project.rounds(Some(u32::MAX)) {
                project.change(dir.path(), value).unwrap();
                assert!(!seen.contains(&read()), "{} {value}", project.name);
                seen.push(read());
            }
        }
    }
}
