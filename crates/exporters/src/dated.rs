//! Files that are all of one time (`SOURCE_DATE_EPOCH`): what leaves the store as files depends on no clock then.

use kiln_layer::{Entry, Time, Tree, TreeError};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A tree whose entries last changed at one time.
pub struct Dated {
    tree: Arc<dyn Tree>,
    time: Time,
}

impl Dated {
    /// A tree with a time in seconds since 1970.
    pub fn new(tree: Arc<dyn Tree>, seconds: i64) -> Self {
        Self { tree, time: Time::seconds(seconds) }
    }

    fn dated(&self, entry: Entry) -> Entry {
        Entry { mtime: self.time, ..entry }
    }
}

impl Tree for Dated {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, TreeError> {
        Ok(self.tree.entry(path)?.map(|entry| self.dated(entry)))
    }

    fn children(&self, path: &Path) -> Result<Vec<(OsString, Entry)>, TreeError> {
        let children = self.tree.children(path)?.into_iter();
        Ok(children.map(|(name, entry)| (name, self.dated(entry))).collect())
    }

    fn open(&self, path: &Path) -> Result<File, TreeError> {
        self.tree.open(path)
    }

    fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, TreeError> {
        self.tree.xattrs(path)
    }
}
