//! Runs one command, measures its wall time and its peak memory.
//!
//! Peak memory is the kernel's own high-water mark of the process's resident
//! set, read from `/proc/PID/status` while it runs: the mark only rises, so what
//! is missed is at most the growth of the last few milliseconds. It counts the
//! process itself and not its children, which for a builder are the user's
//! programs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::process;

const SAMPLING: Duration = Duration::from_millis(4);

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// Of the builder's own processes, daemons included, in KiB.
    pub(crate) peak_kib: u64,
    /// Bytes that went to a cache which travels, where the builder tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<u64>,
}

/// Runs `command` with its output in `log`, and wants success.
pub(crate) fn run(command: &mut Command, log: &Path) -> Result<Sample> {
    let file = std::fs::File::create(log).with_context(|| format!("cannot make `{}`", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run `{}`", command.get_program().display()))?;
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let (status, seconds, peak_kib) = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(high_water(pid).unwrap_or(0));
                thread::park_timeout(SAMPLING);
            }
            peak
        });
        let status = child.wait();
        let seconds = start.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        sampler.thread().unpark();
        (status, seconds, sampler.join().unwrap_or_default())
    });
    let status = status.context("cannot wait for a builder")?;
    if !status.success() {
        bail!("`{}`: {status}\n{}", process::describe(command), process::log_tail(log));
    }
    Ok(Sample { seconds, peak_kib, sent: None })
}

/// The high-water mark of a process's resident set, in KiB; none when it ended.
pub(crate) fn high_water(pid: u32) -> Option<u64> {
    parse_high_water(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Sets a process's high-water mark back to what it holds now.
pub(crate) fn reset_high_water(pid: u32) {
    // 5 is the command's number in proc(5). Where the kernel refuses, the mark
    // of an earlier build stands, which is a daemon's resident memory anyway.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn parse_high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_from_status() {
        assert_eq!(parse_high_water("Name:\tkiln\nVmHWM:\t   12345 kB\n"), Some(12345));
        assert_eq!(parse_high_water("Name:\tkiln\n"), None);
        assert!(high_water(std::process::id()).is_some_and(|kib| kib > 100));
    }

    #[test]
    fn a_failing_command_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let log = dir.path().join("log");
        let error = run(command.args(["-c", "echo broken; exit 1"]), &log).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }

    #[test]
    fn time_and_memory_are_measured() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        let sample = run(command.arg("0.05"), &dir.path().join("log")).unwrap();
        assert!(sample.seconds >= 0.05 && sample.peak_kib > 0, "{sample:?}");
    }
}
