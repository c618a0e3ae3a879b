//! What a step may use of the machine, and what is said when it wanted more.

use super::foreign;
use crate::error::{EngineError, ErrorKind};
use kiln_graph::Resources;
use kiln_sandbox::{Cgroup, Exit, ExitStatus, Limits, SpawnError};

/// The number that the kernel kills with.
const SIGKILL: i32 = 9;

/// The control group of a step; nothing unless a limit or a parent is asked for, for it costs more than the rest of the sandbox.
pub(crate) fn cgroup(parent: Option<&str>, resources: &Resources) -> Option<Cgroup> {
    if parent.is_none() && *resources == Resources::default() {
        return None;
    }
    let limits = Limits {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        cpu_shares: resources.cpu_shares,
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
    };
    Some(Cgroup { parent: parent.map(str::to_owned), limits })
}

/// A sandbox that did not start; `what` was to run in it.
pub(crate) fn not_started(what: &str, error: SpawnError) -> EngineError {
    let message = format!("cannot run `{what}`");
    match &error {
        SpawnError::Cgroup { .. } | SpawnError::NoController { .. } => {
            EngineError::new(ErrorKind::Unsupported, message).with_hint(
                "limits need control groups that kiln may make: leave them out, or name a group of yours with `--cgroup-parent`",
            )
        }
        SpawnError::Overlaid { .. } => EngineError::new(ErrorKind::Unsupported, message).with_hint(
            "put kiln's store on another filesystem with `--root DIR` or `KILN_ROOT`: in a container, on a volume",
        ),
        SpawnError::Foreign { program, machine } => foreign::explain(what, program, *machine),
        SpawnError::Exec { program, .. } if program == "/bin/sh" && error.exit_code() == Some(127) => {
            EngineError::new(ErrorKind::BuildFailed, message).with_hint(
                "the image has no shell: write the command as a list, [\"PROGRAM\", \"ARGUMENT\"], or begin with an image that has one",
            )
        }
        _ if error.exit_code().is_some() => EngineError::new(ErrorKind::BuildFailed, message),
        _ => EngineError::new(ErrorKind::Internal, message),
    }
    .with_source(error)
}

/// How a process ended that should not have ended so.
pub(crate) fn how(exit: &Exit, memory: Option<u64>) -> String {
    let plain = match exit.status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("killed by signal {signal}"),
    };
    if !exit.out_of_memory {
        return plain;
    }
    let limit = memory.map(|bytes| format!(" (limit {})", size(bytes))).unwrap_or_default();
    match exit.status {
        // A shell reports the end of its last command as its own.
        ExitStatus::Signal(SIGKILL) | ExitStatus::Code(137) => format!("killed: out of memory{limit}"),
        _ => format!("{plain}, after a process was killed: out of memory{limit}"),
    }
}

/// Bytes in the unit that people give limits in.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = units.len().min(1 + bytes.trailing_zeros() as usize / 10).max(1) - 1;
    format!("{} {}", bytes >> (10 * power), units[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let exit = |status, out_of_memory| Exit { status, usage: Default::default(), out_of_memory };
        for (exit, memory, expected) in [
            (exit(ExitStatus::Code(3), false), None, "exit code 3"),
            (exit(ExitStatus::Signal(9), false), Some(1 << 26), "killed by signal 9"),
            (exit(ExitStatus::Signal(9), true), Some(1 << 26), "killed: out of memory (limit 64 MiB)"),
            (exit(ExitStatus::Code(137), true), None, "killed: out of memory"),
            (
                exit(ExitStatus::Code(1), true),
                Some((1 << 30) + 1024),
                "exit code 1, after a process was killed: out of memory (limit 1048577 KiB)",
            ),
        ] {
            assert_eq!(how(&exit, memory), expected);
        }
        assert_eq!(size(7), "7 bytes");
        assert_eq!(size(1 << 50), "1024 TiB");
    }
}
