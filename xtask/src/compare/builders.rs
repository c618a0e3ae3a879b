//! Builds one case with kiln and with Docker, each into an OCI archive.
//!
//! Both get the same context, Dockerfile, arguments and environment. A case with
//! a `setup` script is copied first, and the script makes what git cannot keep;
//! every other case is built where it lies. Docker's frontends come from a registry
//! when a `syntax` directive names one, and this registry has none: Docker gets the
//! Dockerfile without that line where it names Docker's own frontend, as that one is
//! built in.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::case::Case;
use crate::peers::{Docker, Kiln};
use crate::{places, process};

/// The script that prepares a case's copy.
const SETUP: &str = "setup";
/// Lines of a failed build's output that are worth showing.
const MESSAGE_LINES: usize = 12;

pub(super) struct Builders {
    pub(super) kiln: Kiln,
    pub(super) docker: Docker,
    /// Where archives, copies and logs go.
    pub(super) folder: PathBuf,
    pub(super) limit: Duration,
}

/// The archive, or what the builder said when it failed.
pub(super) type Built = std::result::Result<PathBuf, String>;

/// Whether Docker may take what it has built before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    Used,
    Unused,
}

/// A case ready to be built.
pub(super) struct Prepared<'a> {
    case: &'a Case,
    dir: PathBuf,
    /// The folder for this case's own files.
    pub(super) own: PathBuf,
}

impl Builders {
    /// Makes the case's own folder and, where it has a `setup`, the copy.
    pub(super) fn prepare<'a>(&self, case: &'a Case, number: usize) -> Result<Prepared<'a>> {
        let own = self.folder.join("cases").join(number.to_string());
        places::make_empty(&own)?;
        let setup = case.dir.join(SETUP);
        if !case.described || !setup.is_file() {
            return Ok(Prepared { case, dir: case.dir.clone(), own });
        }
        let dir = own.join("case");
        process::quiet(Command::new("cp").arg("--archive").arg(&case.dir).arg(&dir))?;
        let context = case.build.context.as_deref().filter(|context| is_local(context)).unwrap_or(".");
        let script = dir.join(SETUP);
        process::quiet(Command::new("sh").arg("-eu").arg(&script).current_dir(dir.join(context)))
            .with_context(|| format!("the `{SETUP}` of `{}`", case.name))?;
        places::remove(&script)?;
        Ok(Prepared { case, dir, own })
    }

    pub(super) fn kiln(&self, prepared: &Prepared<'_>) -> Result<Built> {
        let mut command = self.kiln.command();
        command.args(["build", "--progress", "plain"]);
        self.build(prepared, command, "kiln", prepared.dockerfile())
    }

    pub(super) fn docker(&self, prepared: &Prepared<'_>, cache: Cache) -> Result<Built> {
        let mut command = self.docker.client();
        // kiln writes no attestations unless asked to; its default network is the host's.
        command.args(["buildx", "build", "--progress", "plain", "--network", "host", "--provenance=false"]);
        if cache == Cache::Unused {
            command.arg("--no-cache");
        }
        let file = match prepared.dockerfile() {
            Some(path) => Some(without_syntax(&path, &prepared.own)?),
            None => None,
        };
        self.build(prepared, command, "docker", file)
    }

    fn build(
        &self,
        prepared: &Prepared<'_>,
        mut command: Command,
        builder: &str,
        file: Option<PathBuf>,
    ) -> Result<Built> {
        let build = &prepared.case.build;
        let archive = prepared.own.join(format!("{builder}.oci.tar"));
        command.arg("--output").arg(format!("type=oci,dest={}", archive.display()));
        if let Some(file) = file {
            command.arg("--file").arg(file);
        } else if build.file.as_deref() == Some("-") {
            command.args(["--file", "-"]);
        }
        let dir = prepared.dir.to_string_lossy();
        command.args(build.args.iter().map(|argument| argument.replace("$CASE", &dir)));
        command.envs(&build.env);
        match build.context.as_deref().unwrap_or(".") {
            context if is_local(context) => command.arg(clean(&prepared.dir.join(context))),
            context => command.arg(context),
        };
        let log = prepared.own.join(format!("{builder}.log"));
        let output = File::create(&log).with_context(|| format!("cannot make `{}`", log.display()))?;
        match &build.stdin {
            Some(file) => {
                let path = prepared.dir.join(file);
                command.stdin(File::open(&path).with_context(|| format!("cannot open `{}`", path.display()))?)
            }
            None => command.stdin(Stdio::null()),
        };
        command.stdout(output.try_clone().context("cannot share the log")?).stderr(output);
        Ok(match self.wait(command)? {
            None => Ok(archive),
            Some(reason) => Err(format!("{reason}\n{}", message(&log))),
        })
    }

    /// Why the command failed, if it did.
    fn wait(&self, mut command: Command) -> Result<Option<String>> {
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`", command.get_program().display()))?;
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(status) = child.try_wait().context("cannot wait for a builder")? {
                return Ok((!status.success()).then(|| status.to_string()));
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Some(format!("not done after {} s", self.limit.as_secs())));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Prepared<'_> {
    /// The Dockerfile, where it is a file.
    fn dockerfile(&self) -> Option<PathBuf> {
        match self.case.build.file.as_deref() {
            Some("-") => None,
            Some(file) => Some(self.dir.join(file)),
            None if self.case.build.context.as_deref().is_some_and(|context| !is_local(context)) => None,
            None => Some(self.dir.join("Dockerfile")),
        }
    }
}

fn is_local(context: &str) -> bool {
    context != "-" && !context.contains("://") && !context.starts_with("git@")
}

/// Without the `.` that joining leaves.
fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The Dockerfile, or a copy below `own` without the line that names Docker's own frontend.
fn without_syntax(dockerfile: &Path, own: &Path) -> Result<PathBuf> {
    let Ok(text) = std::fs::read(dockerfile) else {
        // Docker says itself that it isn't there.
        return Ok(dockerfile.to_owned());
    };
    let Some(rest) = strip_syntax(&text) else { return Ok(dockerfile.to_owned()) };
    let folder = own.join("dockerfile");
    places::make(&folder)?;
    let name = dockerfile.file_name().context("the Dockerfile has no name")?;
    places::write(&folder.join(name), rest)?;
    let mut ignore = name.to_owned();
    ignore.push(".dockerignore");
    let ignore_file = dockerfile.with_file_name(&ignore);
    if ignore_file.is_file() {
        std::fs::copy(&ignore_file, folder.join(&ignore)).context("cannot copy the ignore file")?;
    }
    Ok(folder.join(name))
}

/// The text without its `syntax` directive, if it has one for Docker's own frontend.
fn strip_syntax(text: &[u8]) -> Option<Vec<u8>> {
    let start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut at = start;
    // Directives stand first, one a line.
    for line in text[start..].split_inclusive(|&byte| byte == b'\n') {
        let directive = std::str::from_utf8(line).ok()?.trim().strip_prefix('#')?;
        let (name, value) = directive.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("syntax") {
            let image = value.trim().trim_start_matches("docker.io/");
            let repository = image.split([':', '@']).next()?;
            let own = matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream");
            return own.then(|| [&text[..at], &text[at + line.len()..]].concat());
        }
        at += line.len();
    }
    None
}

/// The part of a log that says why a build failed.
fn message(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let is_error = |line: &&str| line.starts_with("error:") || line.starts_with("ERROR:");
    let from = lines.iter().rposition(is_error).unwrap_or_else(|| lines.len().saturating_sub(MESSAGE_LINES));
    lines[from..].iter().take(MESSAGE_LINES).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_own_frontend_is_taken_away() {
        for (text, rest) in [
            ("# syntax=docker/dockerfile:1\nFROM a\n", Some("FROM a\n")),
            (
                "# escape=`\r\n#syntax = docker.io/docker/dockerfile:1.4-labs\r\nFROM a\n",
                Some("# escape=`\r\nFROM a\n"),
            ),
            ("\u{feff}# syntax=docker/dockerfile\nFROM a", Some("\u{feff}FROM a")),
            ("# syntax=example/frontend\nFROM a\n", None),
            ("# comment\n# syntax=docker/dockerfile:1\nFROM a\n", None),
            ("FROM a\n# syntax=docker/dockerfile:1\n", None),
        ] {
            let stripped = strip_syntax(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(stripped.as_deref(), rest, "{text}");
        }
    }
}
