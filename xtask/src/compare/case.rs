//! Finds the cases below a directory, and reads their descriptions.
//!
//! A directory with a `case.toml` is one case, or one per `[[variant]]`; nothing
//! below it is looked at. Elsewhere every Dockerfile (`Dockerfile`,
//! `Dockerfile.NAME`, `NAME.Dockerfile`, and the same with `Containerfile`) is a
//! case by itself, its directory the context. `tests/cases/README.md` says what
//! a description may hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::places;

/// The description, if a case has one.
pub(super) const DESCRIPTION: &str = "case.toml";

/// One build to compare.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// `AREA/NAME`, with `:VARIANT` where there are variants.
    pub(super) name: String,
    /// The directory that the case lies in.
    pub(super) dir: PathBuf,
    /// Whether `dir` is a case's alone, so that it can be copied for `setup`.
    pub(super) described: bool,
    pub(super) build: Build,
    /// A failure of both builders must hold this text in kiln's message.
    pub(super) fails: Option<String>,
    /// The version of BuildKit's frontend that the case needs, newer than the peer's.
    pub(super) newer: Option<String>,
    /// Why kiln deliberately differs.
    pub(super) difference: Option<String>,
}

/// How the builders are called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Build {
    /// The Dockerfile, relative to the case's directory; `-` for standard input.
    pub(super) file: Option<String>,
    /// The context, relative to the case's directory; `-` for standard input.
    pub(super) context: Option<String>,
    /// The file that standard input is, relative to the case's directory.
    pub(super) stdin: Option<String>,
    /// Further arguments; `$CASE` stands for the case's directory.
    pub(super) args: Vec<String>,
    /// Further variables of the environment.
    pub(super) env: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Description {
    file: Option<String>,
    context: Option<String>,
    stdin: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    fails: Option<String>,
    newer: Option<String>,
    difference: Option<String>,
    variant: Vec<Variant>,
}

/// What a variant changes; its `args` and `env` come after those of the case.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Variant {
    name: String,
    file: Option<String>,
    context: Option<String>,
    stdin: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    fails: Option<String>,
    newer: Option<String>,
    difference: Option<String>,
}

/// All cases below `dir`, named from `top`, in the order of their names.
pub(super) fn find(top: &Path, dir: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    search(top, dir, &mut cases)?;
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn search(top: &Path, dir: &Path, cases: &mut Vec<Case>) -> Result<()> {
    let description = dir.join(DESCRIPTION);
    if description.is_file() {
        cases.extend(described(top, dir, &places::read(&description)?)?);
        return Ok(());
    }
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", dir.display()))?;
        let kind = entry.file_type().with_context(|| format!("cannot read `{}`", entry.path().display()))?;
        if kind.is_dir() && entry.file_name() != ".git" {
            search(top, &entry.path(), cases)?;
        } else if let Some(file) = entry.file_name().to_str().filter(|name| kind.is_file() && is_dockerfile(name)) {
            let mut name = name(top, dir);
            if file != "Dockerfile" {
                name = format!("{name}/{file}");
            }
            cases.push(Case {
                name,
                dir: dir.to_owned(),
                described: false,
                build: Build { file: Some(file.to_owned()), ..Build::default() },
                fails: None,
                newer: None,
                difference: None,
            });
        }
    }
    Ok(())
}

fn is_dockerfile(name: &str) -> bool {
    let lower = name.to_lowercase();
    !lower.ends_with(".dockerignore")
        && ["dockerfile", "containerfile"].iter().any(|word| {
            lower == *word || lower.starts_with(&format!("{word}.")) || lower.ends_with(&format!(".{word}"))
        })
}

/// What `dir` is called below `top`; the last part of `top` where they are the same.
fn name(top: &Path, dir: &Path) -> String {
    let below = dir.strip_prefix(top).unwrap_or(dir);
    let path = if below.as_os_str().is_empty() { top.file_name().map(Path::new).unwrap_or(top) } else { below };
    path.to_string_lossy().into_owned()
}

fn described(top: &Path, dir: &Path, text: &str) -> Result<Vec<Case>> {
    let name = name(top, dir);
    let description: Description = toml::from_str(text).with_context(|| format!("the `{DESCRIPTION}` of `{name}`"))?;
    let Description { file, context, stdin, args, env, fails, newer, difference, mut variant } = description;
    let single = variant.is_empty();
    if single {
        variant.push(Variant::default());
    }
    let mut cases = Vec::new();
    for own in variant {
        if !single && own.name.is_empty() {
            bail!("a variant of `{name}` has no name");
        }
        let mut env = env.clone();
        env.extend(own.env);
        cases.push(Case {
            name: if single { name.clone() } else { format!("{name}:{}", own.name) },
            dir: dir.to_owned(),
            described: true,
            build: Build {
                file: own.file.or_else(|| file.clone()),
                context: own.context.or_else(|| context.clone()),
                stdin: own.stdin.or_else(|| stdin.clone()),
                args: args.iter().cloned().chain(own.args).collect(),
                env,
            },
            fails: own.fails.or_else(|| fails.clone()),
            newer: own.newer.or_else(|| newer.clone()),
            difference: own.difference.or_else(|| difference.clone()),
        });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn plain_dockerfiles_need_no_description() {
        let dir = tree(&[
            ("a/Dockerfile", ""),
            ("a/Dockerfile.dockerignore", ""),
            ("a/x.Dockerfile", ""),
            ("b/c/Containerfile", ""),
            ("b/README", ""),
        ]);
        let names: Vec<String> = find(dir.path(), dir.path()).unwrap().into_iter().map(|case| case.name).collect();
        assert_eq!(names, ["a", "a/x.Dockerfile", "b/c/Containerfile"]);
    }

    #[test]
    fn a_description_ends_the_search_and_variants_add_to_it() {
        let description = "args = [\"--label\", \"a=1\"]\nfails = \"no\"\n\
             [[variant]]\nname = \"x\"\n[[variant]]\nname = \"y\"\nargs = [\"--target\", \"t\"]\nfails = \"never\"\n";
        let dir = tree(&[("a/case.toml", description), ("a/context/Dockerfile", "")]);
        let cases = find(dir.path(), dir.path()).unwrap();
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["a:x", "a:y"]);
        assert_eq!(cases[1].build.args, ["--label", "a=1", "--target", "t"]);
        assert_eq!(
            (cases[0].fails.as_deref(), cases[1].fails.as_deref(), cases[0].described),
            (Some("no"), Some("never"), true)
        );
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        let dir = tree(&[("a/case.toml", "argz = []\n")]);
        assert!(format!("{:#}", find(dir.path(), dir.path()).unwrap_err()).contains("argz"));
    }
}
