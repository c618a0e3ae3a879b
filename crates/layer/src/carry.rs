//! Carrying directories over from the layer that a step made last time to its next run.
//!
//! [`carry_over`] makes a layer of what the earlier layer has there and the base has not: hard links, so nothing is copied, and times
//! stay. It is mounted between the base and the step's upper directory, which gets a copy of each file that the step writes to; the
//! earlier layer's files never change. Afterwards [`take_up`] moves what the step still saw of it into the upper directory, which
//! then is what the step would have left had it made all of it itself.

use crate::at;
use crate::builder::{BuildError, Builder, Existing};
use crate::directory::Directory;
use crate::overlay::{self, Namespace};
use crate::tree::{Entry, Kind, Tree, TreeError};
use crate::writing::{Meta, timestamps};
use kiln_digest::ContentDigest;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why nothing could be carried over.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The earlier layer or the base could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The new layer could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Makes the layer `into`, over `base`, of what the layer in the directory `earlier` has at `paths`, but for what is at one of `except`.
/// What the base has is never hidden. Says how many files and links there are.
///
/// # Errors
/// [`CarryError`]; what was made by then is of no use.
pub fn carry_over(
    earlier: &Path,
    paths: &[PathBuf],
    except: &[PathBuf],
    base: Arc<dyn Tree>,
    into: PathBuf,
) -> Result<u64, CarryError> {
    let tree = Directory::new(earlier)?;
    let builder = Builder::new(into, Some(Arc::clone(&base)))?;
    let mut carrying = Carrying { tree: &tree, base: base.as_ref(), except, builder: &builder, count: 0 };
    for path in paths {
        carrying.parents(path)?;
        if let Some(entry) = tree.entry(path)? {
            carrying.carry(path, &entry)?;
        }
    }
    let count = carrying.count;
    builder.finish()?;
    Ok(count)
}

struct Carrying<'a> {
    tree: &'a Directory,
    base: &'a dyn Tree,
    except: &'a [PathBuf],
    builder: &'a Builder,
    count: u64,
}

impl Carrying<'_> {
    /// Parents that the base lacks are those of the earlier layer.
    fn parents(&self, path: &Path) -> Result<(), CarryError> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for path in above {
            if self.base.entry(path)?.is_none()
                && let Some(entry) = self.tree.entry(path)?
                && entry.is_directory()
            {
                self.builder.directory(path, &Meta::of(&entry, self.tree.xattrs(path)?))?;
            }
        }
        Ok(())
    }

    fn carry(&mut self, path: &Path, entry: &Entry) -> Result<(), CarryError> {
        if self.except.iter().any(|except| except == path) {
            return Ok(());
        }
        let below = self.base.entry(path)?;
        match &entry.kind {
            Kind::Directory => {
                match below {
                    Some(below) if below.is_directory() => {}
                    Some(_) => return Ok(()),
                    None => self.builder.directory(path, &Meta::of(entry, self.tree.xattrs(path)?))?,
                }
                for (name, child) in self.tree.children(path)? {
                    self.carry(&path.join(name), &child)?;
                }
            }
            Kind::File if below.is_none() => {
                // Nobody asks what this layer amounts to: what the step leaves is measured in the end.
                let content = ContentDigest::of_bytes(b"");
                let existing = Existing { layer: self.tree, path, size: entry.size, content, inode: None };
                self.builder.link_from(path, &Meta::of(entry, Vec::new()), existing)?;
                self.count += 1;
            }
            Kind::Symlink(target) if below.is_none() => {
                let meta = Meta::of(entry, self.tree.xattrs(path)?);
                self.builder.symlink(path, &meta, Path::new(target))?;
                self.count += 1;
            }
            // Whiteouts among them: what was gone then is for this run to say.
            _ => {}
        }
        Ok(())
    }
}

/// Moves what the overlay of `upper` over `carried` still shows of `carried` into `upper`. Both must be on one filesystem; what is left of
/// `carried` is of no use.
///
/// # Errors
/// [`TreeError::Io`].
pub fn take_up(upper: &Path, carried: &Path) -> Result<(), TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).map_err(|e| TreeError::io("open", path, e));
    let (upper, carried) = (open(upper)?, open(carried)?);
    Taking { namespace: Namespace::of_process() }.directory(&upper, &carried, &PathBuf::new())
}

struct Taking {
    namespace: Namespace,
}

impl Taking {
    fn directory(&self, upper: &OwnedFd, carried: &OwnedFd, path: &Path) -> Result<(), TreeError> {
        let failed = |e| TreeError::io("move", path, e);
        let before = at::entry_of_fd(upper.as_fd()).map_err(failed)?;
        for name in at::names(carried.as_fd()).map_err(failed)? {
            let path = path.join(&name);
            let failed = |e| TreeError::io("move", &path, e);
            let mine = at::absent(at::entry_at(upper.as_fd(), &name)).map_err(failed)?;
            let theirs = at::entry_at(carried.as_fd(), &name).map_err(failed)?;
            match mine {
                None => rustix::fs::renameat(carried, &name, upper, &name).map_err(failed)?,
                Some(mine) if mine.is_directory() && theirs.is_directory() => {
                    let open = |parent: BorrowedFd<'_>| at::open_directory(parent, Path::new(&name)).map_err(failed);
                    let mine = open(upper.as_fd())?;
                    if !overlay::is_opaque(mine.as_fd(), self.namespace).map_err(failed)? {
                        self.directory(&mine, &open(carried.as_fd())?, &path)?;
                    }
                }
                // The step has put something else there, or removed it.
                Some(_) => {}
            }
        }
        // As the step saw the directory.
        rustix::fs::futimens(upper, &timestamps(before.mtime)).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
