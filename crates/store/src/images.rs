//! Images: names that keep content alive. An image that was built stays until it is removed; one that was pulled is a copy of what a
//! registry has, and `prune --all` may drop it.

use crate::db::{Failure, millis, now, number, time, unsigned};
use crate::error::{Error, Result};
use crate::ids::LayerId;
use crate::leases;
use crate::open::Store;
use crate::records::FRESH;
use kiln_digest::Digest;
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use std::time::SystemTime;

/// A named image of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The canonical reference (`docker.io/library/debian:trixie`).
    pub name: String,
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// The image's id: the blob that is its config.
    pub config: Digest,
    /// The blob that is its manifest, once it has one.
    pub manifest: Option<Digest>,
    /// The blob that is the index of all platforms of the name, if it was built with one.
    pub index: Option<Digest>,
    /// When it was built or pulled, to the millisecond.
    pub created: SystemTime,
    /// Bytes of all its layers.
    pub size: u64,
    /// Whether it came from a registry.
    pub pulled: bool,
    /// Its layers in this store, lowest first. Those of a pulled image may not be here yet.
    pub layers: Vec<LayerId>,
    /// Further blobs to keep while they are in the store: compressed layers, the index that it was chosen from.
    pub blobs: Vec<Digest>,
}

impl Image {
    /// The id, or else the index, if it starts with these digits.
    pub fn id_starting_with(&self, digits: &str) -> Option<Digest> {
        [Some(self.config), self.index].into_iter().flatten().find(|id| id.hex().starts_with(digits))
    }
}

/// Why an image cannot be put or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image has that name, or an id that starts so.
    #[error("there is no image `{0}`\nhint: `kiln images` lists what there is")]
    NotFound(String),
    /// Several images have ids that start so.
    #[error("`{prefix}` is the start of {} image ids: {}\nhint: give more digits", ids.len(), list(ids))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The ids it may mean.
        ids: Vec<Digest>,
    },
    /// Its config or manifest is not in the store.
    #[error("blob `{0}` is not in the store")]
    MissingBlob(Digest),
    /// One of its layers was pruned.
    #[error("layer `{0}` is no longer in the store")]
    MissingLayer(LayerId),
    /// The disk or the database.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Store {
    /// The image of that name and platform, if there is one. Its config and manifest stay until this process ends.
    ///
    /// # Errors
    /// The disk's and the database's.
    pub fn image(&self, name: &str, platform: &str) -> Result<Option<Image>> {
        let mut db = self.0.db();
        let found = db.read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT id, used, name, platform, config, manifest, created, size, pulled, image_index FROM images
                 WHERE name = ? AND platform = ?",
            )?;
            let row = select.query_row((name, platform), Found::from_row).optional()?;
            row.map(|found| found.complete(sql)).transpose()
        })?;
        let Some(found) = found else { return Ok(None) };
        if found.used < now() - FRESH {
            db.stale.images.push(found.id);
        }
        drop(db);
        for digest in [Some(found.image.config), found.image.manifest].into_iter().flatten() {
            // Pruned this very moment, together with the image.
            if self.0.claim_blob(&digest)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(found.image))
    }

    /// The images of a name, by platform.
    ///
    /// # Errors
    /// The database's.
    pub fn images_named(&self, name: &str) -> Result<Vec<Image>> {
        self.0.db().read(|sql| {
            let mut select = sql.prepare_cached(
                "SELECT id, used, name, platform, config, manifest, created, size, pulled, image_index FROM images
                 WHERE name = ? ORDER BY platform",
            )?;
            let found = select.query_map([name], Found::from_row)?.collect::<Result<Vec<_>, _>>()?;
            found.into_iter().map(|found| found.complete(sql).map(|found| found.image)).collect()
        })
    }

    /// All images, by name.
    ///
    /// # Errors
    /// The database's.
    pub fn images(&self) -> Result<Vec<Image>> {
        let found = self.0.db().read(all)?;
        Ok(found.into_iter().map(|found| found.image).collect())
    }

    /// Names an image of one platform; whatever had that name and platform loses it. Nothing is written when it is the same image
    /// already, created when it may have been.
    ///
    /// # Errors
    /// [`ImageError::MissingBlob`] and [`ImageError::MissingLayer`] when what it needs is not in the store.
    pub fn put_image(&self, image: &Image) -> Result<(), ImageError> {
        if self.is_there(image)? {
            return Ok(());
        }
        self.insert(std::slice::from_ref(image), |sql| {
            sql.prepare_cached("DELETE FROM images WHERE name = ? AND platform = ?")?
                .execute((&image.name, &image.platform))
        })
    }

    /// Names an image of one or several platforms, given one by one; whatever had that name loses it on every platform. Nothing is
    /// written when all is there already.
    ///
    /// # Errors
    /// As for [`put_image`](Self::put_image).
    pub fn put_image_of_platforms(&self, name: &str, images: &[Image]) -> Result<(), ImageError> {
        let mut there = self.0.db().read(|sql| {
            let mut count = sql.prepare_cached("SELECT count(*) FROM images WHERE name = ?")?;
            count.query_row([name], |row| row.get(0).map(unsigned))
        })? == images.len() as u64;
        for image in images {
            there &= self.is_there(image)?;
        }
        if there {
            return Ok(());
        }
        self.insert(images, |sql| sql.prepare_cached("DELETE FROM images WHERE name = ?")?.execute([name]))
    }

    /// Whether this very image has its name. Makes sure that its blobs are there and stay.
    fn is_there(&self, image: &Image) -> Result<bool, ImageError> {
        for digest in [Some(image.config), image.manifest].into_iter().flatten() {
            if self.0.claim_blob(&digest)?.is_none() {
                return Err(ImageError::MissingBlob(digest));
            }
        }
        let before = self.image(&image.name, &image.platform)?;
        Ok(before.is_some_and(|before| Image { created: image.created, ..before } == *image))
    }

    /// Inserts images after making room for them.
    fn insert(
        &self,
        images: &[Image],
        make_room: impl Fn(&Transaction<'_>) -> rusqlite::Result<usize>,
    ) -> Result<(), ImageError> {
        let missing = self.0.db().write(|sql| {
            for &layer in images.iter().flat_map(|image| &image.layers) {
                if !leases::exists(sql, layer)? {
                    return Ok(Some(layer));
                }
            }
            make_room(sql)?;
            images.iter().try_for_each(|image| insert(sql, image))?;
            Ok(None)
        })?;
        missing.map_or(Ok(()), |layer| Err(ImageError::MissingLayer(layer)))
    }

    /// Removes the images of a name (of every platform), or those whose id, or whose index, starts with the digits given (with or
    /// without `sha256:`, under all their names), and says which they were. What only they needed goes with the next `prune`.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`]; then none is removed.
    pub fn remove_image(&self, name_or_id: &str) -> Result<Vec<Image>, ImageError> {
        let outcome = self.0.db().write(|sql| {
            let chosen = match choose(all(sql)?, name_or_id) {
                Ok(chosen) => chosen,
                Err(error) => return Ok(Err(error)),
            };
            let mut delete = sql.prepare_cached("DELETE FROM images WHERE id = ?")?;
            for found in &chosen {
                delete.execute([found.id])?;
            }
            Ok(Ok(chosen.into_iter().map(|found| found.image).collect()))
        });
        outcome?
    }
}

fn choose(images: Vec<Found>, name_or_id: &str) -> Result<Vec<Found>, ImageError> {
    let (named, others): (Vec<_>, Vec<_>) = images.into_iter().partition(|found| found.image.name == name_or_id);
    if !named.is_empty() {
        return Ok(named);
    }
    let digits = name_or_id.strip_prefix("sha256:").unwrap_or(name_or_id);
    let not_found = || ImageError::NotFound(name_or_id.to_owned());
    if digits.is_empty() {
        return Err(not_found());
    }
    let (chosen, mut ids): (Vec<Found>, Vec<Digest>) =
        others.into_iter().filter_map(|found| found.image.id_starting_with(digits).map(|id| (found, id))).unzip();
    ids.sort_unstable();
    ids.dedup();
    match ids.len() {
        0 => Err(not_found()),
        1 => Ok(chosen),
        _ => Err(ImageError::Ambiguous { prefix: name_or_id.to_owned(), ids }),
    }
}

fn list(ids: &[Digest]) -> String {
    ids.iter().take(5).map(|id| format!("`{}`", id.short())).collect::<Vec<_>>().join(", ")
}

/// An image with what only the database needs.
pub(crate) struct Found {
    pub(crate) id: i64,
    pub(crate) used: i64,
    pub(crate) image: Image,
}

/// All images, by name.
pub(crate) fn all(sql: &Connection) -> rusqlite::Result<Vec<Found>> {
    let mut select = sql.prepare_cached(
        "SELECT id, used, name, platform, config, manifest, created, size, pulled, image_index FROM images
         ORDER BY name, platform",
    )?;
    let found = select.query_map([], Found::from_row)?.collect::<Result<Vec<_>, _>>()?;
    found.into_iter().map(|found| found.complete(sql)).collect()
}

impl Found {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let image = Image {
            name: row.get(2)?,
            platform: row.get(3)?,
            config: Digest::from_bytes(row.get(4)?),
            manifest: row.get::<_, Option<[u8; 32]>>(5)?.map(Digest::from_bytes),
            created: time(row.get(6)?),
            size: unsigned(row.get(7)?),
            pulled: row.get(8)?,
            index: row.get::<_, Option<[u8; 32]>>(9)?.map(Digest::from_bytes),
            layers: Vec::new(),
            blobs: Vec::new(),
        };
        Ok(Self { id: row.get(0)?, used: row.get(1)?, image })
    }

    /// Adds the layers and blobs.
    fn complete(mut self, sql: &Connection) -> rusqlite::Result<Self> {
        let mut select = sql.prepare_cached("SELECT layer FROM image_layers WHERE image = ? ORDER BY position")?;
        self.image.layers = select.query_map([self.id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut select = sql.prepare_cached("SELECT blob FROM image_blobs WHERE image = ? ORDER BY position")?;
        let blobs = select.query_map([self.id], |row| row.get(0).map(Digest::from_bytes))?;
        self.image.blobs = blobs.collect::<Result<_, _>>()?;
        Ok(self)
    }
}

fn insert(sql: &Transaction<'_>, image: &Image) -> Result<(), Failure> {
    let mut insert = sql.prepare_cached(
        "INSERT INTO images (name, platform, config, manifest, created, size, pulled, used, image_index)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let id = insert.insert((
        &image.name,
        &image.platform,
        image.config.as_bytes(),
        image.manifest.as_ref().map(Digest::as_bytes),
        millis(image.created),
        number(image.size),
        image.pulled,
        now(),
        image.index.as_ref().map(Digest::as_bytes),
    ))?;
    let mut insert = sql.prepare_cached("INSERT INTO image_layers (image, position, layer) VALUES (?, ?, ?)")?;
    for (position, layer) in (0_i64..).zip(&image.layers) {
        insert.execute((id, position, layer))?;
    }
    let mut insert = sql.prepare_cached("INSERT INTO image_blobs (image, position, blob) VALUES (?, ?, ?)")?;
    for (position, blob) in (0_i64..).zip(&image.blobs) {
        insert.execute((id, position, blob.as_bytes()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{commit, new_store, put_image};

    #[test]
    fn images_come_back_and_are_not_written_twice() {
        let (_root, store) = new_store();
        let layers = [commit(&store, "one"), commit(&store, "two")];
        let mut image = put_image(&store, "docker.io/library/a:latest", false, &[&layers[1], &layers[0]]);
        image.blobs = vec![Digest::of_bytes(b"not here"), Digest::of_bytes(b"nor this")];
        image.manifest = Some(store.put_blob(b"manifest").unwrap());
        store.put_image(&image).unwrap();
        assert_eq!(store.image(&image.name, &image.platform).unwrap().as_ref(), Some(&image));
        assert_eq!(store.image(&image.name, "linux/arm64").unwrap(), None);
        let changes = || store.0.db().connection.total_changes();
        let before = changes();
        store.put_image(&Image { created: SystemTime::now(), ..image.clone() }).unwrap();
        assert_eq!(changes(), before);
        assert_eq!(store.images().unwrap(), [image]);
    }

    #[test]
    fn what_an_image_needs_must_be_there() {
        let (_root, store) = new_store();
        let layer = commit(&store, "layer");
        let image = put_image(&store, "a", false, &[&layer]);
        let missing = Digest::of_bytes(b"missing");
        let bad = Image { config: missing, ..image.clone() };
        assert!(matches!(store.put_image(&bad), Err(ImageError::MissingBlob(digest)) if digest == missing));
        let bad = Image { layers: vec![LayerId::random()], ..image.clone() };
        assert!(matches!(store.put_image(&bad), Err(ImageError::MissingLayer(_))));
        assert_eq!(store.images().unwrap(), [image]);
    }

    #[test]
    fn a_name_moves_on_all_platforms() {
        let (_root, store) = new_store();
        let one = put_image(&store, "a", true, &[]);
        let index = Some(store.put_blob(b"index").unwrap());
        let of = |platform: &str| Image { platform: platform.to_owned(), index, ..one.clone() };
        let both = [of("linux/arm64"), of("linux/s390x")];
        store.put_image_of_platforms("a", &both).unwrap();
        assert_eq!(store.images().unwrap(), both);
        let changes = store.0.db().connection.total_changes();
        store.put_image_of_platforms("a", &both).unwrap();
        assert_eq!(store.0.db().connection.total_changes(), changes);
        store.put_image_of_platforms("a", &both[..1]).unwrap();
        assert_eq!(store.images().unwrap(), both[..1]);
    }

    #[test]
    fn removal_is_by_name_or_by_unambiguous_id() {
        let (_root, store) = new_store();
        for name in ["one", "two"] {
            put_image(&store, name, false, &[]);
        }
        let one = store.image("one", "linux/amd64").unwrap().unwrap();
        store.put_image(&Image { name: "again".into(), ..one.clone() }).unwrap();
        assert!(matches!(store.remove_image("three"), Err(ImageError::NotFound(name)) if name == "three"));
        assert!(matches!(store.remove_image("sha256:"), Err(ImageError::NotFound(_))));
        assert!(matches!(store.remove_image(""), Err(ImageError::NotFound(_))));
        let removed = store.remove_image(&format!("sha256:{}", one.config.short())).unwrap();
        assert_eq!(removed.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["again", "one"]);
        assert_eq!(store.remove_image("two").unwrap().len(), 1);
        assert!(store.images().unwrap().is_empty());

        let index = Digest::of_bytes(b"index");
        for name in ["three", "four"] {
            let image = put_image(&store, name, false, &[]);
            let platforms = ["linux/amd64", "linux/arm64"].map(|platform| Image {
                platform: platform.to_owned(),
                index: Some(index),
                ..image.clone()
            });
            store.put_image_of_platforms(name, &platforms).unwrap();
        }
        assert_eq!(store.remove_image(&index.short()).unwrap().len(), 4);

        // Seventeen ids have sixteen first digits.
        for n in 0..17 {
            put_image(&store, &format!("image-{n}"), false, &[]);
        }
        let ambiguous = (0..16).filter(|digit| {
            matches!(store.remove_image(&format!("{digit:x}")), Err(ImageError::Ambiguous { ids, .. }) if ids.len() > 1)
        });
        assert!(ambiguous.count() > 0);
    }
}
