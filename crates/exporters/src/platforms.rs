//! The files of several platforms as one tree: a directory for each, named like `linux_arm64`.

use kiln_layer::{Entry, Kind, Time, Tree, TreeError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Component, Path};
use std::sync::Arc;

/// Trees as directories of one root.
pub struct PlatformDirectories {
    trees: BTreeMap<OsString, Arc<dyn Tree>>,
}

impl PlatformDirectories {
    /// The trees below the names given.
    pub fn new(trees: impl IntoIterator<Item = (OsString, Arc<dyn Tree>)>) -> Self {
        Self { trees: trees.into_iter().collect() }
    }

    /// The tree that a path lies in, with its place among the trees and the rest of the path.
    fn tree<'a>(&self, path: &'a Path) -> Option<(usize, &Arc<dyn Tree>, &'a Path)> {
        let Some(Component::Normal(first)) = path.components().next() else { return None };
        let place = self.trees.keys().position(|name| name == first)?;
        Some((place, &self.trees[first], path.strip_prefix(first).ok()?))
    }
}

impl Tree for PlatformDirectories {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError> {
        match self.tree(path) {
            Some((place, tree, inner)) => Ok(tree.entry(inner)?.map(|entry| identified(entry, place))),
            None => Ok(path.as_os_str().is_empty().then(directory)),
        }
    }

    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError> {
        match self.tree(path) {
            Some((place, tree, inner)) => {
                let children = tree.children(inner)?.into_iter();
                Ok(children.map(|(name, entry)| (name, identified(entry, place))).collect())
            }
            None if path.as_os_str().is_empty() => {
                Ok(self.trees.keys().map(|name| (name.clone(), directory())).collect())
            }
            None => Err(TreeError::NotFound { path: path.to_owned() }),
        }
    }

    fn open(&self, path: &Path) -> Result<File, TreeError> {
        match self.tree(path) {
            Some((_, tree, inner)) => tree.open(inner),
            None => Err(TreeError::NotAFile { path: path.to_owned() }),
        }
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError> {
        match self.tree(path) {
            Some((_, tree, inner)) if !inner.as_os_str().is_empty() => tree.xattrs(inner),
            _ => Ok(Vec::new()),
        }
    }
}

/// Two platforms may share a layer; that does not make their files links of each other.
pub(crate) fn identified(entry: Entry, place: usize) -> Entry {
    Entry { dev: entry.dev.wrapping_add((place as u64) << 48), ..entry }
}

/// A directory that no tree has.
fn directory() -> Entry {
    Entry {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: Time::default(),
        ctime: Time::default(),
        dev: 0,
        ino: 0,
        nlink: 1,
    }
}
