//! `openat2` as this crate uses it: every path of an image is resolved by the kernel, inside the image.
//!
//! The kernel answers `EAGAIN` when a rename or a mount anywhere on the machine raced with its check of a `..` (openat2(2),
//! ERRORS); that says nothing about the path, so the call is made again. Safe between `clone3` and `execve`: it allocates
//! nothing.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens `path` relative to `directory` within the bounds of `resolution`.
pub(crate) fn openat2(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolution: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(&directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolution) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn renames_elsewhere_do_not_matter() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        std::fs::create_dir_all(one.join("below")).expect("directories");
        let root = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).expect("the directory");
        let (renamed, stop) = (directory.path().join("renamed"), AtomicBool::new(false));
        std::fs::create_dir(&two).expect("a directory");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::fs::rename(&two, &renamed).expect("a rename");
                    std::fs::rename(&renamed, &two).expect("a rename");
                }
            });
            let opened = (0..20_000).try_for_each(|_| {
                openat2(&root, "one/below/../below/..", OFlags::PATH, ResolveFlags::IN_ROOT).map(drop)
            });
            stop.store(true, Ordering::Relaxed);
            opened.expect("every one opens");
        });
        assert!(openat2(CWD, &one.join("none"), OFlags::PATH, ResolveFlags::empty()).is_err());
    }
}
