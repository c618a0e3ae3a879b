//! A layer's tar stream into an overlay lower directory (OCI image-spec, layer.md, Applying Changesets). The stream is not
//! trusted.
//!
//! - Names are cleaned of `.`, leading slashes and inner `..` as other runtimes do; one that leaves the root is an error.
//! - A parent that is a symbolic link of the same layer is followed within the layer's root; every file is then made by single
//!   names under open directories, so nothing is ever made or linked outside. Links of lower layers are not followed: in an
//!   overlay the layer's directory hides them.
//! - `.wh.NAME` hides what lower layers have, never what this layer has; `.wh..wh..opq` makes its directory opaque; other names
//!   that start with `.wh..wh.` are marks of a file system long gone, and skipped.
//! - Of several members with one name the last one wins.
//! - Attributes of overlayfs and of the host's kernel are dropped, or a layer could redirect a directory elsewhere.
//!
//! What needs the layers below (metadata of parents without a member, hard links to files of lower layers) is put off, so that
//! layers can be unpacked side by side: see [`Deferred`].

mod deferred;
mod names;

pub use deferred::{Deferred, settle};

use crate::overlay::{self, Namespace};
use crate::tar::read::Archive;
use crate::tar::{Member, MemberKind, TarError, sparse};
use crate::tree::{Kind, Time, Tree, TreeError, resolve, split};
use crate::writing::{Meta, Target, make_file, make_node, set_meta, set_meta_at, set_new_meta};
use crate::{Directory, at};
use kiln_digest::Digest;
use names::Name;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a layer may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of the uncompressed stream, and of all files (sparse ones have more than the stream).
    pub size: u64,
}

impl Default for Limits {
    /// 4 million members, 256 GiB.
    fn default() -> Self {
        Self { entries: 4 << 20, size: 256 << 30 }
    }
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contents {
    /// A layer: some names are whiteouts, and hard links may lead to lower layers.
    #[default]
    Layer,
    /// Files like any others, as in an archive of a build context.
    Files,
}

/// How a layer is applied.
#[derive(Clone, Copy, Default)]
pub struct ApplyOptions<'a> {
    /// What the archive holds.
    pub contents: Contents,
    /// The layers below, if they are there already; then nothing stays put off.
    pub base: Option<&'a dyn Tree>,
    /// What the layer may be at most.
    pub limits: Limits,
}

/// A layer that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The digest of the whole stream, what follows the archive's end included: the layer's diff id.
    pub diff_id: Digest,
    /// The length of the stream in bytes.
    pub size: u64,
    /// Members of the archive.
    pub entries: u64,
    /// The bytes of all regular files.
    pub bytes: u64,
    /// What the layers below are still needed for; nothing if a base was given.
    pub deferred: Deferred,
}

/// Why a layer could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The archive could not be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A name that leads out of the root.
    #[error("tar member `{path}` leads out of the layer's root")]
    Outside {
        /// The name as written.
        path: PathBuf,
    },
    /// A whiteout of no name, of `.` or of `..`.
    #[error("tar member `{path}` is not a valid whiteout")]
    Whiteout {
        /// The name as written.
        path: PathBuf,
    },
    /// The root is to be something other than a directory.
    #[error("tar member `{path}` would replace the layer's root")]
    Root {
        /// The name as written.
        path: PathBuf,
    },
    /// A parent of the member is a file.
    #[error("tar member `{path}` lies below something that is not a directory")]
    NotADirectory {
        /// The member's path.
        path: PathBuf,
    },
    /// A hard link to what neither this layer nor a lower one has.
    #[error("tar member `{path}` is a hard link to `{target}`, which does not exist")]
    HardLink {
        /// The member's path.
        path: PathBuf,
        /// The path that it links to.
        target: PathBuf,
    },
    /// More members than allowed.
    #[error("the layer has more than {limit} entries")]
    TooMany {
        /// The limit in force.
        limit: u64,
    },
    /// Files larger than allowed.
    #[error("the files of the layer are larger than {limit} bytes")]
    TooLarge {
        /// The limit in force.
        limit: u64,
    },
    /// The layer or the base could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The system refused.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path in the layer.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl ApplyError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Io { action, path: path.to_owned(), source: errno.into() }
    }
}

/// Applies an uncompressed layer to `dir`, which is made or must be empty. The stream is read to its end.
///
/// # Errors
/// [`ApplyError`]; what was made so far is left behind.
pub fn apply(reader: impl Read, dir: &Path, options: &ApplyOptions<'_>) -> Result<Applied, ApplyError> {
    let mut archive = Archive::new(reader, options.limits.size);
    let mut layer = Layer {
        target: Target::new(dir).map_err(ApplyError::io("open", dir))?,
        tree: Directory::new(dir)?,
        resolved: HashMap::new(),
        times: HashMap::new(),
        deferred: Deferred::default(),
        limits: options.limits,
        contents: options.contents,
        entries: 0,
        bytes: 0,
    };
    while let Some(member) = archive.next()? {
        layer.entries += 1;
        if layer.entries > options.limits.entries {
            return Err(ApplyError::TooMany { limit: options.limits.entries });
        }
        layer.member(&mut archive, member)?;
    }
    let (_, diff_id, size) = archive.finish()?;
    layer.set_times()?;
    let Layer { entries, bytes, mut deferred, .. } = layer;
    if let Some(base) = options.base {
        settle(dir, &deferred, base)?;
        deferred = Deferred::default();
    }
    Ok(Applied { diff_id, size, entries, bytes, deferred })
}

/// Linux takes no longer path, so nothing could open what lies deeper.
const MAX_PATH: usize = 4095;

/// The layer as far as it was applied.
struct Layer {
    target: Target,
    /// The same directory, for following the layer's own links.
    tree: Directory,
    /// Parents as members name them, and the directories that they are.
    resolved: HashMap<PathBuf, PathBuf>,
    times: HashMap<PathBuf, Time>,
    deferred: Deferred,
    limits: Limits,
    contents: Contents,
    entries: u64,
    bytes: u64,
}

/// Where something is to be made.
struct Place {
    parent: Arc<OwnedFd>,
    path: PathBuf,
}

impl Place {
    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }
}

impl Layer {
    fn member<R: Read>(&mut self, archive: &mut Archive<R>, member: Member) -> Result<(), ApplyError> {
        match names::parse(&member.path, self.contents)? {
            Name::Skipped => Ok(()),
            Name::Root if member.kind == MemberKind::Directory => self.directory(Path::new(""), &meta(member)),
            Name::Root => Err(ApplyError::Root { path: PathBuf::from(OsString::from_vec(member.path)) }),
            Name::Opaque(directory) => self.opaque(&directory),
            Name::Whiteout(path) => self.whiteout(&path),
            Name::File(path) => self.file(archive, member, &path),
        }
    }

    fn file<R: Read>(&mut self, archive: &mut Archive<R>, member: Member, path: &Path) -> Result<(), ApplyError> {
        let place = self.place(path)?;
        let kind = match &member.kind {
            MemberKind::Directory => {
                self.make_directory(&place)?;
                return self.directory(&place.path, &meta(member));
            }
            MemberKind::HardLink(target) => {
                let target = target.clone();
                return self.hard_link(&place, &target, &meta(member));
            }
            MemberKind::File => {
                let make = |parent: BorrowedFd<'_>, name: &OsStr| make_file(parent, name, member.mode);
                let mut file = File::from(self.replacing(&place, "create", make)?);
                self.contents(archive, &member, &mut file, &place.path)?;
                let metadata = set_new_meta(file.as_fd(), &meta(member));
                return metadata.map_err(ApplyError::io("set the metadata of", &place.path));
            }
            // Whoever wrote this meant a whiteout, and in an overlay it is one.
            MemberKind::Character { major: 0, minor: 0 } if self.contents == Contents::Layer => {
                return self.whiteout(path);
            }
            MemberKind::Character { major: 0, minor: 0 } => return Err(ApplyError::io("create", path)(Errno::PERM)),
            MemberKind::Symlink(target) => Kind::Symlink(OsStr::from_bytes(target).to_owned()),
            MemberKind::Character { major, minor } => Kind::Character { major: *major, minor: *minor },
            MemberKind::Block { major, minor } => Kind::Block { major: *major, minor: *minor },
            MemberKind::Fifo => Kind::Fifo,
        };
        let rootless = self.target.namespace == Namespace::User;
        let made = self.replacing(&place, "create", |parent, name| match make_node(parent, name, &kind) {
            // No device can be made in a user namespace, and none could be used there.
            Err(Errno::PERM) if rootless => Ok(false),
            other => other.map(|()| true),
        })?;
        if made {
            let metadata = set_meta_at(place.parent(), place.name(), &meta(member), &kind);
            metadata.map_err(ApplyError::io("set the metadata of", &place.path))?;
        }
        Ok(())
    }

    fn contents<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        member: &Member,
        file: &mut File,
        path: &Path,
    ) -> Result<(), ApplyError> {
        self.bytes = self.bytes.saturating_add(member.size);
        if self.bytes > self.limits.size {
            return Err(ApplyError::TooLarge { limit: self.limits.size });
        }
        let failed = |source| ApplyError::Io { action: "write", path: path.to_owned(), source };
        let whole = [sparse::Piece { offset: 0, length: member.size }];
        for piece in member.sparse.as_deref().unwrap_or(&whole) {
            if member.sparse.is_some() {
                file.seek(SeekFrom::Start(piece.offset)).map_err(failed)?;
            }
            let mut left = piece.length;
            while left > 0 {
                let data = archive.data()?;
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                file.write_all(&data[..length]).map_err(failed)?;
                archive.consume(length);
                left -= length as u64;
            }
        }
        if member.sparse.is_some() {
            file.set_len(member.size).map_err(failed)?;
        }
        Ok(())
    }

    /// Links to what is there, which then has the metadata that the archive has with the link: Docker and containerd set it too, and
    /// where two members tell it differently the later one has it.
    fn hard_link(&mut self, place: &Place, target: &[u8], meta: &Meta) -> Result<(), ApplyError> {
        let missing = |target: &Path| ApplyError::HardLink { path: place.path.clone(), target: target.to_owned() };
        let Name::File(target) = names::parse_link(target)? else {
            return Err(missing(Path::new(OsStr::from_bytes(target))));
        };
        let Some((parent, name)) = split(&target) else { return Err(missing(&target)) };
        let target = resolve(&self.tree, parent, true)?.join(name);
        if target == place.path {
            return Ok(());
        }
        let (parent, _) = split(&target).ok_or_else(|| missing(&target))?;
        let found = self.target.entry(&target).map_err(ApplyError::io("link to", &target))?;
        match found {
            None if self.contents == Contents::Files => Err(missing(&target)),
            None => {
                // Whatever an earlier member put here must not stand in for the link.
                self.clear(place)?;
                self.deferred.links.push((place.path.clone(), target));
                Ok(())
            }
            Some(entry) if entry.is_whiteout() => Err(missing(&target)),
            Some(entry) => {
                let from = self.target.directory(parent).map_err(ApplyError::io("link to", &target))?;
                let from = from.ok_or_else(|| missing(&target))?;
                self.replacing(place, "link", |parent, to| {
                    rustix::fs::linkat(from.as_fd(), name, parent, to, AtFlags::empty())
                })?;
                set_meta_at(place.parent(), place.name(), meta, &entry.kind)
                    .map_err(ApplyError::io("set the metadata of", &place.path))
            }
        }
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), ApplyError> {
        let place = self.place(path)?;
        match self.target.whiteout(place.parent(), place.name()) {
            Err(Errno::EXIST) => {
                // This layer has something of that name, which stays, but nothing below it may show through.
                let found = at::entry_at(place.parent(), place.name());
                if found.map_err(ApplyError::io("hide", &place.path))?.is_directory() {
                    return self.opaque(path);
                }
                Ok(())
            }
            other => other.map_err(ApplyError::io("hide", &place.path)),
        }
    }

    fn opaque(&mut self, path: &Path) -> Result<(), ApplyError> {
        if path.as_os_str().is_empty() {
            // Overlayfs ignores the mark on the root of a layer, so what lies below must be hidden name by name.
            self.deferred.opaque_root = true;
            return Ok(());
        }
        let (directory, path) = self.parent(path)?;
        self.target.set_opaque(directory.as_fd()).map_err(ApplyError::io("make opaque", &path))
    }

    /// Gives a directory that is there its metadata.
    fn directory(&mut self, path: &Path, meta: &Meta) -> Result<(), ApplyError> {
        let directory = self.target.directory(path).map_err(ApplyError::io("open", path))?;
        if let Some(directory) = directory {
            set_meta(directory.as_fd(), meta).map_err(ApplyError::io("set the metadata of", path))?;
            self.times.insert(path.to_owned(), meta.mtime);
            self.deferred.parents.remove(path);
        }
        Ok(())
    }

    /// Makes a directory unless there is one; what else is there is replaced.
    fn make_directory(&mut self, place: &Place) -> Result<Arc<OwnedFd>, ApplyError> {
        let path = &place.path;
        let hidden = match self.target.entry(path).map_err(ApplyError::io("stat", path))? {
            None => false,
            Some(entry) if entry.is_directory() => {
                let directory = self.target.directory(path).map_err(ApplyError::io("open", path))?;
                return directory.ok_or_else(|| ApplyError::NotADirectory { path: path.clone() });
            }
            Some(entry) => {
                self.clear(place)?;
                entry.is_whiteout()
            }
        };
        let directory = self.target.make_directory(place.parent(), path).map_err(ApplyError::io("create", path))?;
        if hidden {
            self.target.set_opaque(directory.as_fd()).map_err(ApplyError::io("make opaque", path))?;
        }
        Ok(directory)
    }

    /// Makes something that is no directory, after removing what an earlier member made of that name.
    fn replacing<T>(
        &mut self,
        place: &Place,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, ApplyError> {
        let made = match make(place.parent(), place.name()) {
            Err(Errno::EXIST) => {
                self.clear(place)?;
                make(place.parent(), place.name())
            }
            other => other,
        };
        made.map_err(ApplyError::io(action, &place.path))
    }

    fn clear(&mut self, place: &Place) -> Result<(), ApplyError> {
        match self.target.remove(place.parent(), &place.path) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(ApplyError::io("replace", &place.path))?,
        }
        // Names may have led through what is gone.
        self.resolved.clear();
        self.times.retain(|path, _| !path.starts_with(&place.path));
        self.deferred.forget(&place.path);
        Ok(())
    }

    fn place(&mut self, path: &Path) -> Result<Place, ApplyError> {
        let Some((parent, name)) = split(path) else { return Err(ApplyError::Root { path: path.to_owned() }) };
        let (directory, parent) = self.parent(parent)?;
        Ok(Place { parent: directory, path: parent.join(name) })
    }

    /// The directory that a name leads to, following the layer's own links, and its true path. What is missing is made.
    fn parent(&mut self, written: &Path) -> Result<(Arc<OwnedFd>, PathBuf), ApplyError> {
        let known = self.resolved.get(written).map_or(written, PathBuf::as_path);
        if let Ok(Some(directory)) = self.target.directory(known) {
            return Ok((directory, known.to_owned()));
        }
        let path = resolve(&self.tree, written, true)?;
        let directory = self.make_parents(&path)?;
        if path != written {
            self.resolved.insert(written.to_owned(), path.clone());
        }
        Ok((directory, path))
    }

    /// Makes the directory at `path`, which leads through no link, and all its parents where they are missing.
    fn make_parents(&mut self, path: &Path) -> Result<Arc<OwnedFd>, ApplyError> {
        let not_a_directory = || ApplyError::NotADirectory { path: path.to_owned() };
        if path.as_os_str().len() > MAX_PATH {
            return Err(ApplyError::io("create", path)(Errno::NAMETOOLONG));
        }
        let mut missing = Vec::new();
        let mut found = None;
        for ancestor in path.ancestors() {
            match self.target.directory(ancestor) {
                Ok(Some(directory)) => {
                    found = Some(directory);
                    break;
                }
                Ok(None) | Err(Errno::NOTDIR | Errno::LOOP) => missing.push(ancestor),
                Err(error) => return Err(ApplyError::io("open", ancestor)(error)),
            }
        }
        let mut directory = found.ok_or_else(not_a_directory)?;
        for ancestor in missing.into_iter().rev() {
            let present = self.target.entry(ancestor).map_err(ApplyError::io("stat", ancestor))?;
            if present.as_ref().is_some_and(|entry| !entry.is_whiteout()) {
                return Err(not_a_directory());
            }
            directory = self.make_directory(&Place { parent: directory, path: ancestor.to_owned() })?;
            let meta = Meta::new(0o755);
            set_meta(directory.as_fd(), &meta).map_err(ApplyError::io("set the metadata of", ancestor))?;
            self.times.insert(ancestor.to_owned(), meta.mtime);
            if present.is_none() {
                self.deferred.parents.insert(ancestor.to_owned());
            }
        }
        Ok(directory)
    }

    fn set_times(&self) -> Result<(), ApplyError> {
        for (path, time) in &self.times {
            self.target.set_directory_time(path, *time).map_err(ApplyError::io("set the time of", path))?;
        }
        Ok(())
    }
}

fn meta(member: Member) -> Meta {
    let Member { mode, uid, gid, mtime, mut xattrs, .. } = member;
    xattrs.retain(|(name, _)| overlay::is_file_attribute(name));
    Meta { mode, uid, gid, mtime, xattrs }
}

#[cfg(test)]
mod tests;
