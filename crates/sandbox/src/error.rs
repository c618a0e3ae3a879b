//! What can go wrong before the program runs, and how it is said.
//!
//! The child cannot allocate or format, so it reports a [`Failure`]: a stage, an index into the plan and an errno.
//! The parent, which still has the [`Spec`], turns that into a [`SpawnError`].

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::machine::Machine;
use crate::spec::{Root, Spec};

/// The sandbox could not be set up, or its program not be executed.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The spec contradicts itself or holds a value that cannot be passed to the kernel.
    #[error("invalid sandbox: {what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// A step of setting up the sandbox failed.
    #[error("{doing}")]
    Setup {
        /// What was being done, with the path.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The layers are on a filesystem on which no overlay can keep its changes: another overlay.
    #[error("`{}` is on an overlay filesystem, on which no other one can keep its changes", .upper.display())]
    Overlaid {
        /// Where the changes would be.
        upper: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A control group could not be made or limited.
    #[error("{doing}")]
    Cgroup {
        /// What was being done, with the path.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A limit is of a controller that this machine has not mounted.
    #[error("no mounted control group hierarchy has the `{controller}` controller")]
    NoController {
        /// Its name.
        controller: &'static str,
    },
    /// The working directory cannot be made, or is not a directory.
    #[error("working directory `{cwd}`")]
    Cwd {
        /// The directory as given.
        cwd: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program without a `/` is in none of the directories of `PATH`.
    #[error("exec `{program}`: not found in `PATH`")]
    NotInPath {
        /// The program as given.
        program: String,
    },
    /// The program exists, but what interprets it does not.
    #[error("exec `{program}`: its interpreter `{interpreter}` is not in the image")]
    MissingInterpreter {
        /// The program as given.
        program: String,
        /// Named by the first line of a script, or the dynamic loader of a binary.
        interpreter: String,
    },
    /// The program leads to the executable of the caller (`/proc/self/exe` and the like), which no image may run.
    #[error("exec `{program}`: leads out of the image through a magic link")]
    MagicLink {
        /// The program as given.
        program: String,
    },
    /// The program is for another machine, and the kernel has no interpreter for it, or none that the image has too.
    #[error("exec `{program}`: it is a program for another machine")]
    Foreign {
        /// The program as given.
        program: String,
        /// The machine.
        machine: Machine,
    },
    /// The program could not be executed.
    #[error("exec `{program}`")]
    Exec {
        /// The program as given.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SpawnError {
    /// The exit code that Docker gives a container that fails like this: 127 when the program is not found,
    /// 126 when it cannot be executed, `None` when the failure is not the program's.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::NotInPath { .. } | Self::MissingInterpreter { .. } => Some(127),
            Self::MagicLink { .. } | Self::Foreign { .. } => Some(126),
            Self::Exec { source, .. } if source.raw_os_error() == Some(libc::ENOENT) => Some(127),
            Self::Exec { .. } => Some(126),
            Self::Invalid { .. }
            | Self::Setup { .. }
            | Self::Overlaid { .. }
            | Self::Cgroup { .. }
            | Self::NoController { .. }
            | Self::Cwd { .. } => None,
        }
    }

    pub(crate) fn setup(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Setup { doing: doing.into(), source: source.into() }
    }
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Session,
    Cgroup,
    Hostname,
    Loopback,
    Propagation,
    /// Opening the source of mount `index`.
    Source,
    RootMount,
    Pivot,
    /// Mounting `SYSTEM_MOUNTS[index]`.
    System,
    /// Showing device `DEVICES[index]`.
    Device,
    /// Resolving or creating the target of mount `index`.
    Target,
    /// A target of mount `index` inside `/proc`.
    TargetInProc,
    /// Attaching mount `index`.
    Attach,
    /// Masking path `index`.
    Mask,
    ReadOnlyPath,
    ReadOnlyRoot,
    Cwd,
    Stdio,
    Rlimit,
    Seccomp,
    Capabilities,
    Ids,
    ParentDeath,
    CloseFiles,
    /// Looking at candidate `index` of the program: a magic link on the way to it or to its interpreter.
    MagicLink,
    Exec,
}

/// The child's report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) index: usize,
    pub(crate) errno: Errno,
}

/// Attaches a stage to an errno.
pub(crate) trait At<T> {
    fn at(self, stage: Stage) -> Result<T, Failure>;
    fn at_index(self, stage: Stage, index: usize) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, stage: Stage) -> Result<T, Failure> {
        self.at_index(stage, 0)
    }

    fn at_index(self, stage: Stage, index: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure { stage, index, errno })
    }
}

/// Puts the child's report into words. `targets` are the mount targets by index, `head` the first bytes of the program
/// that failed to execute.
pub(crate) fn explain(failure: Failure, spec: &Spec, targets: &[PathBuf], head: &[u8]) -> SpawnError {
    let Failure { stage, index, errno } = failure;
    let target = || targets.get(index).map(|path| path.display().to_string()).unwrap_or_default();
    let program = || spec.args.first().cloned().unwrap_or_default();
    if let (Stage::RootMount, Root::Overlay { upper, .. }) = (stage, &spec.root)
        && is_on_overlay(upper)
    {
        return SpawnError::Overlaid { upper: upper.clone(), source: errno.into() };
    }
    let doing = match stage {
        Stage::Exec => return explain_exec(program(), errno, head),
        Stage::MagicLink => return SpawnError::MagicLink { program: program() },
        Stage::Cwd => return SpawnError::Cwd { cwd: spec.cwd.clone(), source: errno.into() },
        Stage::TargetInProc => {
            return SpawnError::Invalid { what: format!("mount target `{}` is inside `/proc`", target()) };
        }
        Stage::Session => "start a session".to_owned(),
        Stage::Cgroup => {
            return SpawnError::Cgroup { doing: "enter the control group".to_owned(), source: errno.into() };
        }
        Stage::Hostname => format!("set the host name `{}`", spec.hostname),
        Stage::Loopback => "bring up the loopback device".to_owned(),
        Stage::Propagation => "make the mounts of the sandbox private".to_owned(),
        Stage::Source => format!("open the source of the mount at `{}`", target()),
        Stage::RootMount => "mount the root filesystem".to_owned(),
        Stage::Pivot => "enter the root filesystem".to_owned(),
        Stage::System => match crate::system::SYSTEM_MOUNTS.get(index) {
            Some(path) => format!("mount `{path}`"),
            None => "mount the system directories".to_owned(),
        },
        Stage::Device => match crate::system::DEVICES.get(index) {
            Some(name) => format!("provide the device `/dev/{}`", name.to_string_lossy()),
            None => "fill `/dev`".to_owned(),
        },
        Stage::Target => format!("make the mount point `{}`", target()),
        Stage::Attach => format!("mount at `{}`", target()),
        Stage::Mask => "mask a path of `/proc` or `/sys`".to_owned(),
        Stage::ReadOnlyPath => "make a path of `/proc` read-only".to_owned(),
        Stage::ReadOnlyRoot => "make the root filesystem read-only".to_owned(),
        Stage::Stdio => "connect standard input and output".to_owned(),
        Stage::Rlimit => match spec.rlimits.get(index) {
            Some(limit) => format!("set resource limit {} to {}:{}", limit.resource, limit.soft, limit.hard),
            None => "set resource limits".to_owned(),
        },
        Stage::Seccomp => "install the seccomp policy".to_owned(),
        Stage::Capabilities => "drop capabilities".to_owned(),
        Stage::Ids => format!("become user {} and group {}", spec.user.uid, spec.user.gid),
        Stage::ParentDeath => "bind the sandbox to its parent".to_owned(),
        Stage::CloseFiles => "close inherited files".to_owned(),
    };
    SpawnError::setup(doing, errno)
}

fn is_on_overlay(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == libc::OVERLAYFS_SUPER_MAGIC)
}

fn explain_exec(program: String, errno: Errno, head: &[u8]) -> SpawnError {
    if errno == Errno::NOENT && !program.contains('/') && head.is_empty() {
        return SpawnError::NotInPath { program };
    }
    if let Some(machine) = Machine::of_elf(head).filter(|machine| machine.is_foreign())
        && matches!(errno, Errno::NOEXEC | Errno::NOENT)
    {
        return SpawnError::Foreign { program, machine };
    }
    match crate::exec::interpreter(head) {
        Some(interpreter) if errno == Errno::NOENT => {
            let interpreter = String::from_utf8_lossy(interpreter).into_owned();
            SpawnError::MissingInterpreter { program, interpreter }
        }
        _ => SpawnError::Exec { program, source: errno.into() },
    }
}
