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

use crate::bench::go_edit;
use crate::places::{self, Places};
use crate::process;

/// A project and what happens to it.
pub(super) struct Project {
    pub(super) name: &'static str,
    /// What is changed before a build is measured.
    pub(super) title: &'static str,
    prepare: fn(&Places, &Path) -> Result<()>,
    /// Changes the context; its argument counts from 0.
    pub(super) change: fn(&Path, u32) -> Result<()>,
    pub(super) rounds: u32,
    /// Files of the image whose content two builds of one and the same way do not agree in either.
    varying: &'static [&'static str],
}

pub(super) const PROJECTS: &[Project] = &[
    Project {
        name: "auto-cache/go",
        title: "Go: a line edited",
        prepare: |_, context| go_edit::prepare(context),
        change: go_edit::edit,
        rounds: 3,
        varying: &[],
    },
    Project {
        name: "auto-cache/cargo",
        title: "Cargo, 67 crates of others: a line edited",
        prepare: |places, context| copy(places, "cargo", context),
        change: |context, round| {
            let greeting = format!("const GREETING: &str = \"Hello {round}\";");
            replace_line(&context.join("src/main.rs"), "const GREETING", &greeting)
        },
        rounds: 1,
        varying: &[],
    },
    Project {
        name: "auto-cache/npm",
        title: "npm, vite and react: a dependency added",
        prepare: |places, context| copy(places, "npm", context),
        change: |context, round| {
            let dependency = pick(&["\"clsx\": \"2.1.1\"", "\"zustand\": \"5.0.6\"", "\"nanoid\": \"5.1.5\""], round);
            let line = format!("  \"dependencies\": {{ {dependency},");
            replace_line(&context.join("package.json"), "  \"dependencies\": {", &line)
        },
        rounds: 3,
        varying: &[],
    },
    Project {
        name: "auto-cache/pip",
        title: "pip, two packages compiled: a dependency added",
        prepare: |places, context| copy(places, "pip", context),
        change: |context, round| {
            let added = pick(&["tabulate==0.9.0", "humanize==4.12.3", "tomlkit==0.13.3"], round);
            replace_line(&context.join("requirements.txt"), "sqlalchemy", &format!("sqlalchemy==2.0.41\n{added}"))
        },
        rounds: 1,
        varying: &[],
    },
    Project {
        name: "auto-cache/apt",
        title: "apt: a package added to a list",
        prepare: |places, context| copy(places, "apt", context),
        change: |context, round| {
            let added = pick(&["tree", "less", "file"], round);
            for dockerfile in ["Dockerfile.baseline", "Dockerfile.cached"] {
                let lines = format!("    jq \\\n    {added} \\");
                replace_line(&context.join(dockerfile), "    jq", &lines)?;
            }
            Ok(())
        },
        rounds: 3,
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
        (self.prepare)(places, context)
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

fn copy(places: &Places, name: &str, context: &Path) -> Result<()> {
    let project = places.root.join("xtask/projects").join(name);
    process::quiet(Command::new("cp").arg("-R").arg(project.join(".")).arg(context))
}

fn pick(choices: &[&'static str], round: u32) -> &'static str {
    choices[round as usize % choices.len()]
}

/// Puts a line, or several, in the place of the first that begins so.
fn replace_line(path: &Path, beginning: &str, with: &str) -> Result<()> {
    let text = places::read(path)?;
    let found = text.lines().any(|line| line.starts_with(beginning));
    found.then_some(()).with_context(|| format!("`{}` has no line `{beginning}`", path.display()))?;
    let mut replaced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let first = !replaced && line.starts_with(beginning);
        replaced |= first;
        lines.push(if first { with } else { line });
    }
    places::write(path, lines.join("\n") + "\n")
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
                let files = ["main.go", "src/main.rs", "package.json", "requirements.txt", "Dockerfile.baseline"];
                files.iter().filter_map(|name| places::read(&dir.path().join(name)).ok()).collect()
            };
            let mut seen = vec![read()];
            for round in 0..project.rounds {
                (project.change)(dir.path(), round).unwrap();
                assert!(!seen.contains(&read()), "{} {round}", project.name);
                seen.push(read());
            }
        }
    }
}
