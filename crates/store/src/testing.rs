//! What the unit tests of several modules start from.

use crate::{Image, Layer, NewLayer, Store};
use kiln_digest::{CacheKey, ContentDigest, Digest, Hasher};
use std::path::Path;
use std::time::SystemTime;

/// A fresh store, which vanishes with the first of the two.
pub(crate) fn new_store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    (root, store)
}

/// Commits a layer that holds one file with that text.
pub(crate) fn commit(store: &Store, text: &str) -> Layer {
    let directory = store.temp_dir().unwrap();
    let fs = made(directory.path(), text);
    store.commit_layer(&fs, described(text)).unwrap()
}

/// Commits a pulled layer that holds one file with that text, and whose chain id and diff id are that text's digest.
pub(crate) fn commit_pulled(store: &Store, text: &str) -> Layer {
    let directory = store.temp_dir().unwrap();
    let fs = made(directory.path(), text);
    let digest = Digest::of_bytes(text.as_bytes());
    store.commit_layer_for_chain(&fs, described(text), &digest, digest, 1024).unwrap()
}

fn made(directory: &Path, text: &str) -> std::path::PathBuf {
    let fs = directory.join("fs");
    std::fs::create_dir(&fs).unwrap();
    std::fs::write(fs.join("file"), text).unwrap();
    fs
}

fn described(text: &str) -> NewLayer {
    NewLayer { content: ContentDigest::of_bytes(text.as_bytes()), size: text.len() as u64, entries: 1 }
}

pub(crate) fn key(text: &str) -> CacheKey {
    Hasher::new("test").field(text.as_bytes()).key()
}

/// Names an image of those layers, whose config is its name.
pub(crate) fn put_image(store: &Store, name: &str, pulled: bool, layers: &[&Layer]) -> Image {
    let image = Image {
        name: name.to_owned(),
        platform: "linux/amd64".to_owned(),
        config: store.put_blob(name.as_bytes()).unwrap(),
        manifest: None,
        index: None,
        created: SystemTime::UNIX_EPOCH,
        size: 0,
        pulled,
        layers: layers.iter().map(|layer| layer.id).collect(),
        blobs: Vec::new(),
    };
    store.put_image(&image).unwrap();
    image
}

/// How many entries a directory of the store has.
pub(crate) fn entries(store: &Store, directory: &str) -> usize {
    std::fs::read_dir(store.root().join(directory)).unwrap().count()
}
