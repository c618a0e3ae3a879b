//! `/proc`, `/sys` and `/dev` of a sandbox, and what of them is hidden or read-only, as Docker has it.
//!
//! `/proc` and `/sys` must be directories of the image, never symbolic links: what is masked below them would otherwise
//! not be what the process reaches.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, statfs, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::error::{At, Failure, Stage};
use crate::mounts::{attach, copy_of, mount_new, resolve, set_attributes};
use crate::openat2::openat2;
use crate::plan::Plan;
use crate::stubs::{Kind, Origin};

/// In the order in which they are mounted.
pub(crate) const SYSTEM_MOUNTS: [&str; 7] =
    ["/proc", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];
const PROC: usize = 0;
const SYS: usize = 1;
const CGROUP: usize = 2;
const DEV: usize = 3;
const PTS: usize = 4;
const SHM: usize = 5;
const MQUEUE: usize = 6;

/// The host's devices that a sandbox may use.
pub(crate) const DEVICES: [&CStr; 6] = [c"null", c"zero", c"full", c"random", c"urandom", c"tty"];
const HOST_DEVICES: [&CStr; 6] =
    [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom", c"/dev/tty"];

/// The last one only where its target exists.
const DEV_LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
    (c"core", c"/proc/kcore"),
];

/// Paths that a confined process finds empty. The thermal counters of each processor come on top.
const MASKED: [&CStr; 12] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/scsi",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/sys/devices/virtual/powercap",
    c"/sys/firmware",
];

/// Paths that a confined process cannot write.
const READ_ONLY: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

const PLAIN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// The paths masked on top of [`MASKED`]: they exist per processor, and do not change while the machine is up.
pub(crate) fn thermal_paths() -> &'static [CString] {
    static PATHS: OnceLock<Vec<CString>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
        processors
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"cpu")))
            .map(|path| path.join("thermal_throttle"))
            .filter(|path| path.is_dir())
            .filter_map(|path| CString::new(path.into_os_string().into_vec()).ok())
            .collect()
    })
}

/// Whether the host has the unified cgroup tree only.
pub(crate) fn unified_cgroups() -> bool {
    static UNIFIED: OnceLock<bool> = OnceLock::new();
    *UNIFIED.get_or_init(|| statfs("/sys/fs/cgroup").is_ok_and(|at| at.f_type == libc::CGROUP2_SUPER_MAGIC))
}

/// Whether there is `/proc/kcore`, which a kernel may be built without.
pub(crate) fn has_kcore() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| std::fs::exists("/proc/kcore").unwrap_or(false))
}

/// The host's devices as detached mounts.
pub(crate) struct Devices([Option<OwnedFd>; DEVICES.len()]);

/// Opens the host's devices, before its tree goes out of view.
pub(crate) fn open_devices() -> Result<Devices, Failure> {
    let mut opened = [const { None }; DEVICES.len()];
    for (index, (place, path)) in opened.iter_mut().zip(HOST_DEVICES).enumerate() {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        *place = Some(open_tree(CWD, path, flags).at_index(Stage::Device, index)?);
    }
    Ok(Devices(opened))
}

/// Mounts `/proc`, `/sys` and `/dev`.
pub(crate) fn mount_all(plan: &mut Plan, root: &OwnedFd, devices: &Devices) -> Result<(), Failure> {
    let read_only = if plan.confined { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    let proc = mount_new(c"proc", &[], PLAIN).at_index(Stage::System, PROC)?;
    place(plan, root, c"/proc").and_then(|target| attach(&proc, target)).at_index(Stage::System, PROC)?;
    let sys = mount_new(c"sysfs", &[], PLAIN | read_only).at_index(Stage::System, SYS)?;
    place(plan, root, c"/sys").and_then(|target| attach(&sys, target)).at_index(Stage::System, SYS)?;
    if plan.unified_cgroups {
        let cgroup = mount_new(c"cgroup2", &[], PLAIN | read_only).at_index(Stage::System, CGROUP)?;
        resolve(root, c"/sys/fs/cgroup").and_then(|target| attach(&cgroup, target)).at_index(Stage::System, CGROUP)?;
    }
    let nodev = if plan.confined { MountAttrFlags::MOUNT_ATTR_NODEV } else { MountAttrFlags::empty() };
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME | nodev;
    let dev = mount_new(c"tmpfs", &[(c"mode", Some(c"755")), (c"size", Some(c"65536k"))], attributes)
        .at_index(Stage::System, DEV)?;
    place(plan, root, c"/dev").and_then(|target| attach(&dev, target)).at_index(Stage::System, DEV)?;
    fill_dev(plan, &dev, devices)
}

fn fill_dev(plan: &Plan, dev: &OwnedFd, devices: &Devices) -> Result<(), Failure> {
    for (index, (name, device)) in DEVICES.iter().zip(&devices.0).enumerate() {
        let Some(device) = device else { continue };
        openat(dev, *name, OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))
            .and_then(|target| attach(device, target))
            .at_index(Stage::Device, index)?;
    }
    let links = if plan.kcore { &DEV_LINKS[..] } else { &DEV_LINKS[..DEV_LINKS.len() - 1] };
    for &(name, target) in links {
        symlinkat(target, dev, name).at_index(Stage::System, DEV)?;
    }
    let pts_options =
        [(c"newinstance", None), (c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620")), (c"gid", Some(c"5"))];
    let usable = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_below(dev, c"pts", c"devpts", &pts_options, usable).at_index(Stage::System, PTS)?;
    let shm_options = [(c"mode", Some(c"1777")), (c"size", Some(plan.shm_size.as_c_str()))];
    mount_below(dev, c"shm", c"tmpfs", &shm_options, PLAIN).at_index(Stage::System, SHM)?;
    mount_below(dev, c"mqueue", c"mqueue", &[], PLAIN).at_index(Stage::System, MQUEUE)
}

fn mount_below(
    dev: &OwnedFd,
    name: &CStr,
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<()> {
    mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    let target =
        openat(dev, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    attach(mount_new(kind, options, attributes)?, target)
}

/// Opens a mount point of the image, made if it is missing, and refused if it is a symbolic link.
fn place(plan: &mut Plan, root: &OwnedFd, path: &CStr) -> rustix::io::Result<OwnedFd> {
    let resolution = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path, OFlags::PATH | OFlags::DIRECTORY, resolution) {
        Err(Errno::NOENT) => plan.outcome.stubs.resolve_or_create(root, path, Kind::Directory, Origin::System),
        done => done,
    }
}

/// Hides and seals what a confined process must not read or write.
pub(crate) fn restrict(plan: &Plan, root: &OwnedFd, devices: &Devices) -> Result<(), Failure> {
    let mut mask = Mask { null: devices.0[0].as_ref(), empty: None };
    for path in MASKED.into_iter().chain(plan.thermal_paths.iter().map(CString::as_c_str)) {
        mask.hide(root, path).at(Stage::Mask)?;
    }
    for path in READ_ONLY {
        make_read_only(root, path).at(Stage::ReadOnlyPath)?;
    }
    Ok(())
}

/// What is put over a masked path.
struct Mask<'a> {
    /// The sandbox's `/dev/null`, over files.
    null: Option<&'a OwnedFd>,
    /// One empty directory, over all directories.
    empty: Option<OwnedFd>,
}

impl Mask<'_> {
    fn hide(&mut self, root: &OwnedFd, path: &CStr) -> rustix::io::Result<()> {
        let target = match resolve(root, path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            done => done?,
        };
        if FileType::from_raw_mode(fstat(&target)?.st_mode) != FileType::Directory {
            return match self.null {
                Some(null) => attach(copy_of(null)?, target),
                None => Err(Errno::NODEV),
            };
        }
        match &self.empty {
            Some(empty) => attach(copy_of(empty)?, target),
            None => {
                let empty = mount_new(c"tmpfs", &[], PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
                attach(&empty, target)?;
                self.empty = Some(empty);
                Ok(())
            }
        }
    }
}

fn make_read_only(root: &OwnedFd, path: &CStr) -> rustix::io::Result<()> {
    let target = match resolve(root, path) {
        Err(Errno::NOENT) => return Ok(()),
        done => done?,
    };
    let copy = copy_of(&target)?;
    set_attributes(&copy, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    attach(copy, target)
}
