//! An archive that is begun while steps still run: the blobs of the base image, which come first in it, are known long before the
//! rest. Nothing of it is seen before the whole archive is there.

use crate::archive::{Archive, Content, Files};
use crate::destination::{Destination, ExportError, Replaced, Stream, Unfinished};
use crate::oci::blob_path;
use kiln_digest::Digest;
use kiln_store::Store;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The beginning of an archive.
#[derive(Debug)]
pub struct HeadStart {
    to: PathBuf,
    file: Unfinished,
    /// The paths of the files that are in it.
    written: Vec<String>,
    directories: HashSet<String>,
}

impl HeadStart {
    /// Begins an image's archive that is to be at `to` with these blobs, which are in the store. `None` where nothing can be begun: `to`
    /// is no regular file, its directory is still to be made, or the file could be seen before it is whole.
    ///
    /// # Errors
    /// [`ExportError`]; also once `stop` is true.
    pub fn begin(store: &Store, to: &Path, blobs: &[Digest], stop: &AtomicBool) -> Result<Option<Self>, ExportError> {
        let Some(mut file) = Unfinished::unseen(to) else { return Ok(None) };
        let mut stream = Stream::to_file(&mut file.file, stop);
        let mut archive = Archive::new(&mut stream, HashSet::new());
        let mut written = Vec::new();
        for blob in blobs {
            let path = blob_path(blob);
            if !written.contains(&path) {
                archive.add(store, &path, Content::Blob(*blob))?;
                written.push(path);
            }
        }
        let directories = archive.pause();
        stream.flush().map_err(ExportError::write(to))?;
        drop(stream);
        Ok(Some(Self { to: to.to_owned(), file, written, directories }))
    }

    /// Whether these files at this destination begin with what is written.
    pub(crate) fn begins(&self, destination: &Destination, files: &Files) -> bool {
        let begins = |path: &PathBuf| *path == self.to && files.len() >= self.written.len();
        matches!(destination, Destination::File(path) if begins(path))
            && self.written.iter().zip(files).all(|(written, (path, _))| written == path)
    }

    /// Writes the rest of the files.
    pub(crate) fn finish(mut self, store: &Store, files: Files, stop: &AtomicBool) -> Result<Replaced, ExportError> {
        let mut stream = Stream::to_file(&mut self.file.file, stop);
        let mut archive = Archive::new(&mut stream, self.directories);
        for (path, content) in files.into_iter().skip(self.written.len()) {
            archive.add(store, &path, content)?;
        }
        archive.finish()?;
        stream.flush().map_err(ExportError::write(&self.to))?;
        drop(stream);
        self.file.finish().map_err(ExportError::write(&self.to))
    }
}
