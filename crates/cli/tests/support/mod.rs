//! The harness: a store, a context and a `kiln` that sees nothing of the user's environment.
//!
//! ```no_run
//! let Some(kiln) = Kiln::for_builds() else { return };
//! kiln.write("Dockerfile", "FROM base\nRUN echo hello\n");
//! kiln.build(["-t", "app"]).succeeds().stderr_has("hello");
//! ```

mod base;
mod browser;
mod git_server;
mod image;
mod outcome;
mod registry;
mod web;

pub(crate) use base::has_program;
pub(crate) use browser::Browser;
pub(crate) use git_server::GitServer;
pub(crate) use image::{Image, foreign_layer, layout_with, tar_entries};
pub(crate) use outcome::Ran;
pub(crate) use registry::Registry;
pub(crate) use web::{Page, Web};

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A store below a temporary directory, and a context for builds. Both are gone when it is dropped.
pub(crate) struct Kiln {
    dir: TempDir,
}

impl Kiln {
    /// For commands that build nothing.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kiln-test-").tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("context")).expect("a context");
        Self { dir }
    }

    /// For builds; `None`, with the reason on standard output, where this machine cannot do them.
    pub(crate) fn for_builds() -> Option<Self> {
        if let Some(reason) = base::missing() {
            println!("skipped: {reason}");
            return None;
        }
        Some(Self::new())
    }

    /// A path beside the context, for outputs and the like.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The store's root.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// The context.
    pub(crate) fn context(&self) -> PathBuf {
        self.path("context")
    }

    /// Writes a file of the context, with the directories above it.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> &Self {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().expect("a file in the context")).expect("directories");
        fs::write(path, contents).expect("a file");
        self
    }

    /// Changes the mode of a file of the context.
    pub(crate) fn chmod(&self, name: &str, mode: u32) -> &Self {
        fs::set_permissions(self.context().join(name), fs::Permissions::from_mode(mode)).expect("a file to chmod");
        self
    }

    /// Runs `kiln` with these arguments, in the context.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs `kiln` with something on its standard input.
    pub(crate) fn run_with_input<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln");
        child.stdin.take().expect("a pipe").write_all(input).expect("kiln reads its input");
        Ran::finished(&command, child.wait_with_output().expect("kiln ends"))
    }

    /// Starts `kiln` and does not wait.
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln")
    }

    /// `kiln build CONTEXT ARGUMENTS`, where `FROM base` is a small image with a shell.
    pub(crate) fn build<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.build_command(arguments))
    }

    /// The value of `--build-context` that makes `FROM base` work.
    pub(crate) fn base(&self) -> String {
        format!("base=oci-layout://{}", base::layout().display())
    }

    /// The command that [`Self::build`] runs.
    pub(crate) fn build_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(["build", "--progress=plain", "--build-context"]);
        command.arg(self.base()).arg(self.context()).args(arguments);
        command
    }

    /// `kiln` with these arguments.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = kiln(self.dir.path(), &self.root());
        command.args(arguments).current_dir(self.context());
        command
    }
}

/// The program in an environment that has nothing of the user's.
fn kiln(home: &Path, root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home).env("KILN_ROOT", root);
    // An explicit configuration, so that nobody's /etc/kiln is read.
    command.env("KILN_CONFIG", "/dev/null").stdin(Stdio::null());
    command
}
