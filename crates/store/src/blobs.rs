//! `blobs/sha256/HEX`: bytes by digest.
//!
//! A blob is there when it has a row; its file is in place before. A process claims each blob that it asks for by adding its digest to
//! `tmp/PID-NONCE.lock` before it looks at the row, both under a shared lock on `locks/blobs`; `prune` holds that lock exclusively
//! from the moment it reads the claims until the files are out of the way. A read thereby protects a blob without writing to the
//! database, and for as long as the process lives.

use crate::db::{Failure, now, number, unsigned};
use crate::error::{Error, Result};
use crate::open::{Inner, Store, store_lock};
use crate::process::nonce;
use crate::records::FRESH;
use kiln_digest::{Digest, DigestWriter};
use rusqlite::{Connection, OptionalExtension};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A compressed form of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its OCI media type.
    pub media_type: String,
}

/// Why a blob cannot be read or committed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not those that were announced.
    #[error("expected `{expected}`, but {size} bytes of `{actual}` arrived")]
    Mismatch {
        /// The digest announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
        /// How many bytes came.
        size: u64,
    },
    /// It is not in the store.
    #[error("blob `{0}` is not in the store")]
    Missing(Digest),
    /// The file is not what was committed.
    #[error("blob `{}` has {found} bytes instead of {expected}\nhint: remove that file; it will be fetched or made again", path.display())]
    Damaged {
        /// The blob's file.
        path: PathBuf,
        /// Its size when it was committed.
        expected: u64,
        /// Its size now.
        found: u64,
    },
    /// The disk or the database.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The variant of [`Store::layer_blob`] that a layer was pulled as.
pub const AS_PULLED: &str = "as pulled";

impl Store {
    /// Where a blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.blob_path(digest)
    }

    /// Whether a blob is in the store. If so, it stays until this process ends.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let Some(size) = self.0.claim_blob(digest)? else { return Ok(false) };
        // A file that somebody removed by hand, or cut short, is one to make again.
        Ok(fs::metadata(self.blob_path(digest)).is_ok_and(|file| file.len() == size))
    }

    /// Opens a blob to read, and gives its size in bytes. It stays in the store until this process ends.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`].
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), BlobError> {
        let size = self.0.claim_blob(digest)?.ok_or(BlobError::Missing(*digest))?;
        let path = self.blob_path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BlobError::Missing(*digest)),
            Err(error) => return Err(Error::io("open", &path, error).into()),
        };
        let found = file.metadata().map_err(|error| Error::io("open", &path, error))?.len();
        if found != size {
            return Err(BlobError::Damaged { path, expected: size, found });
        }
        Ok((file, size))
    }

    /// Puts bytes into the store, unless they are there.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of_bytes(bytes);
        if self.has_blob(&digest)? {
            return Ok(digest);
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(|error| Error::io("write", &writer.path, error))?;
        writer.finish(None).map(|(digest, _)| digest)
    }

    /// Starts a blob whose digest is made while it is written.
    ///
    /// # Errors
    /// When its file cannot be created.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        let path = self.0.process.fresh_path()?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        let file = file.map_err(|error| Error::io("create", &path, error))?;
        let writer = DigestWriter::new(BufWriter::with_capacity(64 * 1024, file));
        Ok(BlobWriter { store: self.clone(), writer: Some(writer), path })
    }

    /// A compressed form of the layer with that diff id, if one is in the store; then it stays until this process ends. `variant` names
    /// the compression and whatever decides its bytes (`gzip`, `zstd:3`).
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn layer_blob(&self, diff_id: &Digest, variant: &str) -> Result<Option<BlobInfo>> {
        let found: Option<([u8; 32], String)> = self.0.db().read(|sql| {
            let mut select =
                sql.prepare_cached("SELECT blob, media_type FROM layer_blobs WHERE diff_id = ? AND variant = ?")?;
            select.query_row((diff_id.as_bytes(), variant), |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        let Some((digest, media_type)) = found else { return Ok(None) };
        let digest = Digest::from_bytes(digest);
        if !self.has_blob(&digest)? {
            return Ok(None);
        }
        let size = self.0.claim_blob(&digest)?;
        Ok(size.map(|size| BlobInfo { digest, size, media_type }))
    }

    /// The blob that the layer with that diff id was pulled as, by the database alone: nobody looks whether its file is there.
    ///
    /// # Errors
    /// The database's.
    pub fn pulled_as(&self, diff_id: &Digest) -> Result<Option<Digest>> {
        let found: Option<[u8; 32]> = self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT blob FROM layer_blobs WHERE diff_id = ? AND variant = ?")?;
            select.query_row((diff_id.as_bytes(), AS_PULLED), |row| row.get(0)).optional()
        })?;
        Ok(found.map(Digest::from_bytes))
    }

    /// Says that a blob is the compressed form `variant` of the layer with that diff id.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when the blob is not in the store.
    pub fn put_layer_blob(&self, diff_id: &Digest, variant: &str, blob: &BlobInfo) -> Result<(), BlobError> {
        if self.0.claim_blob(&blob.digest)?.is_none() {
            return Err(BlobError::Missing(blob.digest));
        }
        Ok(self.0.db().write(|sql| -> Result<(), Failure> {
            let mut insert = sql.prepare_cached(
                "INSERT INTO layer_blobs (diff_id, variant, blob, media_type) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (diff_id, variant) DO UPDATE SET blob = ?3, media_type = ?4",
            )?;
            insert.execute((diff_id.as_bytes(), variant, blob.digest.as_bytes(), &blob.media_type))?;
            Ok(())
        })?)
    }
}

/// A blob that is being written. Dropped before [`BlobWriter::commit`], it leaves nothing behind.
pub struct BlobWriter {
    store: Store,
    // Taken by `commit`.
    writer: Option<DigestWriter<BufWriter<File>>>,
    path: PathBuf,
}

impl BlobWriter {
    /// Puts what was written into the store, and gives its digest and its size in bytes.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when `expected` is another digest; then nothing is put.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), BlobError> {
        let mut mismatch = None;
        let committed = self.finish(Some(&mut |actual, size| match expected {
            Some(&expected) if expected != actual => {
                mismatch = Some(BlobError::Mismatch { expected, actual, size });
                false
            }
            _ => true,
        }));
        match mismatch {
            Some(mismatch) => Err(mismatch),
            None => Ok(committed?),
        }
    }

    /// Commits, unless `accept` says no to the digest and size.
    fn finish(&mut self, accept: Option<&mut dyn FnMut(Digest, u64) -> bool>) -> Result<(Digest, u64)> {
        let failed = |error| Error::io("write", &self.path, error);
        let Some(writer) = self.writer.take() else {
            return Err(failed(io::Error::from(io::ErrorKind::BrokenPipe)));
        };
        let (file, digest, size) = writer.finish();
        file.into_inner().map_err(|error| failed(error.into_error()))?;
        if accept.is_none_or(|accept| accept(digest, size)) {
            self.store.0.commit_blob(&self.path, digest, size)?;
        }
        Ok((digest, size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Some(writer) = &mut self.writer else { return Err(io::ErrorKind::BrokenPipe.into()) };
        writer.write(buffer).map_err(|error| io::Error::new(error.kind(), Error::io("write", &self.path, error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        drop(self.writer.take());
        // Committed, it is no longer there.
        let _ = fs::remove_file(&self.path);
    }
}

impl Inner {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Keeps a blob for as long as this process lives, and gives its size if it is in the store.
    pub(crate) fn claim_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let _unpruned = self.note_claim(digest)?;
        let mut db = self.db();
        let row: Option<(i64, i64)> = db.read(|sql| {
            let mut select = sql.prepare_cached("SELECT size, used FROM blobs WHERE digest = ?")?;
            select.query_row([digest.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        Ok(row.map(|(size, used)| {
            if used < now() - FRESH && !db.stale.blobs.contains(digest) {
                db.stale.blobs.push(*digest);
            }
            unsigned(size)
        }))
    }

    /// Writes a claim down. While the result lives, no blob is being pruned.
    fn note_claim(&self, digest: &Digest) -> Result<Option<File>> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.contains(digest) {
            return Ok(None);
        }
        let guard = store_lock(&self.root, "blobs")?.shared()?;
        self.process.note_claim(digest)?;
        claims.insert(*digest);
        Ok(Some(guard))
    }

    /// Moves a whole file into place and inserts its row.
    fn commit_blob(&self, file: &Path, digest: Digest, size: u64) -> Result<()> {
        let _unpruned = self.note_claim(&digest)?;
        let to = self.blob_path(&digest);
        self.db().write(|sql| {
            let mut select = sql.prepare_cached("SELECT 1 FROM blobs WHERE digest = ? AND size = ?")?;
            let known = select.query_row((digest.as_bytes(), number(size)), |_| Ok(())).optional()?.is_some();
            if known && fs::metadata(&to).is_ok_and(|file| file.len() == size) {
                return Ok(());
            }
            fs::rename(file, &to).map_err(|error| Error::io("create", &to, error))?;
            let mut insert = sql.prepare_cached(
                "INSERT INTO blobs (digest, size, created, used, boot, writing) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
                 ON CONFLICT (digest) DO UPDATE SET size = ?2, created = ?3, used = ?3, boot = ?4, writing = ?5",
            )?;
            let writing = nonce().cast_signed();
            insert.execute((digest.as_bytes(), number(size), now(), self.boot.as_str(), writing))?;
            Ok(())
        })
    }
}

/// Whether a blob has a row.
pub(crate) fn exists(sql: &Connection, digest: &Digest) -> rusqlite::Result<bool> {
    let mut select = sql.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?")?;
    Ok(select.query_row([digest.as_bytes()], |_| Ok(())).optional()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::new_store;
    use std::io::Read;

    fn read(store: &Store, digest: &Digest) -> Vec<u8> {
        let (mut file, size) = store.open_blob(digest).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, size);
        bytes
    }

    #[test]
    fn bytes_come_back() {
        let (_root, store) = new_store();
        let digest = store.put_blob(b"bytes").unwrap();
        assert_eq!(read(&store, &digest), b"bytes");
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(&[7; 100_000]).unwrap();
        writer.write_all(b"end").unwrap();
        let (digest, size) = writer.commit(None).unwrap();
        assert_eq!(size, 100_003);
        assert_eq!(Digest::of_bytes(&read(&store, &digest)), digest);
        let missing = Digest::of_bytes(b"missing");
        assert!(!store.has_blob(&missing).unwrap());
        assert!(matches!(store.open_blob(&missing), Err(BlobError::Missing(digest)) if digest == missing));
    }

    #[test]
    fn a_wrong_digest_is_refused_and_leaves_nothing() {
        let (_root, store) = new_store();
        let expected = Digest::of_bytes(b"expected");
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"actual").unwrap();
        let error = writer.commit(Some(&expected)).unwrap_err();
        let actual = Digest::of_bytes(b"actual");
        assert_eq!(error.to_string(), format!("expected `{expected}`, but 6 bytes of `{actual}` arrived"));
        drop(store.blob_writer().unwrap());
        assert!(!store.has_blob(&actual).unwrap());
        assert!(!store.blob_path(&actual).exists());
        let directory = store.0.process.fresh_path().unwrap();
        assert_eq!(fs::read_dir(directory.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_blob_is_noticed_and_healed() {
        let (_root, store) = new_store();
        let digest = store.put_blob(b"bytes").unwrap();
        fs::write(store.blob_path(&digest), b"byt").unwrap();
        assert!(matches!(store.open_blob(&digest), Err(BlobError::Damaged { expected: 5, found: 3, .. })));
        assert!(!store.has_blob(&digest).unwrap());
        assert_eq!(store.put_blob(b"bytes").unwrap(), digest);
        assert_eq!(read(&store, &digest), b"bytes");
    }

    #[test]
    fn compressed_forms_are_found_by_diff_id_and_variant() {
        let (_root, store) = new_store();
        let diff_id = Digest::of_bytes(b"tar");
        let info = BlobInfo { digest: Digest::of_bytes(b"gz"), size: 2, media_type: "m".into() };
        assert!(matches!(store.put_layer_blob(&diff_id, "gzip", &info), Err(BlobError::Missing(_))));
        store.put_blob(b"gz").unwrap();
        store.put_layer_blob(&diff_id, "gzip", &info).unwrap();
        assert_eq!(store.layer_blob(&diff_id, "gzip").unwrap(), Some(info.clone()));
        assert_eq!(store.layer_blob(&diff_id, "zstd:3").unwrap(), None);
        fs::remove_file(store.blob_path(&info.digest)).unwrap();
        assert_eq!(store.layer_blob(&diff_id, "gzip").unwrap(), None);
    }
}
