//! The git repository that a build context is in: where it comes from and at which commit it is, in the words of BuildKit's clients.

use kiln_graph::without_credentials;
use std::path::Path;
use std::process::{Command, Stdio};

/// A repository and its commit.
pub(super) struct Repository {
    /// Where it was cloned from; absent for one that was made here.
    pub(super) source: Option<String>,
    /// The commit, with `-dirty` where files differ from it.
    pub(super) revision: String,
}

impl Repository {
    /// The repository that a directory is in. Without git, without a repository or without a commit there is nothing to tell.
    pub(super) fn of(directory: &Path) -> Option<Self> {
        let commit = git(directory, &["rev-parse", "HEAD"])?;
        let status = git(directory, &["status", "--porcelain", "--ignored=no"])?;
        let dirty = if status.is_empty() { "" } else { "-dirty" };
        let source = git(directory, &["remote", "get-url", "origin"]).filter(|source| !source.is_empty());
        Some(Self { source: source.map(|source| without_credentials(&source)), revision: format!("{commit}{dirty}") })
    }
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // What a repository's own configuration says must not start programs.
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command.arg("-C").arg(directory).args(arguments).env("GIT_OPTIONAL_LOCKS", "0");
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
