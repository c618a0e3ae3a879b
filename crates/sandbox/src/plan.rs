//! A [`Spec`] turned into what the kernel wants to see, so that the child has nothing left to compute.
//!
//! Lives in memory that parent and child share. The parent builds it, the child reads it and writes `outcome`, and the
//! parent, which sleeps meanwhile, reads that.

use std::ffi::{CString, OsStr};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::ptr;

use libc::c_char;
use rustix::mount::MountAttrFlags;
use rustix::process::{Gid, Uid};

use crate::error::{Failure, SpawnError};
use crate::overlay::{LegacyBuffers, OverlayPlan};
use crate::seccomp::Program;
use crate::spec::{Mount, MountKind, Network, Root, Security, Spec};
use crate::stubs::StubLog;

/// `PATH` of a process that has none, as Docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of the program kept for telling what its interpreter would have been.
pub(crate) const HEAD_LEN: usize = 4096;

/// Everything that the child needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: RootPlan,
    pub(crate) read_only: bool,
    pub(crate) confined: bool,
    pub(crate) own_network: bool,
    pub(crate) hostname: Vec<u8>,
    /// `size=N` of `/dev/shm`.
    pub(crate) shm_size: CString,
    pub(crate) unified_cgroups: bool,
    /// Whether the kernel shows its memory, to which `/dev/core` then points.
    pub(crate) kcore: bool,
    pub(crate) thermal_paths: &'static [CString],
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) cwd: CString,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    pub(crate) rlimits: Vec<(u32, libc::rlimit64)>,
    pub(crate) seccomp: Option<&'static Program>,
    /// What becomes descriptors 0, 1 and 2; all are above 2.
    pub(crate) stdio: [Option<RawFd>; 3],
    /// The files to write `0` to, to be in the sandbox's control groups.
    pub(crate) cgroups: Vec<RawFd>,
    /// Readable once the parent is dead.
    pub(crate) parent: OwnedFd,
    pub(crate) executable: Executable,
    pub(crate) outcome: Outcome,
}

/// What the child writes.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<Failure>,
    pub(crate) stubs: StubLog,
    /// The first bytes of the program that could not be executed.
    pub(crate) head: Vec<u8>,
}

/// The program, its arguments and environment.
#[derive(Debug)]
pub(crate) struct Executable {
    /// Where it may be, in the order to try.
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: PointerArray,
    pub(crate) envp: PointerArray,
}

/// A null-terminated array of C strings.
#[derive(Debug)]
pub(crate) struct PointerArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl PointerArray {
    fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { _strings: strings, pointers }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Where the root filesystem comes from.
#[derive(Debug)]
pub(crate) enum RootPlan {
    Overlay(OverlayPlan),
    Directory(CString),
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Absolute, without `.` and `..`.
    pub(crate) target: CString,
    pub(crate) source: SourcePlan,
    pub(crate) attributes: MountAttrFlags,
    /// The child's descriptor of the detached mount.
    pub(crate) opened: RawFd,
}

/// What to mount.
#[derive(Debug)]
pub(crate) enum SourcePlan {
    Bind { source: CString, subpath: Option<CString>, recursive: bool },
    Overlay { overlay: OverlayPlan, subpath: Option<CString> },
    Tmpfs { size: Option<CString>, mode: CString },
    Memory { data: Vec<u8>, mode: u32, uid: u32, gid: u32, scratch: CString },
}

impl Plan {
    /// Builds the plan; also returns the targets by index, for messages.
    pub(crate) fn new(
        spec: &Spec,
        stdio: [Option<RawFd>; 3],
        cgroups: Vec<RawFd>,
        parent: OwnedFd,
    ) -> Result<(Self, Vec<PathBuf>), SpawnError> {
        let confined = spec.security == Security::Sandbox;
        let nodev = if confined { MountAttrFlags::MOUNT_ATTR_NODEV } else { MountAttrFlags::empty() };
        let mut mounts = Vec::with_capacity(spec.mounts.len() + 2);
        for (source, target) in [(&spec.resolv_conf, c"/etc/resolv.conf"), (&spec.hosts, c"/etc/hosts")] {
            if let Some(source) = source {
                mounts.push(MountPlan {
                    target: target.to_owned(),
                    source: SourcePlan::Bind { source: c_path(source)?, subpath: None, recursive: false },
                    attributes: MountAttrFlags::MOUNT_ATTR_RDONLY
                        | MountAttrFlags::MOUNT_ATTR_NOSUID
                        | MountAttrFlags::MOUNT_ATTR_NODEV
                        | MountAttrFlags::MOUNT_ATTR_NOEXEC,
                    opened: -1,
                });
            }
        }
        // After those files, for the caller's may hide them.
        for mount in &spec.mounts {
            mounts.push(mount_plan(mount, nodev)?);
        }
        let targets = mounts.iter().map(|mount| PathBuf::from(OsStr::from_bytes(mount.target.as_bytes()))).collect();
        let root = match &spec.root {
            Root::Overlay { lower, upper, work } => RootPlan::Overlay(overlay_plan(lower, Some((upper, work)), nodev)?),
            Root::Directory(directory) => RootPlan::Directory(c_path(directory)?),
        };
        if spec.hostname.len() > 64 {
            return Err(invalid(format!("host name `{}` is longer than 64 bytes", spec.hostname)));
        }
        let (uid, gid) = spec.mount_point_owner;
        let owner = (id(uid, Uid::from_raw)?, id(gid, Gid::from_raw)?);
        let stubs = StubLog::for_targets(mounts.iter().map(|mount| mount.target.as_c_str()), owner);
        let plan = Self {
            root,
            read_only: spec.read_only,
            confined,
            own_network: spec.network == Network::None,
            hostname: spec.hostname.clone().into_bytes(),
            shm_size: c_string(spec.shm_size.to_string())?,
            unified_cgroups: crate::system::unified_cgroups(),
            kcore: crate::system::has_kcore(),
            thermal_paths: crate::system::thermal_paths(),
            mounts,
            cwd: c_string(if spec.cwd.is_empty() { "/" } else { &spec.cwd })?,
            uid: id(spec.user.uid, Uid::from_raw)?,
            gid: id(spec.user.gid, Gid::from_raw)?,
            groups: spec.user.additional_gids.iter().map(|&gid| id(gid, Gid::from_raw)).collect::<Result<_, _>>()?,
            rlimits: spec
                .rlimits
                .iter()
                .map(|limit| (limit.resource, libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard }))
                .collect(),
            seccomp: if confined { Some(crate::seccomp::default_policy()?) } else { None },
            stdio,
            cgroups,
            parent,
            executable: executable(spec)?,
            outcome: Outcome { failure: None, stubs, head: Vec::with_capacity(HEAD_LEN) },
        };
        Ok((plan, targets))
    }
}

fn id<T>(raw: u32, make: impl Fn(u32) -> T) -> Result<T, SpawnError> {
    // The kernel takes the highest id for "leave it as it is".
    if raw == u32::MAX { Err(invalid(format!("id {raw} is reserved"))) } else { Ok(make(raw)) }
}

fn executable(spec: &Spec) -> Result<Executable, SpawnError> {
    let Some(name) = spec.args.first() else {
        return Err(invalid("no program to run".to_owned()));
    };
    let candidates = if name.contains('/') {
        vec![c_string(name.as_str())?]
    } else if name.is_empty() {
        Vec::new()
    } else {
        let path = spec.env.iter().rev().find(|(key, _)| key == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
        path.split(':')
            .map(|directory| if directory.is_empty() { "." } else { directory })
            .map(|directory| c_string(format!("{directory}/{name}")))
            .collect::<Result<_, _>>()?
    };
    let argv = spec.args.iter().map(|argument| c_string(argument.as_str())).collect::<Result<_, _>>()?;
    let envp = spec.env.iter().map(|(key, value)| c_string(format!("{key}={value}"))).collect::<Result<_, _>>()?;
    Ok(Executable { candidates, argv: PointerArray::new(argv), envp: PointerArray::new(envp) })
}

/// Where a mount is attached while a part of it is cloned, in the child's own namespace: a directory that every host has.
const SCRATCH: &str = "/proc";

fn mount_plan(mount: &Mount, nodev: MountAttrFlags) -> Result<MountPlan, SpawnError> {
    let target = container_path(&mount.target)?;
    if target.as_bytes() == b"/" {
        return Err(invalid("a mount target is `/`".to_owned()));
    }
    let read_only = |yes| if yes { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    let (source, attributes) = match &mount.kind {
        MountKind::Bind { source, subpath, read_only: ro, recursive } => {
            let source =
                SourcePlan::Bind { source: c_path(source)?, subpath: subpath_of(subpath)?, recursive: *recursive };
            (source, nodev | read_only(*ro))
        }
        // Overlayfs wants two directories when none is writable; one is a plain directory anyway.
        MountKind::Overlay { lower, writable: None, subpath } if lower.len() == 1 => {
            let source =
                SourcePlan::Bind { source: c_path(&lower[0])?, subpath: subpath_of(subpath)?, recursive: false };
            (source, nodev | read_only(true))
        }
        MountKind::Overlay { lower, writable, subpath } => {
            let attributes = nodev | read_only(writable.is_none());
            let writable = writable.as_ref().map(|writable| (&writable.upper, &writable.work));
            let overlay = overlay_plan(lower, writable, attributes)?;
            (SourcePlan::Overlay { overlay, subpath: subpath_of(subpath)? }, attributes)
        }
        MountKind::Tmpfs { size, mode, read_only: ro } => {
            let size = size.map(|size| c_string(size.to_string())).transpose()?;
            let source = SourcePlan::Tmpfs { size, mode: c_string(format!("{:o}", mode & 0o7777))? };
            (source, nodev | MountAttrFlags::MOUNT_ATTR_NOSUID | read_only(*ro))
        }
        MountKind::Memory { data, mode, uid, gid } => {
            let scratch = c_string(SCRATCH.to_owned())?;
            let source = SourcePlan::Memory { data: data.clone(), mode: mode & 0o777, uid: *uid, gid: *gid, scratch };
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            (source, attributes)
        }
    };
    Ok(MountPlan { target, source, attributes, opened: -1 })
}

fn overlay_plan(
    lower: &[PathBuf],
    writable: Option<(&PathBuf, &PathBuf)>,
    attributes: MountAttrFlags,
) -> Result<OverlayPlan, SpawnError> {
    let Some(top) = lower.last() else {
        return Err(invalid("an overlay without a lower directory".to_owned()));
    };
    let scratch = c_path(writable.map_or(top, |(upper, _)| upper))?;
    let writable = match writable {
        Some((upper, work)) => Some((c_path(upper)?, c_path(work)?)),
        None => None,
    };
    Ok(OverlayPlan {
        lower: lower.iter().rev().map(|path| c_path(path)).collect::<Result<_, _>>()?,
        writable,
        scratch,
        attributes,
        buffers: LegacyBuffers::new(),
        legacy: false,
    })
}

fn subpath_of(path: &Path) -> Result<Option<CString>, SpawnError> {
    let path = container_path(path)?;
    // Resolution starts at the root of the source: the leading slash changes nothing there.
    Ok(if path.as_bytes() == b"/" { None } else { Some(path) })
}

/// An absolute path without `.` and `..`, as Docker cleans targets: before any symbolic link is looked at.
fn container_path(path: &Path) -> Result<CString, SpawnError> {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let bytes = clean.into_os_string().into_vec();
    if bytes.len() >= libc::PATH_MAX as usize {
        return Err(invalid(format!("path `{}` is too long", path.display())));
    }
    c_string(bytes)
}

fn c_path(path: &Path) -> Result<CString, SpawnError> {
    if !path.is_absolute() {
        return Err(invalid(format!("host path `{}` is not absolute", path.display())));
    }
    c_string(path.as_os_str().as_bytes())
}

fn c_string(bytes: impl Into<Vec<u8>>) -> Result<CString, SpawnError> {
    CString::new(bytes)
        .map_err(|error| invalid(format!("`{}` holds a zero byte", String::from_utf8_lossy(&error.into_vec()))))
}

fn invalid(what: String) -> SpawnError {
    SpawnError::Invalid { what }
}
