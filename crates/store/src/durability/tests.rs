//! Boots are injected: what was not synced in an earlier one must be gone in the next, with all that needs it, and nothing else.

use super::*;
use crate::testing::{commit, commit_pulled, entries, key, put_image};
use crate::{CacheMountKey, Store};

fn open(root: &Path, boot: &str) -> Store {
    Store::open_in_boot(root, Boot::named(boot)).unwrap()
}

fn mount(store: &Store) -> crate::CacheMount {
    let key = CacheMountKey::new("go");
    store.acquire_cache_mount(&key, Sharing::Shared, |_| Ok(()), || false).unwrap()
}

#[test]
fn what_was_synced_survives_a_reboot_and_the_rest_does_not() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "first");
    let old = commit(&store, "old");
    store.put_record(&key("old"), b"o", Some(old.id)).unwrap();
    put_image(&store, "old", false, &[&old]);
    drop(mount(&store));
    assert!(store.needs_sync().unwrap());
    store.sync().unwrap();
    assert!(!store.needs_sync().unwrap());

    let new = commit(&store, "new");
    let pulled = commit_pulled(&store, "pulled");
    store.put_record(&key("new"), b"n", Some(new.id)).unwrap();
    store.put_record(&key("bare"), b"b", None).unwrap();
    let blob = store.put_blob(b"blob").unwrap();
    put_image(&store, "new", false, &[&old, &new]);
    drop(store);

    // The same boot keeps everything.
    let store = open(root.path(), "first");
    assert!(store.layer(new.id).unwrap().is_some());
    assert!(store.needs_sync().unwrap());
    drop(store);

    let store = open(root.path(), "second");
    assert!(store.layer(old.id).unwrap().is_some());
    assert!(store.record(&key("old")).unwrap().is_some());
    assert!(store.record(&key("bare")).unwrap().is_some());
    assert!(store.image("old", "linux/amd64").unwrap().is_some());
    assert_eq!(store.cache_mounts().unwrap().len(), 1);
    assert_eq!(store.layer(new.id).unwrap(), None);
    assert_eq!(store.chain(&Digest::of_bytes(b"pulled")).unwrap(), None);
    assert_eq!(store.layer(pulled.id).unwrap(), None);
    assert_eq!(store.record(&key("new")).unwrap(), None);
    assert!(store.image("new", "linux/amd64").unwrap().is_none());
    assert!(!store.has_blob(&blob).unwrap());
    assert_eq!(entries(&store, "layers"), 1);
    assert_eq!(entries(&store, "blobs/sha256"), 1);
    assert!(!store.needs_sync().unwrap());
}

#[test]
fn a_cache_mount_is_trusted_only_when_unused_since_the_sync() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "first");
    let used = mount(&store);
    store.sync().unwrap();
    assert!(store.needs_sync().unwrap(), "a mount in use cannot be durable");
    drop(used);
    store.sync().unwrap();
    assert!(!store.needs_sync().unwrap());
    drop(mount(&store));
    assert!(store.needs_sync().unwrap(), "a use makes it undurable again");
    drop(store);
    let store = open(root.path(), "second");
    assert!(store.cache_mounts().unwrap().is_empty());
    assert_eq!(entries(&store, "mounts"), 0);
}

#[test]
fn a_blob_that_is_written_anew_during_a_sync_is_not_durable() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "first");
    let (blob, other) = (store.put_blob(b"blob").unwrap(), store.put_blob(b"other").unwrap());
    let undurable = store.undurable().unwrap();
    // The kernel has synced both by now; then one is lost, and made again.
    fs::remove_file(store.blob_path(&blob)).unwrap();
    assert_eq!(store.put_blob(b"blob").unwrap(), blob);
    store.0.db().write(|sql| Ok(undurable.mark(sql)?)).unwrap();
    assert!(store.needs_sync().unwrap());
    drop(store);
    let store = open(root.path(), "second");
    assert!(!store.has_blob(&blob).unwrap(), "it may be half-written");
    assert!(store.has_blob(&other).unwrap());
}

#[test]
fn rows_whose_files_are_missing_go_at_the_next_boot() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "first");
    let layer = commit(&store, "layer");
    let blob = store.put_blob(b"blob").unwrap();
    store.sync().unwrap();
    fs::remove_dir_all(store.root().join("layers").join(layer.id.to_string())).unwrap();
    fs::write(store.blob_path(&blob), b"blo").unwrap();
    drop(store);
    let store = open(root.path(), "second");
    assert_eq!(store.layer(layer.id).unwrap(), None);
    assert!(!store.has_blob(&blob).unwrap());
}

#[test]
fn only_stat_caches_older_than_the_sync_survive() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "first");
    fs::write(store.contexts_dir().join("early"), b"e").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    store.sync().unwrap();
    fs::write(store.contexts_dir().join("late"), b"l").unwrap();
    drop(store);
    let store = open(root.path(), "second");
    assert!(store.contexts_dir().join("early").exists());
    assert!(!store.contexts_dir().join("late").exists());
}

#[test]
fn the_second_process_of_a_boot_recovers_nothing() {
    let root = tempfile::tempdir().unwrap();
    commit(&open(root.path(), "first"), "lost");
    let store = open(root.path(), "second");
    let layer = commit(&store, "kept");
    let lease = store.lease(&[layer.id]).unwrap();
    let other = open(root.path(), "second");
    assert!(other.layer(layer.id).unwrap().is_some());
    drop(lease);
}
