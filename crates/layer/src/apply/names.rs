//! What the name of a layer's member means.

use super::{ApplyError, Contents};
use crate::pack::{OPAQUE, WHITEOUT};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A member's name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The layer's root.
    Root,
    /// A file or directory, by its plain path.
    File(PathBuf),
    /// The plain path that is hidden.
    Whiteout(PathBuf),
    /// The plain path of the directory that hides what lies below it.
    Opaque(PathBuf),
    /// Left behind by an old file system.
    Skipped,
}

/// Names that start so belonged to AUFS; only one of them means anything in a layer.
const META: &[u8] = b".wh..wh.";

/// Reads a member's name.
pub(super) fn parse(written: &[u8], contents: Contents) -> Result<Name, ApplyError> {
    let Name::File(path) = parse_link(written)? else { return Ok(Name::Root) };
    if contents == Contents::Files {
        return Ok(Name::File(path));
    }
    let name = path.file_name().unwrap_or_default();
    let above = path.parent().unwrap_or(Path::new(""));
    if above.components().any(|component| component.as_os_str().as_bytes().starts_with(META)) {
        return Ok(Name::Skipped);
    }
    if name == OPAQUE {
        return Ok(Name::Opaque(above.to_owned()));
    }
    if name.as_bytes().starts_with(META) {
        return Ok(Name::Skipped);
    }
    match name.as_bytes().strip_prefix(WHITEOUT.as_bytes()) {
        Some(b"" | b"." | b"..") => Err(ApplyError::Whiteout { path: PathBuf::from(OsStr::from_bytes(written)) }),
        Some(hidden) => Ok(Name::Whiteout(above.join(OsStr::from_bytes(hidden)))),
        None => Ok(Name::File(path)),
    }
}

/// Cleans the target of a hard link, which has no other meaning than its path: [`Name::File`] or [`Name::Root`].
pub(super) fn parse_link(written: &[u8]) -> Result<Name, ApplyError> {
    let outside = || ApplyError::Outside { path: PathBuf::from(OsStr::from_bytes(written)) };
    let mut path = PathBuf::new();
    for name in written.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if !path.pop() => return Err(outside()),
            b".." => {}
            _ if name.contains(&0) => return Err(outside()),
            _ => path.push(OsStr::from_bytes(name)),
        }
    }
    Ok(if path.as_os_str().is_empty() { Name::Root } else { Name::File(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let path = |text: &str| PathBuf::from(text);
        let table = [
            ("./", Name::Root),
            ("/", Name::Root),
            ("", Name::Root),
            ("a/..", Name::Root),
            ("a", Name::File(path("a"))),
            ("./a/b/", Name::File(path("a/b"))),
            ("/etc/passwd", Name::File(path("etc/passwd"))),
            ("a/../b", Name::File(path("b"))),
            ("a/.wh.b", Name::Whiteout(path("a/b"))),
            (".wh.b", Name::Whiteout(path("b"))),
            ("a/.wh.b/", Name::Whiteout(path("a/b"))),
            (".wh..b", Name::Whiteout(path(".b"))),
            (".wh....", Name::Whiteout(path("..."))),
            ("a/.wh.b/c", Name::File(path("a/.wh.b/c"))),
            ("a/.wh..wh..opq", Name::Opaque(path("a"))),
            (".wh..wh..opq", Name::Opaque(path(""))),
            (".wh..wh.plnk/12.34", Name::Skipped),
            (".wh..wh.aufs", Name::Skipped),
        ];
        for (written, expected) in table {
            assert_eq!(parse(written.as_bytes(), Contents::Layer).unwrap(), expected, "{written}");
        }
        for written in ["..", "../a", "a/../../b", "/../etc/passwd", "a\0b"] {
            assert!(matches!(parse(written.as_bytes(), Contents::Layer), Err(ApplyError::Outside { .. })), "{written}");
        }
        for written in [".wh.", "a/.wh.", ".wh..", "a/.wh..."] {
            assert!(
                matches!(parse(written.as_bytes(), Contents::Layer), Err(ApplyError::Whiteout { .. })),
                "{written}"
            );
        }
    }
}
