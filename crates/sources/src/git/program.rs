//! The `git` program, run so that nothing of the user's or the repository's makes it do more than it is told.
//!
//! No configuration of the system or the user is read, no hook and no credential helper runs, nothing asks questions, and only the
//! protocols that a command needs are allowed: a submodule cannot reach files of this machine. Credentials are handed over in the
//! environment, never as arguments, which every user of the machine can read, and never in an address, which git writes down.

use super::GitError;
use super::credentials::{Credentials, without_any_credentials};
use super::listen::{self, Ended, Limits};
use crate::progress::Progress;
use kiln_graph::without_credentials;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Settings of every run.
const SETTINGS: [(&str, &str); 13] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.logAllRefUpdates", "false"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "master"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Packs can be shared by links, and are few.
    ("fetch.unpackLimit", "1"),
    ("submodule.recurse", "false"),
    // Nothing waits for ever.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];
/// What of kiln's own environment git sees.
const PASSED_ON: [&str; 12] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];
/// Whoever gives no sign of life for so long gives none any more. What is fetched by HTTP has limits of git's own, which count bytes.
const PATIENCE: Duration = Duration::from_secs(300);
/// As many bytes are taken of what a command writes: what a million references need.
const MOST_OUTPUT: usize = 64 << 20;
/// More lines of an error are not shown.
const REASON_LINES: usize = 8;

/// How a repository is reached.
#[derive(Debug, Clone, Default)]
pub struct GitAccess {
    /// The value of the `Authorization` header, for the repository's own server.
    pub authorization: Option<String>,
    /// The socket of an ssh agent. Without one there are no keys.
    pub ssh_agent: Option<PathBuf>,
}

/// What a run may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing but the directory that it is run in.
    Nothing,
    /// Repositories of this machine.
    Files,
    /// The repository.
    Network,
    /// The repositories that it names.
    Anywhere,
}

/// Runs `git` for one repository.
pub(super) struct Git<'a> {
    /// The repository as it was named. Git never sees it.
    pub(super) address: &'a str,
    /// The repository without what is secret of its address.
    pub(super) remote: String,
    credentials: Option<Credentials>,
    access: &'a GitAccess,
    pub(super) progress: &'a dyn Progress,
    patience: Duration,
}

impl<'a> Git<'a> {
    /// A runner for the repository at an address.
    pub(super) fn new(address: &'a str, access: &'a GitAccess, progress: &'a dyn Progress) -> Self {
        let (remote, credentials) = Credentials::split(address);
        Self { address, remote, credentials, access, progress, patience: PATIENCE }
    }

    /// Runs a command to its end and gives what it wrote.
    ///
    /// # Errors
    /// [`GitError::Refused`] with what it said, when it failed.
    pub(super) fn run<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        reach: Reach,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>, GitError> {
        // What is checked out has the modes that everybody expects, whatever mask kiln was started with.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 022 && exec git \"$@\"", "git"]).args(arguments);
        command.current_dir(directory).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        self.configure(&mut command, reach);
        let counts_bytes = reach == Reach::Network && self.remote.starts_with("http");
        let waits = matches!(reach, Reach::Network | Reach::Anywhere) && !counts_bytes;
        let limits = Limits { output: MOST_OUTPUT, silence: waits.then_some(self.patience) };
        let remote = || without_credentials(&self.remote);
        let ended = listen::run(command.process_group(0), &limits, &|| self.progress.is_cancelled());
        let (status, stdout, stderr) = match ended.map_err(GitError::Spawn)? {
            Ended::ByItself { status, stdout, stderr } => (status, stdout, stderr),
            Ended::Cancelled => return Err(GitError::Cancelled),
            Ended::Silent => return Err(GitError::Silent { remote: remote(), patience: self.patience }),
            Ended::TooMuch => return Err(GitError::TooMuch { remote: remote(), limit: MOST_OUTPUT }),
        };
        match status.code() {
            Some(0) => Ok(stdout),
            // A shell says so of a program that it does not find.
            Some(127) => Err(GitError::NoProgram),
            _ => Err(GitError::Refused { remote: remote(), reason: self.reason(&stderr) }),
        }
    }

    fn configure(&self, command: &mut Command, reach: Reach) {
        let protocols = match reach {
            Reach::Nothing => "none",
            Reach::Files => "file",
            Reach::Network | Reach::Anywhere => "http:https:git:ssh",
        };
        command.envs([
            ("LC_ALL", "C"),
            ("HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("SSH_ASKPASS", "/bin/false"),
            ("GIT_ALLOW_PROTOCOL", protocols),
        ]);
        // A host that is not known is trusted when it is first seen; one whose key changed is not.
        let mut ssh =
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o IdentityFile=none".to_owned();
        ssh.push_str(" -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4");
        match &self.access.ssh_agent {
            Some(socket) => drop(command.env("SSH_AUTH_SOCK", socket)),
            None => ssh.push_str(" -o IdentityAgent=none"),
        }
        command.env("GIT_SSH_COMMAND", ssh);
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (scope, value) in self.authorizations() {
            settings.push((format!("http.{scope}.extraHeader"), format!("Authorization: {value}")));
            // Git would send the header to wherever it is sent on to.
            settings.push((format!("http.{scope}.followRedirects"), "false".to_owned()));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
    }

    /// What to present at which addresses. Of several that hold for an address git takes the narrowest if that comes first.
    fn authorizations(&self) -> Vec<(&str, &str)> {
        let given = self.access.authorization.as_deref().map(|value| (scope(&self.remote), value));
        let own = self.credentials.as_ref().and_then(Credentials::authorization);
        let own = own.filter(|(origin, _)| given.is_none_or(|(scope, _)| scope != *origin));
        given.into_iter().chain(own).collect()
    }

    /// What git says went wrong, without credentials.
    fn reason(&self, stderr: &[u8]) -> String {
        let text = without_any_credentials(&String::from_utf8_lossy(stderr));
        let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !is_progress(line)).collect();
        let lines = &lines[lines.len().saturating_sub(REASON_LINES)..];
        let clean = |line: &&str| line.chars().filter(|c| !c.is_control()).collect::<String>();
        let text = lines.iter().map(clean).collect::<Vec<_>>().join("\n");
        match &self.credentials {
            Some(credentials) => credentials.hide(&text),
            None => text,
        }
    }
}

/// For which addresses an authorization counts: the repository's own, but all of GitHub, as BuildKit has it.
fn scope(remote: &str) -> &str {
    ["https://github.com/", "https://www.github.com/"].into_iter().find(|all| remote.starts_with(all)).unwrap_or(remote)
}

/// Whether a line only says how far git has come.
fn is_progress(line: &str) -> bool {
    let line = line.strip_prefix("remote: ").unwrap_or(line);
    line.is_empty() || line.contains("% (") || line.starts_with("Enumerating objects: ") || line.starts_with("Total ")
}
