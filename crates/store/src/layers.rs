//! `layers/ID/fs`: filesystem changes as overlay lower directories, which never change once they are here.
//!
//! A layer that a step made is known by its content: a step that runs again and makes the same change gets the layer it had. A pulled
//! layer is known by the chain it tops, because times are part of its diff id but not of its content.
//!
//! A chain (OCI image-spec, config.md, Layer ChainID) leads to the layer on top of it; the layers below are those of the chains below.

use crate::db::{Failure, millis, now, number, time, unsigned};
use crate::error::{Error, Result};
use crate::ids::LayerId;
use crate::leases::{self, LeaseError};
use crate::open::{Inner, Store};
use crate::process::make_dir;
use kiln_digest::{ContentDigest, Digest};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name in this store.
    pub id: LayerId,
    /// Digest of the filesystem change, times left out.
    pub content: ContentDigest,
    /// Bytes of its files.
    pub size: u64,
    /// How many files, directories and deletions it has.
    pub entries: u64,
    /// Digest of the layer as an uncompressed tar, once that is known.
    pub diff_id: Option<Digest>,
    /// Size of that tar in bytes.
    pub diff_size: Option<u64>,
    /// When it was committed.
    pub created: SystemTime,
}

/// What is known of a layer that is about to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLayer {
    /// Digest of the filesystem change, times left out.
    pub content: ContentDigest,
    /// Bytes of its files.
    pub size: u64,
    /// How many files, directories and deletions it has.
    pub entries: u64,
}

/// Why something cannot be said of a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It was pruned.
    #[error("layer `{0}` is no longer in the store")]
    Missing(LayerId),
    /// The disk or the database.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<LeaseError> for LayerError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Missing(layer) => Self::Missing(layer),
            LeaseError::Store(error) => Self::Store(error),
        }
    }
}

/// Where a new layer comes from, which decides what counts as the same one.
enum Origin<'a> {
    Built,
    Imported(&'a ImportedLayer),
    Pulled { chain: &'a Digest, diff_id: Digest, diff_size: u64 },
}

/// What else is known of a layer that a step of another machine made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedLayer {
    /// Digest of the layer as an uncompressed tar.
    pub diff_id: Digest,
    /// Size of that tar in bytes.
    pub diff_size: u64,
    /// When the step made it, which images tell.
    pub created: SystemTime,
}

impl Store {
    /// The overlay lower directory of a layer. Nothing below may be changed.
    pub fn layer_path(&self, id: LayerId) -> PathBuf {
        self.0.layer_dir(id).join("fs")
    }

    /// Commits a directory (below one of [`Store::temp_dir`]) as the layer that a step made. When there is a layer of the same content
    /// already, the directory is dropped, and that layer is the result. Either way it is leased until the process ends.
    ///
    /// # Errors
    /// When the directory cannot be moved or the row not be written; then the directory is where it was.
    pub fn commit_layer(&self, fs: &Path, new: NewLayer) -> Result<Layer> {
        self.commit(fs, new, &Origin::Built)
    }

    /// Commits a directory as the layer that a step of another machine made; otherwise as [`Store::commit_layer`].
    ///
    /// # Errors
    /// As [`Store::commit_layer`].
    pub fn commit_imported_layer(&self, fs: &Path, new: NewLayer, imported: &ImportedLayer) -> Result<Layer> {
        self.commit(fs, new, &Origin::Imported(imported))
    }

    /// Commits a directory as the pulled layer that tops `chain_id`; `diff_id` and `diff_size` are those of its uncompressed tar. When
    /// another process was first, the directory is dropped, and that one's layer is the result. Leased as by [`Store::commit_layer`].
    ///
    /// # Errors
    /// As [`Store::commit_layer`].
    pub fn commit_layer_for_chain(
        &self,
        fs: &Path,
        new: NewLayer,
        chain_id: &Digest,
        diff_id: Digest,
        diff_size: u64,
    ) -> Result<Layer> {
        self.commit(fs, new, &Origin::Pulled { chain: chain_id, diff_id, diff_size })
    }

    fn commit(&self, fs: &Path, new: NewLayer, origin: &Origin<'_>) -> Result<Layer> {
        let inner = &*self.0;
        let mut db = inner.db();
        // Where the directory went, should the transaction fail afterwards.
        let mut moved = None;
        let committed = db.write(|sql| {
            let existing = find(sql, new.content, origin)?;
            let layer = match &existing {
                Some(layer) => layer.id,
                None => insert(inner, sql, fs, new, origin, &mut moved)?,
            };
            if let Origin::Pulled { chain, .. } = origin {
                insert_chain(sql, chain, layer)?;
            }
            leases::insert(sql, inner.process.name(), layer)?;
            let layer = match existing {
                Some(layer) => layer,
                None => select(sql, layer)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?,
            };
            Ok(layer)
        });
        match committed {
            Ok(layer) => {
                db.leases.hold(layer.id);
                drop(db);
                if moved.is_none() {
                    inner.drop_duplicate(fs)?;
                }
                Ok(layer)
            }
            Err(error) => {
                if let Some(directory) = moved {
                    // Should this fail too, the directory has no row, and `prune` sweeps it.
                    let _ = fs::rename(directory.join("fs"), fs);
                    let _ = fs::remove_dir(directory);
                }
                Err(error)
            }
        }
    }

    /// A layer, if it is in the store.
    ///
    /// # Errors
    /// The database's.
    pub fn layer(&self, id: LayerId) -> Result<Option<Layer>> {
        self.0.db().read(|sql| select(sql, id))
    }

    /// The layer that a step made of this content, if it is in the store.
    ///
    /// # Errors
    /// The database's.
    pub fn layer_of_content(&self, content: ContentDigest) -> Result<Option<LayerId>> {
        self.0.db().read(|sql| built(sql, content))
    }

    /// Several layers, in the order given.
    ///
    /// # Errors
    /// [`LayerError::Missing`] with the first that is not in the store.
    pub fn layers(&self, ids: &[LayerId]) -> Result<Vec<Layer>, LayerError> {
        let db = self.0.db();
        let found = ids.iter().map(|&id| db.read(|sql| select(sql, id))?.ok_or(LayerError::Missing(id)));
        found.collect()
    }

    /// Keeps the digest and the size of a layer's uncompressed tar. What is there already stays.
    ///
    /// # Errors
    /// [`LayerError::Missing`] when the layer is not in the store.
    pub fn set_diff_id(&self, id: LayerId, diff_id: Digest, diff_size: u64) -> Result<(), LayerError> {
        match self.layer(id)? {
            Some(Layer { diff_id: Some(_), .. }) => return Ok(()),
            Some(_) => {}
            None => return Err(LayerError::Missing(id)),
        }
        let changed = self.0.db().write(|sql| {
            let mut update = sql.prepare_cached(
                "UPDATE layers SET diff_id = coalesce(diff_id, ?2), diff_size = coalesce(diff_size, ?3) WHERE id = ?1",
            )?;
            Ok(update.execute((id, diff_id.as_bytes(), number(diff_size)))?)
        })?;
        if changed == 0 { Err(LayerError::Missing(id)) } else { Ok(()) }
    }

    /// The layer on top of a chain, if this store has it.
    ///
    /// # Errors
    /// The database's.
    pub fn chain(&self, chain_id: &Digest) -> Result<Option<LayerId>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached("SELECT layer FROM chains WHERE chain = ?")?;
            select.query_row([chain_id.as_bytes()], |row| row.get(0)).optional()
        })
    }

    /// Says that a chain is topped by a layer. A chain that has a layer keeps it.
    ///
    /// # Errors
    /// [`LayerError::Missing`] when the layer is not in the store.
    pub fn put_chain(&self, chain_id: &Digest, layer: LayerId) -> Result<(), LayerError> {
        if self.chain(chain_id)?.is_some() {
            return Ok(());
        }
        let known = self.0.db().write(|sql| {
            let known = leases::exists(sql, layer)?;
            if known {
                insert_chain(sql, chain_id, layer)?;
            }
            Ok(known)
        })?;
        if known { Ok(()) } else { Err(LayerError::Missing(layer)) }
    }
}

impl Inner {
    /// The directory of a layer, which holds `fs`.
    pub(crate) fn layer_dir(&self, id: LayerId) -> PathBuf {
        self.root.join("layers").join(id.to_string())
    }

    /// Deletes a directory that turned out to be a layer's duplicate, without making the build wait for it.
    fn drop_duplicate(&self, fs: &Path) -> Result<()> {
        self.process.remove_later([self.process.discard(fs)?]);
        Ok(())
    }
}

/// The layer that stands for a new one already.
fn find(sql: &Transaction<'_>, content: ContentDigest, origin: &Origin<'_>) -> rusqlite::Result<Option<Layer>> {
    let id = match origin {
        Origin::Built | Origin::Imported(_) => built(sql, content)?,
        Origin::Pulled { chain, .. } => {
            let mut select = sql.prepare_cached("SELECT layer FROM chains WHERE chain = ?")?;
            select.query_row([chain.as_bytes()], |row| row.get(0)).optional()?
        }
    };
    id.map_or(Ok(None), |id| select(sql, id))
}

fn built(sql: &Connection, content: ContentDigest) -> rusqlite::Result<Option<LayerId>> {
    let mut select = sql.prepare_cached("SELECT id FROM layers WHERE content = ? AND pulled = 0")?;
    select.query_row([content.as_bytes()], |row| row.get(0)).optional()
}

/// Moves a directory into place and inserts its row.
fn insert(
    inner: &Inner,
    sql: &Transaction<'_>,
    fs: &Path,
    new: NewLayer,
    origin: &Origin<'_>,
    moved: &mut Option<PathBuf>,
) -> Result<LayerId, Failure> {
    let pulled = matches!(origin, Origin::Pulled { .. });
    let (diff_id, diff_size) = match origin {
        Origin::Built => (None, None),
        Origin::Pulled { diff_id, diff_size, .. } | Origin::Imported(ImportedLayer { diff_id, diff_size, .. }) => {
            (Some(*diff_id.as_bytes()), Some(number(*diff_size)))
        }
    };
    let created = match origin {
        Origin::Imported(imported) => millis(imported.created),
        Origin::Built | Origin::Pulled { .. } => now(),
    };
    let id = LayerId::random();
    let directory = inner.layer_dir(id);
    make_dir(&directory)?;
    if let Err(error) = fs::rename(fs, directory.join("fs")) {
        let _ = fs::remove_dir(&directory);
        return Err(Error::io("commit", fs, error).into());
    }
    *moved = Some(directory);
    let mut insert = sql.prepare_cached(
        "INSERT INTO layers (id, content, pulled, size, entries, diff_id, diff_size, created, used, boot)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    insert.execute((
        id,
        new.content.as_bytes(),
        pulled,
        number(new.size),
        number(new.entries),
        diff_id,
        diff_size,
        created,
        now(),
        inner.boot.as_str(),
    ))?;
    Ok(id)
}

fn insert_chain(sql: &Transaction<'_>, chain: &Digest, layer: LayerId) -> rusqlite::Result<()> {
    let mut insert = sql.prepare_cached("INSERT OR IGNORE INTO chains (chain, layer) VALUES (?, ?)")?;
    insert.execute((chain.as_bytes(), layer)).map(drop)
}

fn select(sql: &Connection, id: LayerId) -> rusqlite::Result<Option<Layer>> {
    let mut select =
        sql.prepare_cached("SELECT content, size, entries, diff_id, diff_size, created FROM layers WHERE id = ?")?;
    let layer = |row: &Row<'_>| {
        Ok(Layer {
            id,
            content: ContentDigest::from_bytes(row.get(0)?),
            size: unsigned(row.get(1)?),
            entries: unsigned(row.get(2)?),
            diff_id: row.get::<_, Option<[u8; 32]>>(3)?.map(Digest::from_bytes),
            diff_size: row.get::<_, Option<i64>>(4)?.map(unsigned),
            created: time(row.get(5)?),
        })
    };
    select.query_row([id], layer).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{commit, commit_pulled, entries, new_store};

    #[test]
    fn the_same_content_is_one_layer() {
        let (root, store) = new_store();
        let first = commit(&store, "text");
        let again = commit(&store, "text");
        assert_eq!(first, again);
        assert_ne!(commit(&store, "other").id, first.id);
        let pulled = commit_pulled(&store, "text");
        assert_ne!(pulled.id, first.id, "times may differ");
        assert_eq!(commit_pulled(&store, "text"), pulled);
        assert_eq!(fs::read_to_string(store.layer_path(first.id).join("file")).unwrap(), "text");
        assert_eq!(entries(&store, "layers"), 3);
        drop(store);
        let store = Store::open(root.path()).unwrap();
        assert_eq!(store.layers(&[pulled.id, first.id]).unwrap(), [pulled, first]);
    }

    #[test]
    fn an_imported_layer_is_as_old_as_its_step_and_one_with_what_is_built_here() {
        let (_root, store) = new_store();
        let import = |text: &str| {
            let directory = store.temp_dir().unwrap();
            let fs = directory.path().join("fs");
            fs::create_dir(&fs).unwrap();
            let new = NewLayer { content: ContentDigest::of_bytes(text.as_bytes()), size: 0, entries: 0 };
            let (diff_id, created) = (Digest::of_bytes(text.as_bytes()), SystemTime::UNIX_EPOCH);
            store.commit_imported_layer(&fs, new, &ImportedLayer { diff_id, diff_size: 7, created }).unwrap()
        };
        let new = import("new");
        assert_eq!((new.created, new.diff_id), (SystemTime::UNIX_EPOCH, Some(Digest::of_bytes(b"new"))));
        assert_eq!(store.layer_of_content(new.content).unwrap(), Some(new.id));
        let built = commit(&store, "known");
        assert_eq!(import("known"), built);
        let pulled = commit_pulled(&store, "pulled");
        assert_eq!(store.layer_of_content(pulled.content).unwrap(), None);
    }

    #[test]
    fn diff_ids_and_chains_are_kept() {
        let (_root, store) = new_store();
        let layer = commit(&store, "layer");
        let diff_id = Digest::of_bytes(b"diff");
        store.set_diff_id(layer.id, diff_id, 2048).unwrap();
        store.set_diff_id(layer.id, Digest::of_bytes(b"late"), 1).unwrap();
        let layer = store.layer(layer.id).unwrap().unwrap();
        assert_eq!((layer.diff_id, layer.diff_size), (Some(diff_id), Some(2048)));
        let chain = Digest::of_bytes(b"chain");
        assert_eq!(store.chain(&chain).unwrap(), None);
        store.put_chain(&chain, layer.id).unwrap();
        store.put_chain(&chain, commit(&store, "other").id).unwrap();
        assert_eq!(store.chain(&chain).unwrap(), Some(layer.id));
        let gone = LayerId::random();
        assert!(matches!(store.put_chain(&diff_id, gone), Err(LayerError::Missing(id)) if id == gone));
        assert!(matches!(store.set_diff_id(gone, diff_id, 1), Err(LayerError::Missing(_))));
        assert!(matches!(store.layers(&[layer.id, gone]), Err(LayerError::Missing(_))));
    }

    #[test]
    fn a_failed_commit_leaves_everything_where_it_was() {
        let (_root, store) = new_store();
        let directory = store.temp_dir().unwrap();
        let fs = directory.path().join("fs");
        let new = NewLayer { content: ContentDigest::of_bytes(b""), size: 0, entries: 0 };
        assert!(matches!(store.commit_layer(&fs, new), Err(Error::Io { path, .. }) if path == fs));
        assert_eq!(entries(&store, "layers"), 0);
        // The row cannot be written: the directory goes back.
        fs::create_dir(&fs).unwrap();
        store.0.db().connection.execute_batch("DROP TABLE leases").unwrap();
        assert!(matches!(store.commit_layer(&fs, new), Err(Error::Database { .. })));
        assert!(fs.exists());
        assert_eq!(entries(&store, "layers"), 0);
    }
}
