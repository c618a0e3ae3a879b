//! What the directories hold that wildcards are looked for in.
//!
//! Several sources of one COPY often name the same directory, which may be large: it is read once.

use kiln_layer::{Entry, Tree, TreeError};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The names in a directory and what they are, sorted by the bytes of the names.
pub(super) type Listing = Vec<(OsString, Entry)>;

/// The directories of one tree.
pub(super) struct Listings<'t> {
    pub(super) tree: &'t dyn Tree,
    /// What was listed so far, if it may be asked for again.
    kept: Option<HashMap<PathBuf, Rc<Listing>>>,
}

impl<'t> Listings<'t> {
    /// `again` says whether a directory may be asked for more than once.
    pub(super) fn new(tree: &'t dyn Tree, again: bool) -> Self {
        Self { tree, kept: again.then(HashMap::new) }
    }

    /// What the directory at `path`, in which no link is followed, holds; nothing if there is none.
    ///
    /// # Errors
    /// Those of [`Tree::entry`] and [`Tree::children`].
    pub(super) fn of(&mut self, path: &Path) -> Result<Rc<Listing>, TreeError> {
        if let Some(known) = self.kept.as_ref().and_then(|kept| kept.get(path)) {
            return Ok(Rc::clone(known));
        }
        let is_directory = self.tree.entry(path)?.is_some_and(|entry| entry.is_directory());
        let listing = Rc::new(if is_directory { self.tree.children(path)? } else { Vec::new() });
        if let Some(kept) = &mut self.kept {
            kept.insert(path.to_owned(), Rc::clone(&listing));
        }
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layer::Directory;

    #[test]
    fn a_directory_is_read_once() {
        for (again, expected) in [(true, 1), (false, 2)] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("a"), "").unwrap();
            let tree = Directory::new(directory.path()).unwrap();
            let mut listings = Listings::new(&tree, again);
            assert_eq!(listings.of(Path::new("")).unwrap().len(), 1);
            std::fs::write(directory.path().join("b"), "").unwrap();
            assert_eq!(listings.of(Path::new("")).unwrap().len(), expected);
            assert!(listings.of(Path::new("a")).unwrap().is_empty());
            assert!(listings.of(Path::new("c")).unwrap().is_empty());
        }
    }
}
