//! The clone: namespaces, a stack of its own for the child, and the caller's side of the spawn.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

use libc::{c_int, c_void};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, PidfdFlags, dumpable_behavior, pidfd_open, set_dumpable_behavior};

use crate::cgroup::Group;
use crate::child;
use crate::error::{SpawnError, explain};
use crate::plan::Plan;
use crate::spec::{Output, Spec, Stdin};
use crate::stubs::Stubs;
use crate::wait::{Child, own_max_rss, reap};

/// The child's frames hold a few path buffers of 4 KiB each; untouched pages cost nothing.
const STACK_SIZE: usize = 256 << 10;
const GUARD_SIZE: usize = 64 << 10;
/// `pidfd_open` of one thread instead of its process; Linux 6.9.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);

/// Runs `spec`; returns once its program has been executed.
pub(crate) fn spawn(spec: &Spec) -> Result<Child, SpawnError> {
    let mut stdio = Stdio::open(spec)?;
    let parent = own_pidfd().map_err(|errno| SpawnError::setup("open a handle on this process", errno))?;
    let group = spec.cgroup.as_ref().map(Group::make).transpose()?;
    let cgroups = group.as_ref().map(Group::entries).unwrap_or_default();
    let (mut plan, targets) = Plan::new(spec, stdio.child_ends(), cgroups, parent)?;
    let (pid, pidfd) =
        clone_with(&mut plan).map_err(|error| SpawnError::setup("create a process in new namespaces", error))?;
    stdio.close_child_ends();
    let stubs = Stubs::new(&spec.root, &plan.outcome.stubs);
    if let Some(failure) = plan.outcome.failure {
        // The child has exited, or is about to.
        let _ = reap(pid);
        // The failure at hand says more than one of the clean-up would.
        let _ = stubs.clean_up();
        return Err(explain(failure, spec, &targets, &plan.outcome.head));
    }
    Ok(Child {
        stdout: stdio.stdout.take(),
        stderr: stdio.stderr.take(),
        pid,
        pidfd: Arc::new(pidfd),
        exit: None,
        callers_rss: own_max_rss(),
        group,
        stubs,
        stays_on_its_thread: PhantomData,
    })
}

/// A descriptor that is readable once this thread, or on older kernels this process, is dead.
fn own_pidfd() -> rustix::io::Result<OwnedFd> {
    match pidfd_open(rustix::thread::gettid(), PIDFD_THREAD) {
        Err(Errno::INVAL) => pidfd_open(rustix::process::getpid(), PidfdFlags::empty()),
        done => done,
    }
}

/// Both sides of the standard streams.
struct Stdio {
    child: [Option<OwnedFd>; 3],
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Stdio {
    fn open(spec: &Spec) -> Result<Self, SpawnError> {
        let open = || -> io::Result<Self> {
            let mut stdio = Self { child: [None, None, None], stdout: None, stderr: None };
            // The program may open `/dev/stdin` and `/dev/stdout` anew, which the kernel allows their owner only.
            let owned = |end: &OwnedFd| std::os::unix::fs::fchown(end, Some(spec.user.uid), None);
            if spec.stdin == Stdin::Ended {
                let (reading, _) = pipe_with(PipeFlags::CLOEXEC)?;
                owned(&reading)?;
                stdio.child[0] = Some(above_stdio(reading)?);
            }
            if spec.output == Output::Piped {
                for (index, reader) in [(1, &mut stdio.stdout), (2, &mut stdio.stderr)] {
                    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
                    owned(&writing)?;
                    stdio.child[index] = Some(above_stdio(writing)?);
                    *reader = Some(File::from(above_stdio(reading)?));
                }
            }
            Ok(stdio)
        };
        open().map_err(|error| SpawnError::setup("open standard streams", error))
    }

    fn child_ends(&self) -> [Option<RawFd>; 3] {
        [0, 1, 2].map(|index: usize| self.child[index].as_ref().map(AsRawFd::as_raw_fd))
    }

    fn close_child_ends(&mut self) {
        self.child = [None, None, None];
    }
}

/// A caller without standard streams gets low numbers for what it opens, which the child would replace.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(fcntl_dupfd_cloexec(&fd, 3)?) }
}

/// Clones a child that runs `plan`, and sleeps until it has executed its program or exited.
fn clone_with(plan: &mut Plan) -> io::Result<(i32, OwnedFd)> {
    let mut flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_PIDFD
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::SIGCHLD;
    // A user namespace would be one more flag. Its maps are for another thread to write, for this one sleeps.
    if plan.own_network {
        flags |= libc::CLONE_NEWNET;
    }
    let stack = Stack::new()?;
    let dumpable = dumpable_behavior();
    let mut pidfd: RawFd = -1;
    let blocked = BlockedSignals::new();
    // SAFETY: the child runs `entry` with `plan` on `stack`, both of which outlive it, since `CLONE_VFORK` suspends this
    // thread until the child has executed a program or exited. It shares this thread's thread-local storage for as
    // long, which is how `errno` works in it. Signals are blocked, so no handler runs in the child.
    let pid = unsafe {
        libc::clone(
            entry,
            stack.top(),
            flags,
            ptr::from_mut(plan).cast(),
            &raw mut pidfd,
            ptr::null_mut::<c_void>(),
            ptr::null_mut::<c_void>(),
        )
    };
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(error);
    }
    // A child that changes its user makes the memory that it shares undumpable.
    if let Ok(before @ DumpableBehavior::Dumpable) = dumpable {
        let _ = set_dumpable_behavior(before);
    }
    // SAFETY: the kernel has just made this descriptor and nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid, pidfd))
}

extern "C" fn entry(plan: *mut c_void) -> c_int {
    // SAFETY: `clone_with` passes its exclusive reference, and sleeps while this one lives.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    plan.outcome.failure = Some(child::run(plan));
    // SAFETY: ends this process only, without running anything of the caller's.
    unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    127
}

/// Memory for the child to run on, with an unmapped guard below it.
struct Stack {
    base: *mut c_void,
}

impl Stack {
    fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), GUARD_SIZE + STACK_SIZE, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base };
        // SAFETY: the range is the lowest part of the mapping just made.
        if unsafe { libc::mprotect(base, GUARD_SIZE, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(GUARD_SIZE + STACK_SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and the child that ran on it has left it.
        unsafe { libc::munmap(self.base, GUARD_SIZE + STACK_SIZE) };
    }
}

/// Blocks all signals of this thread until dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: both sets are plain data which the calls fill in.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self { before }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}
