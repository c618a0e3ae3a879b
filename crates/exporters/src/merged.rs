//! The files of several platforms in one place (`platform-split=false`): directories are those of all, everything else is of one.

use crate::destination::ExportError;
use crate::platforms::identified;
use kiln_layer::{Entry, Tree, TreeError};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Trees laid over each other. No two have anything but a directory at the same path.
pub struct Merged {
    trees: Vec<Arc<dyn Tree>>,
}

impl Merged {
    /// The trees of these platforms.
    ///
    /// # Errors
    /// [`ExportError::Overlap`] where a platform would overwrite what another one has.
    pub fn new(platforms: Vec<(String, Arc<dyn Tree>)>) -> Result<Self, ExportError> {
        let mut seen: HashMap<PathBuf, (usize, bool)> = HashMap::new();
        for (place, (_, tree)) in platforms.iter().enumerate() {
            let mut left = vec![PathBuf::new()];
            while let Some(parent) = left.pop() {
                for (name, entry) in tree.children(&parent)? {
                    let (path, is_directory) = (parent.join(name), entry.is_directory());
                    match seen.get(&path) {
                        Some((_, true)) if is_directory => {}
                        Some((first, _)) => {
                            let (first, second) = (platforms[*first].0.clone(), platforms[place].0.clone());
                            return Err(ExportError::Overlap { path, first, second });
                        }
                        None => drop(seen.insert(path.clone(), (place, is_directory))),
                    }
                    if is_directory {
                        left.push(path);
                    }
                }
            }
        }
        Ok(Self { trees: platforms.into_iter().map(|(_, tree)| tree).collect() })
    }

    /// The first tree that has something at a path.
    fn tree(&self, path: &Path) -> Result<&Arc<dyn Tree>, TreeError> {
        for tree in &self.trees {
            if tree.entry(path)?.is_some() {
                return Ok(tree);
            }
        }
        Err(TreeError::NotFound { path: path.to_owned() })
    }
}

impl Tree for Merged {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError> {
        for (place, tree) in self.trees.iter().enumerate() {
            if let Some(entry) = tree.entry(path)? {
                return Ok(Some(identified(entry, place)));
            }
        }
        Ok(None)
    }

    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError> {
        let mut children = BTreeMap::new();
        for (place, tree) in self.trees.iter().enumerate() {
            if tree.entry(path)?.is_some() {
                for (name, entry) in tree.children(path)? {
                    children.entry(name).or_insert_with(|| identified(entry, place));
                }
            }
        }
        Ok(children.into_iter().collect())
    }

    fn open(&self, path: &Path) -> Result<File, TreeError> {
        self.tree(path)?.open(path)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError> {
        self.tree(path)?.xattrs(path)
    }
}
