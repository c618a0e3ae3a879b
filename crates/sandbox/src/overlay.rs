//! Overlay mounts, made by the child in its own mount namespace.
//!
//! The new mount API with `lowerdir+` (Linux 6.8) takes any number of layers and any character in a path. Where the kernel
//! refuses it, `mount(2)` gets its one page of options with every directory as `/proc/self/fd/N`, which is short and
//! needs no escaping. Either way the result is a mount that is attached nowhere yet.
//!
//! `volatile` uppers are never synced: a layer is durable when the store says so, not when its step ends. The mount leaves
//! `incompat/volatile` in the work directory, hence the rule that a work directory serves one spawn only.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount, open_tree, unmount,
};

/// Longest string that `fsconfig` takes.
const FSCONFIG_STRING_MAX: usize = 255;
/// `mount(2)` takes a page of options with its terminating zero.
const OPTIONS_MAX: usize = 4095;

/// One overlay, ready to be mounted.
#[derive(Debug)]
pub(crate) struct OverlayPlan {
    /// The top one first.
    pub(crate) lower: Vec<CString>,
    /// Upper and work directory.
    pub(crate) writable: Option<(CString, CString)>,
    /// A host directory that the mount may cover for a moment, in the child's namespace only.
    pub(crate) scratch: CString,
    pub(crate) attributes: MountAttrFlags,
    /// Room for the options of the fall-back, so that the child need not allocate.
    pub(crate) buffers: LegacyBuffers,
    /// Whether to use the fall-back even where `lowerdir+` works.
    pub(crate) legacy: bool,
}

/// Memory of the fall-back.
#[derive(Debug)]
pub(crate) struct LegacyBuffers {
    options: String,
}

impl LegacyBuffers {
    pub(crate) fn new() -> Self {
        Self { options: String::with_capacity(OPTIONS_MAX + 64) }
    }
}

/// Mounts the overlay, detached.
pub(crate) fn mount_overlay(plan: &mut OverlayPlan) -> Result<OwnedFd> {
    if !plan.legacy {
        match mount_new(plan) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            done => return done,
        }
    }
    mount_legacy(plan)
}

fn mount_new(plan: &OverlayPlan) -> Result<OwnedFd> {
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &plan.lower {
        set_directory(&fs, c"lowerdir+", lower)?;
    }
    if let Some((upper, work)) = &plan.writable {
        set_directory(&fs, c"upperdir", upper)?;
        set_directory(&fs, c"workdir", work)?;
        set_if_known(fsconfig_set_flag(&fs, c"volatile"))?;
    }
    for key in [c"index", c"metacopy", c"redirect_dir"] {
        set_if_known(fsconfig_set_string(&fs, key, c"off"))?;
    }
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, plan.attributes)
}

/// An option that this kernel was built without is one that cannot be on.
fn set_if_known(result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::INVAL) => Ok(()),
        done => done,
    }
}

fn set_directory(fs: &OwnedFd, key: &CStr, path: &CStr) -> Result<()> {
    // Colons and backslashes have a meaning to some kernels in some of these options, but not in `/proc/self/fd/N`.
    let plain = path.to_bytes().len() <= FSCONFIG_STRING_MAX && !path.to_bytes().iter().any(|b| b":\\,".contains(b));
    if plain {
        return fsconfig_set_string(fs, key, path);
    }
    let directory = open_directory(path)?;
    let mut link = FdPath::default();
    fsconfig_set_string(fs, key, link.of(directory.as_raw_fd()))
}

fn open_directory(path: &CStr) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn mount_legacy(plan: &mut OverlayPlan) -> Result<OwnedFd> {
    let LegacyBuffers { options } = &mut plan.buffers;
    options.clear();
    options.push_str("lowerdir=");
    for (position, lower) in plan.lower.iter().enumerate() {
        if position > 0 {
            options.push(':');
        }
        push_directory(options, lower)?;
    }
    if let Some((upper, work)) = &plan.writable {
        options.push_str(",upperdir=");
        push_directory(options, upper)?;
        options.push_str(",workdir=");
        push_directory(options, work)?;
    }
    options.push_str(",index=off,metacopy=off,redirect_dir=off");
    let without_volatile = options.len();
    if plan.writable.is_some() {
        options.push_str(",volatile");
    }
    options.push('\0');
    let mut mounted = mount_with(&plan.scratch, options);
    if mounted == Err(Errno::INVAL) && plan.writable.is_some() {
        options.truncate(without_volatile);
        options.push('\0');
        mounted = mount_with(&plan.scratch, options);
    }
    mounted?;
    let tree =
        open_tree(CWD, plan.scratch.as_c_str(), OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE);
    unmount(plan.scratch.as_c_str(), UnmountFlags::DETACH)?;
    let tree = tree?;
    crate::mounts::set_attributes(&tree, plan.attributes, false)?;
    Ok(tree)
}

fn push_directory(options: &mut String, path: &CStr) -> Result<()> {
    let directory = open_directory(path)?;
    // The buffer may not grow in the child; `write!` to a `String` itself cannot fail.
    if options.len() + 96 > OPTIONS_MAX {
        return Err(Errno::TOOBIG);
    }
    // The directory stays open until the program is executed.
    let _ = write!(options, "/proc/self/fd/{}", directory.into_raw_fd());
    Ok(())
}

fn mount_with(scratch: &CStr, options: &str) -> Result<()> {
    let data = CStr::from_bytes_until_nul(options.as_bytes()).map_err(|_| Errno::INVAL)?;
    mount(c"overlay", scratch, c"overlay", MountFlags::empty(), data)
}

/// Attaches a detached mount to `scratch` for as long as `inside` takes. Older kernels clone no part of a mount that is
/// attached nowhere.
pub(crate) fn while_attached<T>(tree: &OwnedFd, scratch: &CStr, inside: impl FnOnce() -> Result<T>) -> Result<T> {
    move_mount(tree, c"", CWD, scratch, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let result = inside();
    unmount(scratch, UnmountFlags::DETACH)?;
    result
}

/// `/proc/self/fd/N` without allocation.
#[derive(Default)]
struct FdPath {
    bytes: [u8; 32],
}

impl FdPath {
    fn of(&mut self, fd: i32) -> &CStr {
        let mut digits = [0u8; 10];
        let mut count = 0;
        let mut rest = fd.unsigned_abs();
        loop {
            digits[count] = b'0' + (rest % 10) as u8;
            count += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let prefix = b"/proc/self/fd/";
        self.bytes = [0; 32];
        self.bytes[..prefix.len()].copy_from_slice(prefix);
        for (place, digit) in self.bytes[prefix.len()..].iter_mut().zip(digits[..count].iter().rev()) {
            *place = *digit;
        }
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn fd_paths_are_decimal() {
        let mut path = FdPath::default();
        assert_eq!(path.of(0), c"/proc/self/fd/0");
        assert_eq!(path.of(1234567890), c"/proc/self/fd/1234567890");
    }

    /// Runs on a thread with a mount namespace of its own.
    fn in_own_namespace(test: impl FnOnce() + Send + 'static) {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let thread = std::thread::spawn(|| {
            let flags = rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS;
            // SAFETY: neither flag concerns the descriptors that other threads own.
            unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
            crate::mounts::make_private().unwrap();
            test();
        });
        thread.join().unwrap();
    }

    fn c_path(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    fn both_ways_mount_alike(legacy: bool) {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (bottom, top) = (make("bottom: a\\b, c"), make("top"));
        let (upper, work) = (make("upper"), make("work"));
        fs::write(bottom.join("both"), "bottom").unwrap();
        fs::write(top.join("both"), "top").unwrap();
        fs::write(bottom.join("below"), "below").unwrap();
        let mut plan = OverlayPlan {
            lower: vec![c_path(&top), c_path(&bottom)],
            writable: Some((c_path(&upper), c_path(&work))),
            scratch: c_path(&upper),
            attributes: MountAttrFlags::MOUNT_ATTR_NODEV,
            buffers: LegacyBuffers::new(),
            legacy,
        };
        let tree = mount_overlay(&mut plan).unwrap();
        let place = make("place");
        while_attached(&tree, &c_path(&place), || {
            assert_eq!(fs::read_to_string(place.join("both")).unwrap(), "top");
            assert_eq!(fs::read_to_string(place.join("below")).unwrap(), "below");
            fs::write(place.join("new"), "new").unwrap();
            let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            let line = mounts.lines().find(|line| line.contains(place.to_str().unwrap())).unwrap().to_owned();
            assert!(line.contains("nodev") && line.contains("volatile"), "{line}");
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "new");
        assert!(fs::read_dir(&place).unwrap().next().is_none());
    }

    #[test]
    fn new_interface() {
        in_own_namespace(|| both_ways_mount_alike(false));
    }

    #[test]
    fn fall_back() {
        in_own_namespace(|| both_ways_mount_alike(true));
    }

    #[test]
    fn fall_back_refuses_what_does_not_fit() {
        in_own_namespace(|| {
            let directory = tempfile::tempdir().unwrap();
            let path = c_path(directory.path());
            let mut plan = OverlayPlan {
                lower: vec![path.clone(); 400],
                writable: None,
                scratch: path,
                attributes: MountAttrFlags::empty(),
                buffers: LegacyBuffers::new(),
                legacy: true,
            };
            let capacity = plan.buffers.options.capacity();
            assert_eq!(mount_overlay(&mut plan).unwrap_err(), Errno::TOOBIG);
            assert_eq!(plan.buffers.options.capacity(), capacity);
        });
    }
}
