//! A running sandbox: its pipes, its end, and how to bring that about early.
//!
//! The kernel kills the process (unless it is a set-uid program) when the *thread* that spawned it ends (`PR_SET_PDEATHSIG` is bound to the thread, not to
//! its process). [`Child`] is therefore not `Send`: whoever spawns stays and waits. [`Killer`] may go anywhere.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::cgroup::Group;
use crate::stubs::Stubs;

/// A process in its sandbox. Dropping it kills the process and everything it started.
#[derive(Debug)]
pub struct Child {
    /// Reading end of standard output, when piped. May be taken and read on another thread.
    pub stdout: Option<File>,
    /// Reading end of standard error, when piped. May be taken and read on another thread.
    pub stderr: Option<File>,
    pub(crate) pid: i32,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) exit: Option<Exit>,
    /// The caller's largest resident set when the program was executed.
    pub(crate) callers_rss: u64,
    /// Removed once the process has ended.
    pub(crate) group: Option<Group>,
    pub(crate) stubs: Stubs,
    pub(crate) stays_on_its_thread: PhantomData<*const ()>,
}

/// How a sandbox ended, and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code or signal of the process.
    pub status: ExitStatus,
    /// Resources used by the process and those of its descendants that it waited for.
    pub usage: Usage,
    /// Whether the kernel killed something in the sandbox because it was out of the memory that its [`crate::Limits`] allow.
    pub out_of_memory: bool,
}

/// Exit code or signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// The process exited with this code.
    Code(i32),
    /// The process was killed by this signal.
    Signal(i32),
}

impl Exit {
    /// Whether the process exited with code 0.
    pub fn success(&self) -> bool {
        self.status == ExitStatus::Code(0)
    }

    /// The exit code as a shell reports it: 128 plus the number for a signal.
    pub fn code(&self) -> i32 {
        match self.status {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

/// Resources used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Largest resident set of any one process, in bytes. `None` if it never exceeded the caller's: the kernel counts
    /// the moment before the program was executed, when the process shared the caller's memory.
    pub max_rss: Option<u64>,
    /// Time spent in user mode.
    pub user: Duration,
    /// Time spent in the kernel.
    pub system: Duration,
}

/// The process could not be waited for.
#[derive(Debug, thiserror::Error)]
#[error("wait for process `{pid}`")]
pub struct WaitError {
    /// Its process id on the host.
    pub pid: i32,
    /// What the kernel said.
    pub source: io::Error,
}

/// Kills a sandbox from any thread. Cheap to clone; harmless once the sandbox has ended.
#[derive(Debug, Clone)]
pub struct Killer {
    pidfd: Arc<OwnedFd>,
}

impl Killer {
    /// Kills the process, and with it, as the first of its pid namespace, all that it started.
    pub fn kill(&self) {
        // The only failure is that there is nothing left to kill.
        let _ = rustix::process::pidfd_send_signal(&*self.pidfd, Signal::KILL);
    }

    /// Sends a signal, by number, to the process only. It arrives only if the process has a handler for it.
    pub fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = rustix::process::pidfd_send_signal(&*self.pidfd, signal);
        }
    }
}

impl AsFd for Killer {
    /// A pidfd: readable, for `poll`, once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Child {
    /// Process id on the host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A handle that kills this sandbox from elsewhere.
    pub fn killer(&self) -> Killer {
        Killer { pidfd: Arc::clone(&self.pidfd) }
    }

    /// Kills the process and all that it started. [`Child::wait`] then reports the signal.
    pub fn kill(&self) {
        self.killer().kill();
    }

    /// The mount points that were created in the root filesystem, to be removed after [`Child::wait`].
    pub fn stubs(&self) -> &Stubs {
        &self.stubs
    }

    /// Waits for the end. When it returns no process of the sandbox is left. Later calls return the same.
    ///
    /// Read the pipes to their end on other threads meanwhile: a process blocks when a pipe is full.
    pub fn wait(&mut self) -> Result<Exit, WaitError> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let mut exit = reap(self.pid).map_err(|source| WaitError { pid: self.pid, source })?;
        exit.usage.max_rss = exit.usage.max_rss.filter(|bytes| *bytes > self.callers_rss);
        exit.out_of_memory = self.group.take().is_some_and(|group| group.ran_out_of_memory());
        self.exit = Some(exit);
        Ok(exit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.kill();
            let _ = self.wait();
        }
    }
}

pub(crate) fn reap(pid: i32) -> io::Result<Exit> {
    let mut status = 0;
    // SAFETY: `rusage` is plain data for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the types that the call writes.
        let reaped = unsafe { libc::wait4(pid, &mut status, libc::__WALL, &mut usage) };
        if reaped == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let status = if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    };
    let usage = Usage {
        max_rss: Some(bytes(usage.ru_maxrss)),
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
    };
    Ok(Exit { status, usage, out_of_memory: false })
}

/// The largest resident set that this process ever had.
pub(crate) fn own_max_rss() -> u64 {
    // SAFETY: `rusage` is plain data for which all zeros is a value, and which the call fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    bytes(usage.ru_maxrss)
}

fn bytes(kibibytes: libc::c_long) -> u64 {
    u64::try_from(kibibytes).unwrap_or(0) * 1024
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u32::try_from(time.tv_usec).unwrap_or(0);
    Duration::new(seconds, micros.saturating_mul(1000))
}
