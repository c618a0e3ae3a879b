//! What a layer can't have without the layers below it.

use super::ApplyError;
use crate::overlay;
use crate::tree::{Entry, Kind, Time, Tree, split};
use crate::writing::{Meta, Target, make_file, make_node, set_meta, set_meta_at, set_new_meta, timestamps};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::AtFlags;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What was put off until the layers below are there. Everything else of the layer is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deferred {
    /// Directories that had to be made though the archive has no member for them; they should be as the lower ones are.
    pub parents: BTreeSet<PathBuf>,
    /// Hard links to files of lower layers: the link and what it links to.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Nothing of lower layers is to be seen.
    pub opaque_root: bool,
}

impl Deferred {
    /// Whether the layers below are not needed at all.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty() && self.links.is_empty() && !self.opaque_root
    }

    /// Something else is made at this path.
    pub(super) fn forget(&mut self, path: &Path) {
        self.parents.retain(|known| !known.starts_with(path));
        self.links.retain(|(link, _)| !link.starts_with(path));
    }
}

/// Does to the layer in `dir` what was put off when it was applied.
///
/// # Errors
/// [`ApplyError::HardLink`] if the base lacks what a link leads to, [`ApplyError::Tree`] and [`ApplyError::Io`].
pub fn settle(dir: &Path, deferred: &Deferred, base: &dyn Tree) -> Result<(), ApplyError> {
    if deferred.is_empty() {
        return Ok(());
    }
    let target = Target::new(dir).map_err(ApplyError::io("open", dir))?;
    for (path, to) in &deferred.links {
        link(&target, path, to, base)?;
    }
    for path in &deferred.parents {
        let Some(entry) = base.entry(path)?.filter(Entry::is_directory) else { continue };
        let Ok(Some(directory)) = target.directory(path) else { continue };
        let meta = Meta::of(&entry, base.xattrs(path)?);
        set_meta(directory.as_fd(), &meta).map_err(ApplyError::io("set the metadata of", path))?;
    }
    if deferred.opaque_root {
        let root = Path::new("");
        keep_time(&target, root, |directory| {
            for (name, _) in base.children(root)? {
                hide(&target, directory, Path::new(&name))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn hide(target: &Target, root: BorrowedFd<'_>, path: &Path) -> Result<(), ApplyError> {
    let hidden = match target.entry(path).map_err(ApplyError::io("stat", path))? {
        None => target.whiteout(root, path.as_os_str()),
        Some(entry) if entry.is_directory() => match target.directory(path) {
            Ok(Some(directory)) => overlay::set_opaque(directory.as_fd(), target.namespace),
            other => other.map(|_| ()),
        },
        Some(_) => Ok(()),
    };
    hidden.map_err(ApplyError::io("hide", path))
}

/// Makes a link to a file of a lower layer: in an overlay that is a copy, and further links are links to the copy.
fn link(target: &Target, path: &Path, to: &Path, base: &dyn Tree) -> Result<(), ApplyError> {
    let missing = || ApplyError::HardLink { path: path.to_owned(), target: to.to_owned() };
    if target.entry(path).map_err(ApplyError::io("stat", path))?.is_some() {
        // A later member took the name.
        return Ok(());
    }
    let (parent, name) = split(path).ok_or_else(missing)?;
    if let Some(entry) = target.entry(to).map_err(ApplyError::io("stat", to))? {
        let (from, from_name) = split(to).ok_or_else(missing)?;
        let from = target.directory(from).map_err(ApplyError::io("open", to))?.ok_or_else(missing)?;
        if entry.is_whiteout() {
            return Err(missing());
        }
        return keep_time(target, parent, |directory| {
            let linked = rustix::fs::linkat(from.as_fd(), from_name, directory, name, AtFlags::empty());
            linked.map_err(ApplyError::io("link", path))
        });
    }
    let entry = base.entry(to)?.filter(|entry| !entry.is_directory()).ok_or_else(missing)?;
    let meta = Meta::of(&entry, base.xattrs(to)?);
    // The file must be at both names of this layer, or the two would no longer be one.
    keep_time(target, parent, |directory| {
        let failed = |source| ApplyError::Io { action: "copy", path: path.to_owned(), source };
        if entry.kind == Kind::File {
            let mut file = File::from(make_file(directory, name, meta.mode).map_err(ApplyError::io("create", path))?);
            io::copy(&mut base.open(to)?, &mut file).map_err(failed)?;
            set_new_meta(file.as_fd(), &meta).map_err(ApplyError::io("set the metadata of", path))
        } else {
            make_node(directory, name, &entry.kind).map_err(ApplyError::io("create", path))?;
            set_meta_at(directory, name, &meta, &entry.kind).map_err(ApplyError::io("set the metadata of", path))
        }
    })
}

/// Works in a directory of the layer, which keeps its time.
fn keep_time(
    target: &Target,
    path: &Path,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<(), ApplyError>,
) -> Result<(), ApplyError> {
    let directory = target.directory(path).map_err(ApplyError::io("open", path))?;
    let directory = directory.ok_or_else(|| ApplyError::NotADirectory { path: path.to_owned() })?;
    let stat = rustix::fs::fstat(&directory).map_err(ApplyError::io("stat", path))?;
    work(directory.as_fd())?;
    let time = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
    rustix::fs::futimens(&directory, &timestamps(time)).map_err(ApplyError::io("set the time of", path))
}
