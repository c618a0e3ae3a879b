//! One member of the archive: what it is, and its header.

use super::{OPAQUE, PackOptions, WHITEOUT};
use crate::at::Xattr;
use crate::tar::write::{Header, member_path};
use crate::tree::{Entry, Kind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a path is written as.
#[derive(Debug)]
pub(super) enum What {
    /// The thing itself.
    Itself,
    /// A further name of what was written under this path.
    Link(PathBuf),
    /// Nothing: the archive knows no sockets.
    Nothing,
}

/// The first path of each inode that has several names.
#[derive(Default)]
pub(super) struct Links(HashMap<(u64, u64), PathBuf>);

impl Links {
    /// What the next path of the walk is.
    pub(super) fn see(&mut self, path: &Path, entry: &Entry) -> What {
        match entry.kind {
            Kind::Socket => return What::Nothing,
            Kind::Directory => return What::Itself,
            _ if entry.nlink < 2 => return What::Itself,
            _ => {}
        }
        match self.0.get(&(entry.dev, entry.ino)) {
            Some(first) => What::Link(first.clone()),
            None => {
                self.0.insert((entry.dev, entry.ino), path.to_owned());
                What::Itself
            }
        }
    }
}

/// The header of a member; nothing for what isn't written.
pub(super) fn header(path: &Path, entry: &Entry, what: &What, xattrs: &[Xattr], options: &PackOptions) -> Vec<u8> {
    let mut device = (0, 0);
    let mut link: &[u8] = b"";
    let mut size = 0;
    let flag = match (what, &entry.kind) {
        (What::Nothing, _) | (What::Itself, Kind::Socket) => return Vec::new(),
        (What::Link(first), _) => {
            link = first.as_os_str().as_bytes();
            b'1'
        }
        (What::Itself, Kind::File) => {
            size = entry.size;
            b'0'
        }
        (What::Itself, Kind::Symlink(target)) => {
            link = target.as_bytes();
            b'2'
        }
        (What::Itself, Kind::Character { major, minor }) => {
            device = (*major, *minor);
            b'3'
        }
        (What::Itself, Kind::Block { major, minor }) => {
            device = (*major, *minor);
            b'4'
        }
        (What::Itself, Kind::Directory) => b'5',
        (What::Itself, Kind::Fifo) => b'6',
    };
    let name = member_path(path.as_os_str(), entry.is_directory());
    let mode = if flag == b'2' { 0o777 } else { entry.mode };
    let mtime = options.latest.map_or(entry.mtime.secs, |latest| entry.mtime.secs.min(latest));
    let (uid, gid) = (entry.uid, entry.gid);
    let xattrs = if flag == b'1' { &[] } else { xattrs };
    Header { path: &name, link, flag, mode, uid, gid, size, mtime, device, xattrs }.blocks()
}

/// The header that says that `path` is gone.
pub(super) fn whiteout(path: &Path) -> Vec<u8> {
    let mut name = OsString::from(WHITEOUT);
    name.push(path.file_name().unwrap_or_default());
    mark(&path.with_file_name(name))
}

/// The header that makes the directory at `path` opaque.
pub(super) fn opaque(path: &Path) -> Vec<u8> {
    mark(&path.join(OPAQUE))
}

fn mark(path: &Path) -> Vec<u8> {
    Header::file(path.as_os_str().as_bytes()).blocks()
}
