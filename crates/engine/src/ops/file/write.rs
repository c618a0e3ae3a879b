//! Writing what was selected into a new layer, with the destinations of COPY and ADD.

use super::earlier::Earlier;
use super::mode::{self, ModeError};
use super::select::{Match, Selected, join};
use crate::ops::parallel;
use crate::ops::users::{self, UserError};
use kiln_digest::ContentDigest;
use kiln_graph::{Copy, Mkdir, Mkfile, Owner};
use kiln_layer::{BuildError, Builder, Built, Entry, Existing, FileReader, Kind, Meta, Time, Tree, TreeError, resolve};
use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a layer cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("`{path}` changed while it was copied\nhint: build again when nothing writes to the build context")]
    Changed { path: PathBuf },
    #[error("`{path}` is there, and is not a directory\nhint: remove it in a RUN before, or choose another path")]
    NotADirectory { path: String },
    #[error(
        "cannot copy to `/{path}`: what the image has there is {is}\nhint: remove it in a RUN before, or copy to another place"
    )]
    InTheWay { path: PathBuf, is: &'static str },
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Mode(#[from] ModeError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

const SET_GROUP_ID: u32 = 0o2000;

/// A new layer over a base tree.
pub(crate) struct LayerWriter<'a> {
    builder: Builder,
    base: Arc<dyn Tree>,
    cancelled: &'a AtomicBool,
}

impl<'a> LayerWriter<'a> {
    /// Starts a layer in the directory `into` over `base`.
    pub(crate) fn new(into: PathBuf, base: Arc<dyn Tree>, cancelled: &'a AtomicBool) -> Result<Self, WriteError> {
        let builder = Builder::new(into, Some(Arc::clone(&base)))?;
        Ok(Self { builder, base, cancelled })
    }

    /// Ends the layer.
    pub(crate) fn finish(self) -> Result<Built, WriteError> {
        Ok(self.builder.finish()?)
    }

    /// The builder, for members of archives.
    pub(crate) fn builder(&self) -> &Builder {
        &self.builder
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, WriteError> {
        match self.builder.entry(path)? {
            Some(entry) => Ok(Some(entry)),
            None => Ok(self.base.entry(path)?),
        }
    }

    fn is_directory(&self, path: &Path) -> Result<bool, WriteError> {
        Ok(path.as_os_str().is_empty() || self.entry(path)?.is_some_and(|entry| entry.is_directory()))
    }

    /// Makes `path` and its parents where they are missing. As the kernel does it, a new directory has the set-group-id bit of the one that
    /// it is in and, unless it is given an owner, the group as well.
    fn make_directories(&self, path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<(), WriteError> {
        let mut missing = Vec::new();
        for ancestor in path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty()) {
            match self.entry(ancestor)? {
                Some(entry) if entry.is_directory() => break,
                Some(_) => return Err(WriteError::NotADirectory { path: format!("/{}", ancestor.display()) }),
                None => missing.push(ancestor),
            }
        }
        let Some(first) = missing.last() else { return Ok(()) };
        let (uid, gid) = owner.unwrap_or_default();
        let mut meta = Meta { mode, uid, gid, mtime: Time::now(), xattrs: Vec::new() };
        let above = self.entry(first.parent().unwrap_or(Path::new("")))?;
        if let Some(above) = above.filter(|above| above.mode & SET_GROUP_ID != 0) {
            meta.mode |= SET_GROUP_ID;
            meta.gid = owner.map_or(above.gid, |(_, gid)| gid);
        }
        for directory in missing.into_iter().rev() {
            self.builder.directory(directory, &meta)?;
        }
        Ok(())
    }

    /// A directory that members of an archive lie in and that is no member itself: the one that is there, be it behind links, or a new one.
    pub(crate) fn ensure_directory(&self, path: &Path) -> Result<PathBuf, WriteError> {
        let path = resolve(self.base.as_ref(), path, true)?;
        self.make_directories(&path, 0o755, None)?;
        Ok(path)
    }

    pub(crate) fn owner(&self, owner: Option<&Owner>) -> Result<Option<(u32, u32)>, WriteError> {
        Ok(owner.map(|owner| users::owner(self.base.as_ref(), owner)).transpose()?)
    }

    /// WORKDIR and the like: makes a directory with its parents; one that is there stays as it is.
    pub(crate) fn mkdir(&self, mkdir: &Mkdir) -> Result<(), WriteError> {
        let owner = self.owner(mkdir.owner.as_ref())?;
        let path = resolve(self.base.as_ref(), Path::new(&mkdir.path), true)?;
        self.make_directories(&path, mkdir.mode, owner)
    }

    /// A file of given bytes.
    pub(crate) fn mkfile(&self, mkfile: &Mkfile) -> Result<(), WriteError> {
        let owner = self.owner(mkfile.owner.as_ref())?;
        let mode = mkfile.mode.as_ref().map_or(Ok(0o644), |mode| mode::apply(mode, 0o644, false))?;
        let mut path = resolve(self.base.as_ref(), Path::new(&mkfile.dest), true)?;
        if mkfile.dest.ends_with('/') || self.is_directory(&path)? {
            path.push(&mkfile.name);
        }
        self.make_directories(path.parent().unwrap_or(Path::new("")), 0o755, owner)?;
        let (uid, gid) = owner.unwrap_or_default();
        let meta = Meta { mode, uid, gid, mtime: Time::now(), xattrs: Vec::new() };
        self.builder.file(&path, &meta, &mkfile.data[..])?;
        Ok(())
    }

    /// Copies a selection of `from`, linking what `earlier` has.
    pub(crate) fn copy(
        &self,
        copy: &Copy,
        from: &dyn Tree,
        matches: &[Match],
        earlier: Option<&Earlier>,
    ) -> Result<(), WriteError> {
        let owner = self.owner(copy.owner.as_ref())?;
        for found in matches {
            let Some(first) = found.files.first() else { continue };
            let root = self.destination(copy, found, first)?;
            if copy.parents {
                self.copy_parents(copy, found, owner)?;
            }
            self.make_directories(root.parent().unwrap_or(Path::new("")), 0o755, owner)?;
            CopyMatch { writer: self, copy, from, owner, found, root, earlier }.run()?;
        }
        Ok(())
    }

    /// The directories that a source of `--parents` lies in, as they are where it comes from. One that is there gets only the mode, as
    /// in BuildKit.
    fn copy_parents(&self, copy: &Copy, found: &Match, owner: Option<(u32, u32)>) -> Result<(), WriteError> {
        let resolve = |path: &Path| if copy.link { Ok(plain(path)) } else { resolve(self.base.as_ref(), path, true) };
        let mut dest = resolve(Path::new(&copy.dest))?;
        self.make_directories(&dest, 0o755, owner)?;
        for (directory, name) in found.parents.iter().zip(found.named.components().skip(found.pivot)) {
            dest = resolve(&dest.join(name))?;
            if self.builder.entry(&dest)?.is_some() {
                continue;
            }
            let meta = match self.base.entry(&dest)? {
                Some(there) if there.is_directory() => {
                    let there = Meta::of(&there, self.base.xattrs(&dest)?);
                    Meta { mode: directory.entry.mode, ..there }
                }
                Some(_) => return Err(WriteError::NotADirectory { path: format!("/{}", dest.display()) }),
                None => copied_meta(copy, directory, owner)?,
            };
            self.builder.directory(&dest, &meta)?;
        }
        Ok(())
    }

    /// The directory that an archive is unpacked to, made where it is missing.
    pub(crate) fn archive_root(&self, copy: &Copy) -> Result<PathBuf, WriteError> {
        let root = resolve(self.base.as_ref(), Path::new(&copy.dest), true)?;
        self.make_directories(&root, 0o755, self.owner(copy.owner.as_ref())?)?;
        Ok(root)
    }

    /// Where a source goes: into the destination if that is a directory, else to the destination itself.
    pub(crate) fn destination(&self, copy: &Copy, found: &Match, first: &Selected) -> Result<PathBuf, WriteError> {
        let resolve = |path: &Path| -> Result<PathBuf, WriteError> {
            if copy.link { Ok(plain(path)) } else { Ok(resolve(self.base.as_ref(), path, true)?) }
        };
        let mut dest = resolve(Path::new(&copy.dest))?;
        if copy.parents {
            return resolve(&dest.join(found.named.components().skip(found.pivot).collect::<PathBuf>()));
        }
        if !first.entry.is_directory() && (copy.dest.ends_with('/') || self.is_directory(&dest)?) {
            dest.push(found.named.file_name().unwrap_or_default());
        }
        if first.entry.is_directory()
            && !dest.as_os_str().is_empty()
            && self.entry(&dest)?.is_some_and(|e| !e.is_directory())
        {
            return Err(WriteError::NotADirectory { path: copy.dest.clone() });
        }
        Ok(dest)
    }
}

/// The components of a path without `.`, `..` and the root.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}

/// What a file has in the destination, besides its bytes.
fn copied_meta(copy: &Copy, file: &Selected, owner: Option<(u32, u32)>) -> Result<Meta, WriteError> {
    let mut meta = Meta::of(&file.entry, file.xattrs.clone());
    (meta.uid, meta.gid) = owner.unwrap_or((meta.uid, meta.gid));
    if let Some(wanted) = &copy.mode {
        meta.mode = mode::apply(wanted, meta.mode, file.entry.is_directory())?;
    }
    Ok(meta)
}

/// For fewer files, starting threads takes longer than copying them.
const WORTHWHILE: usize = 64;

/// One source on its way to one destination.
struct CopyMatch<'a> {
    writer: &'a LayerWriter<'a>,
    copy: &'a Copy,
    from: &'a dyn Tree,
    owner: Option<(u32, u32)>,
    found: &'a Match,
    root: PathBuf,
    earlier: Option<&'a Earlier>,
}

impl CopyMatch<'_> {
    fn run(&self) -> Result<(), WriteError> {
        let (mut rest, mut links) = (Vec::new(), Vec::new());
        let mut inodes: HashMap<(u64, u64), PathBuf> = HashMap::new();
        // Directories of the source whose destination was there before: only in those can something be in the way.
        let mut merged = HashSet::new();
        for file in &self.found.files {
            let dest = join(&self.root, file.relative());
            let above = file.relative().parent();
            let there = match above.is_none_or(|above| merged.contains(above)) {
                true if dest.as_os_str().is_empty() => Some(true),
                true => self.writer.entry(&dest)?.map(|entry| entry.is_directory()),
                false => None,
            };
            // As Docker has it, nothing is replaced by something of another kind: `COPY root/ /` must not take away a link like
            // `/lib` with all that is behind it.
            match (file.entry.is_directory(), there) {
                (true, Some(false)) => return Err(WriteError::InTheWay { path: dest, is: "not a directory" }),
                (false, Some(true)) => return Err(WriteError::InTheWay { path: dest, is: "a directory" }),
                (true, Some(true)) => drop(merged.insert(file.relative())),
                _ => {}
            }
            if file.entry.is_file() && file.entry.nlink > 1 {
                // Names of one file within one source stay names of one file.
                match inodes.entry((file.entry.dev, file.entry.ino)) {
                    Slot::Occupied(first) => links.push((dest, first.get().clone())),
                    Slot::Vacant(slot) => {
                        slot.insert(dest);
                        rest.push(file);
                    }
                }
            } else if !file.entry.is_directory() {
                rest.push(file);
            } else if above.is_some() || (there.is_none() && self.copy.parents) {
                self.writer.builder.directory(&dest, &self.meta(file)?)?;
            } else if there.is_none() {
                // A directory is copied by its contents: the destination is made as any missing parent is.
                self.writer.make_directories(&dest, 0o755, self.owner)?;
            }
        }
        parallel::for_each(&mut rest, WORTHWHILE, |file| match self.writer.cancelled.load(Ordering::Relaxed) {
            true => Err(WriteError::Cancelled),
            false => self.write(file),
        })?;
        for (dest, first) in links {
            self.writer.builder.hard_link(&dest, &first)?;
        }
        Ok(())
    }

    fn meta(&self, file: &Selected) -> Result<Meta, WriteError> {
        copied_meta(self.copy, file, self.owner)
    }

    fn write(&self, file: &Selected) -> Result<(), WriteError> {
        let dest = join(&self.root, file.relative());
        let meta = self.meta(file)?;
        let builder = &self.writer.builder;
        match &file.entry.kind {
            Kind::File => {
                if let (Some(earlier), Some(content)) = (self.earlier, file.content)
                    && earlier.has(&dest, content, &meta)
                {
                    let (layer, size) = (&earlier.directory, file.entry.size);
                    match builder.link_from(&dest, &meta, Existing { layer, path: &dest, size, content, inode: None }) {
                        Ok(()) => return Ok(()),
                        Err(error) if error.is_unlinkable() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                let opened = self.from.open(&file.path).map_err(|error| match error {
                    TreeError::NotFound { path } | TreeError::NotAFile { path } | TreeError::NotADirectory { path } => {
                        WriteError::Changed { path }
                    }
                    error => error.into(),
                })?;
                let opened = FileReader::new(opened, file.entry.size, self.writer.cancelled);
                let (_, content) = builder.file(&dest, &meta, opened)?;
                self.check(file, content)
            }
            kind => Ok(builder.node(&dest, &meta, kind)?),
        }
    }

    /// The bytes that were copied must be those that the key was made from.
    fn check(&self, file: &Selected, content: ContentDigest) -> Result<(), WriteError> {
        if file.content == Some(content) { Ok(()) } else { Err(WriteError::Changed { path: file.path.clone() }) }
    }
}
