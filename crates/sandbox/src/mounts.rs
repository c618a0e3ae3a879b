//! The root filesystem and the caller's mounts, made by the child.
//!
//! Sources are opened as detached mounts while the host's tree is still in view. Then the root is entered, the host's
//! tree let go, and everything else happens inside: targets are resolved by `openat2` below the new root and mounts are
//! attached to descriptors, so that no symbolic link of an image leads anywhere else.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, fchmod, fchown, fstat, fstatfs, openat,
};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::error::{At, Failure, Stage};
use crate::openat2::openat2;
use crate::overlay::{mount_overlay, while_attached};
use crate::plan::{MountPlan, Plan, RootPlan, SourcePlan};
use crate::stubs::{Kind, Origin};

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);
/// How every path of an image is resolved.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Cuts the mount namespace off from its parent's.
pub(crate) fn make_private() -> Result<()> {
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

/// Opens the sources of all mounts.
pub(crate) fn open_sources(mounts: &mut [MountPlan]) -> core::result::Result<(), Failure> {
    for (index, mount) in mounts.iter_mut().enumerate() {
        let tree = open_source(mount).at_index(Stage::Source, index)?;
        mount.opened = tree.into_raw_fd();
    }
    Ok(())
}

fn open_source(mount: &mut MountPlan) -> Result<OwnedFd> {
    match &mut mount.source {
        SourcePlan::Bind { source, subpath, recursive } => {
            let recursive = *recursive;
            let mut flags = CLONE;
            if recursive {
                flags |= OpenTreeFlags::AT_RECURSIVE;
            }
            let tree = match subpath {
                None => open_tree(CWD, source.as_c_str(), flags)?,
                Some(subpath) => {
                    let root = openat(CWD, source.as_c_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                    let inside = resolve(&root, subpath)?;
                    open_tree(&inside, c"", flags | OpenTreeFlags::AT_EMPTY_PATH)?
                }
            };
            set_attributes(&tree, mount.attributes, recursive)?;
            Ok(tree)
        }
        SourcePlan::Overlay { overlay, subpath } => {
            let tree = mount_overlay(overlay)?;
            let Some(subpath) = subpath else { return Ok(tree) };
            while_attached(&tree, &overlay.scratch, || {
                let inside = resolve(&tree, subpath)?;
                open_tree(&inside, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
            })
        }
        SourcePlan::Tmpfs { size, mode } => {
            let mode = (c"mode", Some(mode.as_c_str()));
            // It gets its mode when it is attached, so it can refuse writes only then.
            let attributes = mount.attributes - MountAttrFlags::MOUNT_ATTR_RDONLY;
            match size {
                Some(size) => mount_new(c"tmpfs", &[mode, (c"size", Some(size.as_c_str()))], attributes),
                None => mount_new(c"tmpfs", &[mode], attributes),
            }
        }
        SourcePlan::Memory { data, mode, uid, gid, scratch } => {
            let file = memory_file(data, *mode, *uid, *gid, scratch)?;
            set_attributes(&file, mount.attributes, false)?;
            Ok(file)
        }
    }
}

/// A file on a tmpfs of its own, as a detached mount.
fn memory_file(data: &[u8], mode: u32, uid: u32, gid: u32, scratch: &CStr) -> Result<OwnedFd> {
    let tree = mount_new(c"tmpfs", &[(c"mode", Some(c"700"))], MountAttrFlags::empty())?;
    while_attached(&tree, scratch, || {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&tree, c"data", flags, Mode::from_raw_mode(0o600))?;
        let mut left = data;
        while !left.is_empty() {
            left = &left[rustix::io::write(&file, left)?..];
        }
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&file, Mode::from_raw_mode(mode))?;
        open_tree(&tree, c"data", CLONE)
    })
}

/// Makes the root filesystem the only one in view.
pub(crate) fn enter_root(root: &mut RootPlan, nodev: MountAttrFlags) -> core::result::Result<OwnedFd, Failure> {
    let (tree, place) = match root {
        RootPlan::Overlay(overlay) => (mount_overlay(overlay).at(Stage::RootMount)?, overlay.scratch.as_c_str()),
        RootPlan::Directory(directory) => {
            let tree = open_tree(CWD, directory.as_c_str(), CLONE).at(Stage::RootMount)?;
            set_attributes(&tree, nodev, false).at(Stage::RootMount)?;
            (tree, directory.as_c_str())
        }
    };
    move_mount(&tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Stage::RootMount)?;
    let old = openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at(Stage::Pivot)?;
    fchdir(&tree).at(Stage::Pivot)?;
    // Both trees end up stacked on the same place, so the image needs no directory to hold the old one.
    pivot_root(c".", c".").at(Stage::Pivot)?;
    fchdir(&old).at(Stage::Pivot)?;
    unmount(c".", UnmountFlags::DETACH).at(Stage::Pivot)?;
    chdir(c"/").at(Stage::Pivot)?;
    Ok(tree)
}

/// Attaches the opened sources, in order.
pub(crate) fn attach_all(plan: &mut Plan, root: &OwnedFd) -> core::result::Result<(), Failure> {
    for (index, mount) in plan.mounts.iter().enumerate() {
        // SAFETY: `open_sources` left this descriptor open in this process, and nothing has closed it.
        let tree = unsafe { BorrowedFd::borrow_raw(mount.opened) };
        let kind = match FileType::from_raw_mode(fstat(tree).at_index(Stage::Source, index)?.st_mode) {
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        if matches!(mount.source, SourcePlan::Tmpfs { .. }) {
            if let Ok(hidden) = resolve(root, &mount.target) {
                // As in Docker, a directory that is there gives it its mode.
                let mode = Mode::from_raw_mode(fstat(&hidden).at_index(Stage::Target, index)?.st_mode & 0o7777);
                chmodat(tree, c".", mode, AtFlags::empty()).at_index(Stage::Target, index)?;
            }
            set_attributes(tree, mount.attributes & MountAttrFlags::MOUNT_ATTR_RDONLY, false)
                .at_index(Stage::Target, index)?;
        }
        let log = &mut plan.outcome.stubs;
        let target = log.resolve_or_create(root, &mount.target, kind, Origin::Mount).at_index(Stage::Target, index)?;
        if is_proc(&target).at_index(Stage::Target, index)? {
            return Err(Failure { stage: Stage::TargetInProc, index, errno: Errno::PERM });
        }
        attach(tree, &target).at_index(Stage::Attach, index)?;
    }
    Ok(())
}

fn is_proc(target: &OwnedFd) -> Result<bool> {
    Ok(fstatfs(target)?.f_type == libc::PROC_SUPER_MAGIC)
}

/// Resolves a path of the image below `root`.
pub(crate) fn resolve(root: impl AsFd, path: &CStr) -> Result<OwnedFd> {
    openat2(root, path, OFlags::PATH, INSIDE)
}

/// Attaches a detached mount.
pub(crate) fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

/// Makes a new mount of a filesystem type, detached.
pub(crate) fn mount_new(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&fs, *key, *value)?,
            None => fsconfig_set_flag(&fs, *key)?,
        }
    }
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A detached copy of the mount at an opened file.
pub(crate) fn copy_of(place: impl AsFd) -> Result<OwnedFd> {
    open_tree(place, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
}

/// Adds attributes to a mount.
pub(crate) fn set_attributes(mount: impl AsFd, attributes: MountAttrFlags, recursive: bool) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let arguments = libc::mount_attr { attr_set: attributes.bits().into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is empty and zero-terminated, and the arguments are a live struct of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const arguments,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The errno of a libc call that just failed on this thread.
pub(crate) fn last_errno() -> Errno {
    // SAFETY: the location is that of the calling thread; the child uses that of the thread sleeping in `clone`.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Makes the root filesystem read-only.
pub(crate) fn seal_root(root: &OwnedFd) -> Result<()> {
    set_attributes(root, MountAttrFlags::MOUNT_ATTR_RDONLY, false)
}
