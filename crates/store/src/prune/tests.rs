//! What each form of pruning takes and, above all, what it leaves.

use super::*;
use crate::testing::{commit, commit_pulled, entries, key, new_store, put_image};
use crate::{BlobInfo, CacheMountKey, LeaseError, Store, UsageKind};
use std::path::Path;

const ALL: PruneOptions = PruneOptions { all: true, keep_mounts: false, older_than: None, max_size: None };
const PLAIN: PruneOptions = PruneOptions { all: false, ..ALL };

/// Another process's view: what this one made is leased only until it is dropped.
fn reopen(store: Store) -> Store {
    let root = store.root().to_owned();
    drop(store);
    Store::open(&root).unwrap()
}

fn age(root: &Path, table: &str, days: i64) {
    let sql = rusqlite::Connection::open(root.join("meta.db")).unwrap();
    sql.execute(&format!("UPDATE {table} SET used = used - ?"), [days * 24 * 60 * 60 * 1000]).unwrap();
}

fn mount(store: &Store, key: &str) -> crate::CacheMount {
    let key = CacheMountKey::new(key);
    store.acquire_cache_mount(&key, Sharing::Shared, |_| Ok(()), || false).unwrap()
}

#[test]
fn plain_takes_what_no_image_needs() {
    let (_root, store) = new_store();
    let [base, top, loose] = [commit_pulled(&store, "base"), commit(&store, "top"), commit(&store, "loose")];
    put_image(&store, "base", true, &[&base]);
    let built = put_image(&store, "built", false, &[&base, &top]);
    store.put_record(&key("top"), b"", Some(top.id)).unwrap();
    store.put_record(&key("loose"), b"", Some(loose.id)).unwrap();
    store.put_record(&key("bare"), b"", None).unwrap();
    store.put_blob(b"nobody's").unwrap();
    let form = store.put_blob(b"a form of base").unwrap();
    let info = BlobInfo { digest: form, size: 14, media_type: "x".into() };
    store.put_layer_blob(&base.diff_id.unwrap(), "gzip", &info).unwrap();
    drop(mount(&store, "go"));

    let store = reopen(store);
    let pruned = store.prune(&PLAIN).unwrap();
    assert_eq!(pruned, Pruned { records: 1, layers: 1, blobs: 1, bytes: 5 + 8, ..Pruned::default() });
    assert!(store.layer(loose.id).unwrap().is_none());
    assert!(!store.layer_path(loose.id).exists());
    assert!(store.layer_path(top.id).join("file").exists());
    assert!(store.record(&key("top")).unwrap().is_some());
    assert!(store.record(&key("bare")).unwrap().is_some());
    assert!(store.layer_blob(&base.diff_id.unwrap(), "gzip").unwrap().is_some());
    assert_eq!(store.image("built", "linux/amd64").unwrap(), Some(built));
    assert_eq!(store.cache_mounts().unwrap().len(), 1);
    assert_eq!(store.prune(&PLAIN).unwrap(), Pruned::default());
}

#[test]
fn all_leaves_only_what_built_images_need() {
    let (_root, store) = new_store();
    let [base, other, top] = [commit_pulled(&store, "base"), commit_pulled(&store, "other"), commit(&store, "top")];
    put_image(&store, "other", true, &[&other]);
    put_image(&store, "built", false, &[&base, &top]);
    store.put_record(&key("top"), b"", Some(top.id)).unwrap();
    store.put_memo("kind", b"key", b"value").unwrap();
    fs::write(store.contexts_dir().join("cache"), b"").unwrap();
    drop(mount(&store, "go"));

    let store = reopen(store);
    let before = store.du().unwrap();
    let pruned = store.prune(&ALL).unwrap();
    assert_eq!((pruned.records, pruned.layers, pruned.blobs, pruned.mounts, pruned.images), (1, 1, 1, 1, 1));
    let after = store.du().unwrap();
    assert_eq!(before.total - after.total, pruned.bytes);
    assert_eq!(before.reclaimable, pruned.bytes, "`du` foretells what `prune --all` frees");
    assert_eq!(after.reclaimable, 0);
    assert!(store.layer_path(base.id).exists() && store.layer_path(top.id).exists());
    assert_eq!(store.memo("kind", b"key").unwrap(), None);
    assert_eq!((entries(&store, "contexts"), entries(&store, "mounts"), entries(&store, "layers")), (0, 0, 2));

    store.remove_image("built").unwrap();
    store.prune(&ALL).unwrap();
    assert_eq!((entries(&store, "layers"), entries(&store, "blobs/sha256")), (0, 0));
    assert!(store.du().unwrap().rows.is_empty());
}

#[test]
fn what_a_live_process_relies_on_stays() {
    let (_root, store) = new_store();
    let [leased, free, image_layer] =
        [commit(&store, "leased"), commit(&store, "free"), commit_pulled(&store, "layer")];
    put_image(&store, "pulled", true, &[&image_layer]);
    let blob = store.put_blob(b"blob").unwrap();
    let store = reopen(store);

    let user = Store::open(store.root()).unwrap();
    let lease = user.lease(&[leased.id]).unwrap();
    let (_file, _) = user.open_blob(&blob).unwrap();
    user.image("pulled", "linux/amd64").unwrap().unwrap();
    let just_made = commit(&user, "just made");
    let held = mount(&user, "held");
    store.prune(&ALL).unwrap();
    assert!(store.layer_path(leased.id).exists());
    assert!(store.layer_path(just_made.id).exists());
    assert!(store.layer_path(image_layer.id).exists(), "its image is in use");
    assert!(store.blob_path(&blob).exists());
    assert!(held.path().exists());
    assert!(!store.layer_path(free.id).exists());
    user.put_record(&key("late"), b"", Some(just_made.id)).unwrap();
    assert!(matches!(user.lease(&[leased.id, free.id]), Err(LeaseError::Missing(id)) if id == free.id));

    drop(lease);
    drop(held);
    drop(user);
    store.prune(&ALL).unwrap();
    assert_eq!((entries(&store, "layers"), entries(&store, "blobs/sha256"), entries(&store, "mounts")), (0, 0, 0));
    assert_eq!(store.record(&key("late")).unwrap(), None);
}

#[test]
fn leases_are_counted() {
    let (_root, store) = new_store();
    let layer = commit(&store, "layer");
    let store = reopen(store);
    let pruner = Store::open(store.root()).unwrap();
    let (one, two) = (store.lease(&[layer.id, layer.id]).unwrap(), store.lease(&[layer.id]).unwrap());
    drop(one);
    pruner.prune(&ALL).unwrap();
    assert!(store.layer_path(layer.id).exists());
    drop(two);
    let three = store.lease(&[layer.id]).unwrap();
    pruner.prune(&ALL).unwrap();
    assert!(store.layer_path(layer.id).exists());
    drop(three);
    store.prune(&ALL).unwrap();
    assert!(!store.layer_path(layer.id).exists());
}

#[test]
fn age_and_size_limit_what_goes() {
    let (root, store) = new_store();
    let old = commit(&store, "old layer");
    store.put_record(&key("old"), b"", Some(old.id)).unwrap();
    let used = commit(&store, "old layer, used");
    store.put_record(&key("used"), b"", Some(used.id)).unwrap();
    age(root.path(), "layers", 10);
    age(root.path(), "records", 10);
    store.touch(&[key("used")], &[]).unwrap();
    let young = commit(&store, "young layer");
    let store = reopen(store);

    let week = Some(Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!(store.prune(&PruneOptions { older_than: week, ..PLAIN }).unwrap().layers, 1);
    assert!(store.layer(old.id).unwrap().is_none());

    // 15 and 11 bytes are left; the one used earlier goes first.
    age(root.path(), "records", 1);
    assert_eq!(store.prune(&PruneOptions { max_size: Some(26), ..ALL }).unwrap(), Pruned::default());
    let pruned = store.prune(&PruneOptions { max_size: Some(25), ..ALL }).unwrap();
    assert_eq!((pruned.layers, pruned.bytes), (1, 15));
    assert!(store.layer(young.id).unwrap().is_some());
}

#[test]
fn garbage_is_swept() {
    let (root, store) = new_store();
    for orphan in ["layers/0123456789abcdef/fs", "mounts/0123456789abcdef/fs", "layers/what is this"] {
        fs::create_dir_all(root.path().join(orphan)).unwrap();
    }
    fs::write(root.path().join("blobs/sha256/00"), b"").unwrap();
    fs::write(root.path().join("locks").join(format!("step-{}", key("killed"))), b"").unwrap();
    let held = store.lock_step(&key("held"), || false).unwrap();
    store.prune(&PLAIN).unwrap();
    assert_eq!((entries(&store, "layers"), entries(&store, "mounts"), entries(&store, "blobs/sha256")), (0, 0, 0));
    assert!(!root.path().join("locks").join(format!("step-{}", key("killed"))).exists());
    assert!(matches!(store.lock_step(&key("held"), || false), Err(crate::LockError::Cancelled)));
    drop(held);
    assert!(!root.path().join("locks").join(format!("step-{}", key("held"))).exists());
}

#[test]
fn what_somebody_removed_by_hand_is_forgotten() {
    let (root, store) = new_store();
    let layer = commit(&store, "layer");
    store.put_record(&key("k"), b"", Some(layer.id)).unwrap();
    put_image(&store, "built", false, &[&layer]);
    for directory in ["layers", "mounts", "tmp", "contexts"] {
        fs::remove_dir_all(root.path().join(directory)).unwrap();
    }
    let store = reopen(store);
    store.prune(&PLAIN).unwrap();
    assert_eq!(store.record(&key("k")).unwrap(), None);
    assert!(store.images().unwrap().is_empty());
    commit(&store, "layer");
}

#[test]
fn memos_are_bounded() {
    let (_root, store) = new_store();
    for n in 0..10_u8 {
        store.put_memo("kind", &[n], &[n]).unwrap();
    }
    store.put_memo("other", b"k", b"v").unwrap();
    let mut db = store.0.db();
    db.write(|sql| Ok(sql.execute("UPDATE memos SET used = -1 WHERE key = x'05'", [])?)).unwrap();
    assert_eq!(db.write(|sql| Ok(memos::trim(sql, 9)?)).unwrap(), 1);
    drop(db);
    assert_eq!(store.memo("kind", &[5]).unwrap(), None);
    assert_eq!(store.memo("kind", &[4]).unwrap(), Some(vec![4]));
    assert_eq!(store.memo("other", b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn du_tells_images_layers_and_mounts_apart() {
    let (_root, store) = new_store();
    let layer = commit(&store, "layer");
    put_image(&store, "built", false, &[&layer]);
    let held = mount(&store, "key");
    fs::write(held.path().join("file"), vec![0; 100_000]).unwrap();
    let usage = store.du().unwrap();
    let row = |kind| usage.rows.iter().find(|row| row.kind == kind).unwrap();
    assert_eq!((row(UsageKind::Layer).shared, row(UsageKind::Layer).reclaimable), (true, false));
    assert_eq!(row(UsageKind::Image).description, "built");
    assert!(row(UsageKind::Mount).size >= 100_000 && !row(UsageKind::Mount).reclaimable);
    drop(held);
    let usage = store.du().unwrap();
    assert!(usage.reclaimable >= 100_000 && usage.total >= usage.reclaimable + 5);
}
