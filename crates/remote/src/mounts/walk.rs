//! Everything in a tree that may be in use: what is seen in one pass, files without their contents. Each item goes to the caller as soon
//! as it is seen, since a list of them all is most of the memory that an export takes.

use super::listing::{Item, What, Xattr};
use super::memo::Stat;
use kiln_layer::{Directory, Entry, Kind, Tree, TreeError};
use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// An item of a walk.
pub(crate) struct Seen {
    /// A file's chunks are not known yet, and attributes only of directories.
    pub(crate) item: Item,
    pub(crate) stat: Stat,
}

/// Walks a tree in the order of the paths, and gives each item to `take`. Sockets, pipes and devices are passed over, and what vanishes
/// meanwhile. Ends early once `stop` is true.
///
/// # Errors
/// What the system refuses.
pub(crate) fn walk(tree: &Directory, stop: &AtomicBool, mut take: impl FnMut(Seen)) -> Result<(), TreeError> {
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut levels = vec![(PathBuf::new(), tree.children(Path::new(""))?.into_iter())];
    while let Some((above, rest)) = levels.last_mut() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some((name, entry)) = rest.next() else {
            levels.pop();
            continue;
        };
        let path = above.join(name);
        let what = match &entry.kind {
            Kind::Directory => What::Directory,
            Kind::Symlink(target) => What::Symlink(target.clone().into_vec()),
            Kind::File => match links.get(&(entry.dev, entry.ino)) {
                Some(first) => What::Link(first.clone().into_os_string().into_vec()),
                None => What::File(Vec::new()),
            },
            _ => continue,
        };
        let mut xattrs = Vec::new();
        if what == What::Directory {
            let below = match (attributes(tree, &path), tree.children(&path)) {
                (Ok(found), Ok(below)) => {
                    xattrs = found;
                    below
                }
                (Err(TreeError::NotFound { .. }), _) | (_, Err(TreeError::NotFound { .. })) => continue,
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            levels.push((path.clone(), below.into_iter()));
        }
        if entry.nlink > 1 && matches!(what, What::File(_)) {
            links.insert((entry.dev, entry.ino), path.clone());
        }
        let Entry { mode, uid, gid, mtime, .. } = entry;
        take(Seen { stat: Stat::of(&entry), item: Item { path, what, mode, uid, gid, mtime, xattrs } });
    }
    Ok(())
}

/// The extended attributes of what is at `path`.
pub(crate) fn attributes(tree: &Directory, path: &Path) -> Result<Vec<Xattr>, TreeError> {
    Ok(tree.xattrs(path)?.into_iter().map(|(name, value)| (name.into_vec(), value)).collect())
}
