//! Temporary directories: where layers, blobs and cache mounts are made before one rename puts them into place.

use crate::error::Result;
use crate::open::Store;
use crate::process::{Process, make_dir};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of the caller's own, empty at first, on the same filesystem as layers. When dropped it is deleted in the background with
/// all that is in it, at the latest when the last clone of the [`Store`] and the last `TempDir` are gone.
pub struct TempDir {
    path: PathBuf,
    // The directory of the process stays as long as anything in it is in use.
    process: Arc<Process>,
}

impl TempDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        self.process.remove_later([std::mem::take(&mut self.path)]);
    }
}

impl Store {
    /// Makes an empty directory (mode 0700) for something that is to be made.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn temp_dir(&self) -> Result<TempDir> {
        let process = Arc::clone(&self.0.process);
        let path = process.fresh_path()?;
        make_dir(&path)?;
        Ok(TempDir { path, process })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::new_store;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn directories_go_with_their_owners() {
        let (root, store) = new_store();
        let [directory, another] = [store.temp_dir().unwrap(), store.temp_dir().unwrap()];
        fs::create_dir_all(another.path().join("a/b")).unwrap();
        drop(another);
        let path = directory.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        drop(store);
        assert!(path.exists(), "a temporary directory outlives the store that made it");
        drop(directory);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }
}
