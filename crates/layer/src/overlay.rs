//! The format of an overlayfs lower directory, as the kernel's `Documentation/filesystems/overlayfs.rst` has it: a path that is
//! gone is a character device 0/0, a directory that hides what lies below it has the attribute `opaque` with the value `y`.
//! Which attributes are part of a file and which are the overlay's or the host's own is decided here, and only here.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::sync::OnceLock;

/// Where overlayfs keeps its own extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// `trusted.overlay.*`: overlay mounted by the host's root.
    Trusted,
    /// `user.overlay.*`: overlay mounted with `userxattr` within a user namespace.
    User,
}

impl Namespace {
    /// The one that this process's overlay mounts use: trusted attributes can be had only in the initial user namespace.
    pub fn of_process() -> Self {
        static FOUND: OnceLock<Namespace> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let initial = std::fs::read_to_string("/proc/self/uid_map")
                .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
            if initial && rustix::process::geteuid().is_root() { Self::Trusted } else { Self::User }
        })
    }

    /// The name of the attribute that makes a directory opaque.
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// What the names of all of the overlay's attributes start with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }
}

/// Whether an attribute belongs to the file itself, and so into images, digests and copies.
pub fn is_file_attribute(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    if name.starts_with(b"user.") {
        !name.starts_with(b"user.overlay.")
    } else if name.starts_with(b"trusted.") {
        !name.starts_with(b"trusted.overlay.")
    } else {
        name == b"security.capability" || name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
    }
}

/// Whether an open directory hides what lies below it.
pub(crate) fn is_opaque(directory: BorrowedFd<'_>, namespace: Namespace) -> rustix::io::Result<bool> {
    let mut value = [0; 4];
    match rustix::fs::fgetxattr(directory, namespace.opaque(), &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes an open directory hide what lies below it.
pub(crate) fn set_opaque(directory: BorrowedFd<'_>, namespace: Namespace) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(directory, namespace.opaque(), b"y", rustix::fs::XattrFlags::empty())
}
