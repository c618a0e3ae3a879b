//! What the child does, in order, from the moment it exists to the moment its program takes over.
//!
//! Runs in the caller's memory while the calling thread sleeps: see the invariants in the crate's documentation.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Uid, chownat, mkdirat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{Signal, fchdir, set_parent_process_death_signal, setsid, umask};
use rustix::thread::CapabilitySet;

use crate::caps;
use crate::error::{At, Failure, Stage};
use crate::exec;
use crate::mounts::{self, last_errno};
use crate::openat2::openat2;
use crate::plan::Plan;
use crate::system;

/// Sets up the sandbox and executes the program. Returns only on failure.
pub(crate) fn run(plan: &mut Plan) -> Failure {
    match set_up(plan) {
        Ok(()) => exec::run(plan),
        Err(failure) => failure,
    }
}

fn set_up(plan: &mut Plan) -> Result<(), Failure> {
    reset_signals();
    umask(Mode::from_raw_mode(0o022));
    setsid().at(Stage::Session)?;
    enter_cgroups(&plan.cgroups)?;
    rustix::system::sethostname(&plan.hostname).at(Stage::Hostname)?;
    if plan.own_network {
        bring_up_loopback().at(Stage::Loopback)?;
    }

    mounts::make_private().at(Stage::Propagation)?;
    mounts::open_sources(&mut plan.mounts)?;
    let devices = system::open_devices()?;
    let nodev = if plan.confined { MountAttrFlags::MOUNT_ATTR_NODEV } else { MountAttrFlags::empty() };
    let root = mounts::enter_root(&mut plan.root, nodev)?;
    system::mount_all(plan, &root, &devices)?;
    mounts::attach_all(plan, &root)?;
    if plan.confined {
        system::restrict(plan, &root, &devices)?;
    }
    if plan.read_only {
        mounts::seal_root(&root).at(Stage::ReadOnlyRoot)?;
    }

    enter_cwd(&plan.cwd).at(Stage::Cwd)?;
    exec::inspect(plan)?;
    connect_stdio(&plan.stdio).at(Stage::Stdio)?;
    for (index, (resource, limit)) in plan.rlimits.iter().enumerate() {
        set_limit(*resource, limit).at_index(Stage::Rlimit, index)?;
    }
    become_confined(plan)?;
    follow_parent(plan).at(Stage::ParentDeath)?;
    close_on_exec().at(Stage::CloseFiles)?;
    unblock_signals();
    Ok(())
}

/// Gives up privileges. The policy comes first: without `no_new_privs`, which would break set-uid programs as Docker does
/// not, only a process with `CAP_SYS_ADMIN` may install one. What follows is allowed by it.
fn become_confined(plan: &Plan) -> Result<(), Failure> {
    if let Some(policy) = plan.seccomp {
        policy.install().at(Stage::Seccomp)?;
        caps::limit_bounding_set(caps::DEFAULT).at(Stage::Capabilities)?;
    }
    caps::become_user(plan.uid, plan.gid, &plan.groups).at(Stage::Ids)?;
    if plan.confined {
        let kept = if plan.uid.is_root() { caps::DEFAULT } else { CapabilitySet::empty() };
        caps::set(kept).at(Stage::Capabilities)?;
    }
    Ok(())
}

/// Resets all dispositions, for an ignored signal stays ignored by the program, and Rust programs ignore `SIGPIPE`.
fn reset_signals() {
    // The kernel's `sigaction`, of which all zeros means the default action.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads at most 32 bytes, which `default` has; for `SIGKILL` and `SIGSTOP` it refuses.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), size_of::<u64>())
        };
    }
}

/// The calling thread had blocked all signals before it cloned, so that none was handled in its memory.
fn unblock_signals() {
    let none = 0u64;
    // SAFETY: the kernel reads eight bytes, which is the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
}

/// Enters the sandbox's control groups, and a namespace that shows them as the roots.
fn enter_cgroups(entries: &[RawFd]) -> Result<(), Failure> {
    for entry in entries {
        // SAFETY: the parent keeps the descriptor open while it sleeps.
        let entry = unsafe { BorrowedFd::borrow_raw(*entry) };
        rustix::io::write(entry, b"0").at(Stage::Cgroup)?;
    }
    // SAFETY: no pointers are involved; the parent's namespaces stay as they are.
    let result = unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWCGROUP) };
    if result == 0 { Ok(()) } else { Err(last_errno()).at(Stage::Cgroup) }
}

fn bring_up_loopback() -> rustix::io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    use std::os::fd::AsRawFd;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zeros is a value of `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a live `ifreq`, which is what this ioctl reads.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// What is missing of the working directory is made, as Docker does: an earlier step may have removed it. It stays.
///
/// Without magic links, for `/proc/self/fd/N` as a working directory is a way back to the host.
fn enter_cwd(cwd: &CStr) -> rustix::io::Result<()> {
    let open = |from: BorrowedFd<'_>, path: &CStr| {
        openat2(from, path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_MAGICLINKS)
    };
    match open(rustix::fs::CWD, cwd) {
        Err(Errno::NOENT) => {}
        directory => return fchdir(directory?),
    }
    let mut directory = open(rustix::fs::CWD, c"/")?;
    for part in cwd.to_bytes().split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        // On the stack: the child may not allocate.
        let mut name = [0; 256];
        name.get_mut(..part.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
        let name = CStr::from_bytes_until_nul(&name).map_err(|_| Errno::NAMETOOLONG)?;
        directory = match open(directory.as_fd(), name) {
            Err(Errno::NOENT) => {
                mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
                // Not the group of a directory with the set-group-id bit, though the bit itself.
                chownat(&directory, name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
                open(directory.as_fd(), name)?
            }
            found => found?,
        };
    }
    fchdir(directory)
}

fn connect_stdio(stdio: &[Option<RawFd>; 3]) -> rustix::io::Result<()> {
    for (target, source) in (0..).zip(stdio) {
        let Some(source) = source else { continue };
        // SAFETY: the parent keeps the descriptor open while it sleeps, and it is above 2, so not yet replaced.
        let source = unsafe { BorrowedFd::borrow_raw(*source) };
        // SAFETY: never dropped, hence never closed; the number is about to be valid.
        let mut target = ManuallyDrop::new(unsafe { std::os::fd::FromRawFd::from_raw_fd(target) });
        rustix::io::dup2(source, &mut target)?;
    }
    Ok(())
}

fn set_limit(resource: u32, limit: &libc::rlimit64) -> rustix::io::Result<()> {
    // SAFETY: the new limit is a live `rlimit64`, and no old one is asked for.
    let result = unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::from_ref(limit), ptr::null_mut::<libc::rlimit64>())
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Asks to be killed when the parent's thread ends. Changing ids clears the request, so it comes after that, and the
/// parent may have died before.
fn follow_parent(plan: &Plan) -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut parent = [PollFd::new(&plan.parent, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut parent, Some(&at_once)) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Errno::SRCH),
        Err(errno) => Err(errno),
    }
}

fn close_on_exec() -> rustix::io::Result<()> {
    // SAFETY: no pointers are involved.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
