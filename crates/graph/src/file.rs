//! The file op: changes of a tree that need no process.

use crate::Port;
use serde::{Deserialize, Serialize};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Copies paths of another tree (COPY, ADD).
    Copy(Copy),
    /// Makes a directory (WORKDIR).
    Mkdir(Mkdir),
    /// Makes a file with given bytes (a heredoc of COPY or ADD).
    Mkfile(Mkfile),
}

/// Copies paths of a tree into another, with the semantics of COPY and ADD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The tree that is copied from.
    pub from: Port,
    /// Paths below its root, with Go's `path.Match` wildcards; `.` is all of it. A directory is copied by its contents. With `parents`, `**`
    /// matches any number of directories, and one `/./` may stand in a path: parents are made from there on.
    pub sources: Vec<String>,
    /// Absolute destination; a directory if it ends in a slash, or if there is more than one source.
    pub dest: String,
    /// New owner of all that is copied. Without one, files from a local context belong to root, others keep theirs.
    pub owner: Option<Owner>,
    /// New mode of all that is copied.
    pub mode: Option<Mode>,
    /// Whether archives are unpacked.
    pub unpack: Unpack,
    /// Whether the sources' parent directories are made in the destination (`--parents`).
    pub parents: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// `--link`: the layer does not depend on its base, and symlinks of the base's destination are not followed.
    pub link: bool,
    /// Where the sources come from a local context: owners are reset to root.
    pub from_context: bool,
}

/// Makes a directory and its missing parents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkdir {
    /// Absolute path.
    pub path: String,
    /// Mode of what is made.
    pub mode: u32,
    /// Owner of what is made; root if absent.
    pub owner: Option<Owner>,
}

/// Makes a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkfile {
    /// Absolute path of the file, or of the directory it goes to if it ends in a slash.
    pub dest: String,
    /// The file's name where `dest` is a directory.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its mode; 0644 if absent.
    pub mode: Option<Mode>,
    /// Its owner; root if absent.
    pub owner: Option<Owner>,
}

/// An owner, by name or number; names are looked up in the base tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub user: UserName,
    /// The group; the number of the user's id if absent and the user is a number, else the user's own group.
    pub group: Option<UserName>,
}

/// A name to look up in `/etc/passwd` or `/etc/group`, or a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserName {
    /// A number, used as it is.
    Id(u32),
    /// A name.
    Name(String),
}

/// A mode that is set on what is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Permission bits for files and directories alike.
    Octal(u32),
    /// `chmod`'s symbolic form, `u=rwX,go=rX`, applied to each entry's own mode.
    Symbolic(String),
}

/// Whether a source that is an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unpack {
    /// Never (COPY).
    #[default]
    No,
    /// A tar archive, plain or compressed with gzip, bzip2, xz or zstd, is unpacked; other files are copied (ADD of a local file).
    Archives,
    /// It must be an archive (`--unpack=true`).
    Always,
}
