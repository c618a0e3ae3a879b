//! The three sharing modes, preparation, and clearing.

use super::*;
use crate::testing::{entries, new_store};
use std::os::unix::fs::MetadataExt;

fn key() -> CacheMountKey {
    CacheMountKey::new("ns/go-build")
}

fn get(store: &Store, sharing: Sharing) -> Result<CacheMount, MountError> {
    store.acquire_cache_mount(&key(), sharing, |_| Ok(()), || false)
}

#[test]
fn contents_outlive_the_user() {
    let (root, store) = new_store();
    let prepared = |fs: &Path| Ok(fs::write(fs.join("seed"), b"s")?);
    let mount = store.acquire_cache_mount(&key(), Sharing::Shared, prepared, || false).unwrap();
    assert_eq!(fs::metadata(mount.path()).unwrap().mode() & 0o7777, 0o755);
    fs::write(mount.path().join("more"), b"m").unwrap();
    let id = mount.id();
    drop(mount);
    drop(store);
    let store = Store::open(root.path()).unwrap();
    for sharing in [Sharing::Shared, Sharing::Private, Sharing::Locked] {
        let mount = get(&store, sharing).unwrap();
        assert_eq!(mount.id(), id);
        assert!(mount.path().join("seed").exists() && mount.path().join("more").exists());
    }
    assert_eq!(entries(&store, "mounts"), 1);
}

#[test]
fn sharing_decides_who_may_work_at_the_same_time() {
    let (_root, store) = new_store();
    let other = Store::open(store.root()).unwrap();
    let one = get(&store, Sharing::Shared).unwrap();
    let two = get(&other, Sharing::Shared).unwrap();
    assert_eq!(one.id(), two.id());
    assert!(matches!(get(&other, Sharing::Locked), Err(MountError::Cancelled(_))));
    let private = get(&other, Sharing::Private).unwrap();
    assert_ne!(private.id(), one.id());
    let another = get(&store, Sharing::Private).unwrap();
    assert_ne!(another.id(), private.id());
    drop((one, two));
    let locked = get(&store, Sharing::Locked).unwrap();
    assert!(matches!(get(&other, Sharing::Locked), Err(MountError::Cancelled(_))));
    let first = private.id();
    drop(private);
    assert_eq!(get(&other, Sharing::Private).unwrap().id(), first, "a free directory is used before a new one");
    drop((locked, another));
    assert_eq!(entries(&store, "mounts"), 3);
}

#[test]
fn locked_waits_until_the_other_is_done() {
    let (_root, store) = new_store();
    let first = get(&store, Sharing::Locked).unwrap();
    let other = Store::open(store.root()).unwrap();
    let (started, waits) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let wait = || started.send(()).is_ok();
        other.acquire_cache_mount(&key(), Sharing::Locked, |_| Ok(()), wait).unwrap().id()
    });
    waits.recv().unwrap();
    waits.recv().unwrap();
    let id = first.id();
    drop(first);
    // The receiver must live until the waiter is through, or its next `wait` would say no.
    assert_eq!(waiter.join().unwrap(), id);
    drop(waits);
}

#[test]
fn a_failed_preparation_leaves_nothing() {
    let (_root, store) = new_store();
    let fails = |fs: &Path| {
        fs::write(fs.join("half"), b"h")?;
        Err("no such user".into())
    };
    let Err(error) = store.acquire_cache_mount(&key(), Sharing::Shared, fails, || false) else { panic!("it worked") };
    assert_eq!(error.to_string(), "cannot prepare cache mount `ns/go-build`");
    assert_eq!(entries(&store, "mounts"), 0);
    assert!(store.cache_mounts().unwrap().is_empty());
    assert_eq!(fs::read_dir(get(&store, Sharing::Shared).unwrap().path()).unwrap().count(), 0);
}

#[test]
fn clearing_spares_what_is_in_use() {
    let (_root, store) = new_store();
    let held = get(&store, Sharing::Private).unwrap();
    drop(get(&store, Sharing::Private).unwrap());
    assert_eq!(entries(&store, "mounts"), 2);
    assert_eq!(store.clear_cache_mounts(&[key(), CacheMountKey::new("unknown")]).unwrap(), 1);
    assert_eq!(store.cache_mounts().unwrap().len(), 1);
    assert!(held.path().exists());
    drop(held);
    assert_eq!(store.clear_cache_mounts(&[key()]).unwrap(), 1);
    assert_eq!(entries(&store, "mounts"), 0);
}

#[test]
fn many_first_users_share_one_directory() {
    let (_root, store) = new_store();
    let users: Vec<_> = (0..8)
        .map(|n| {
            let store = Store::open(store.root()).unwrap();
            let sharing = if n % 2 == 0 { Sharing::Shared } else { Sharing::Locked };
            std::thread::spawn(move || store.acquire_cache_mount(&key(), sharing, |_| Ok(()), || true).unwrap().id())
        })
        .collect();
    let ids: std::collections::HashSet<MountId> = users.into_iter().map(|user| user.join().unwrap()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(entries(&store, "mounts"), 1);
}

#[test]
fn users_and_what_they_found_are_counted() {
    let (_root, store) = new_store();
    for n in 0..3 {
        let mount = get(&store, Sharing::Shared).unwrap();
        assert_eq!(mount.is_warm(), n > 1, "use {n}");
        store.note_mount_users(&format!("step {}", n / 2), &[&mount]).unwrap();
        if n == 1 {
            fs::write(mount.path().join("file"), b"f").unwrap();
        }
    }
    let found = &store.cache_mounts().unwrap()[0];
    assert_eq!((found.uses, found.hits), (3, 1));
    assert!(found.steps.len() == 2 && found.steps.contains(&"step 0".to_owned()), "{:?}", found.steps);
    let mount = get(&store, Sharing::Shared).unwrap();
    for n in 0..40 {
        store.note_mount_users(&format!("step {n}"), &[&mount]).unwrap();
    }
    assert_eq!(store.cache_mounts().unwrap()[0].steps.len(), 16);
}

#[test]
fn removal_spares_what_is_in_use() {
    let (_root, store) = new_store();
    let mount = get(&store, Sharing::Shared).unwrap();
    fs::write(mount.path().join("file"), vec![b'f'; 8192]).unwrap();
    let id = mount.id();
    assert_eq!(
        store.remove_cache_mounts(&[id]).unwrap(),
        RemovedMounts { in_use: vec![id], ..RemovedMounts::default() }
    );
    drop(mount);
    let outcome = store.remove_cache_mounts(&[id, id]).unwrap();
    assert_eq!((outcome.removed, outcome.in_use), (1, Vec::new()));
    assert!(outcome.bytes >= 8192, "{}", outcome.bytes);
    assert_eq!(entries(&store, "mounts"), 0);
}

#[test]
fn a_store_of_the_first_format_is_brought_forward() {
    let (root, store) = new_store();
    let path = store.root().join("meta.db");
    drop(get(&store, Sharing::Shared).unwrap());
    let blob = store.put_blob(b"blob").unwrap();
    drop(store);
    let old = rusqlite::Connection::open(&path).unwrap();
    let back =
        "DROP TABLE mount_users; ALTER TABLE mounts DROP COLUMN hits; ALTER TABLE images DROP COLUMN image_index;
                ALTER TABLE blobs DROP COLUMN writing; PRAGMA user_version = 1";
    old.execute_batch(back).unwrap();
    drop(old);
    let store = Store::open(root.path()).unwrap();
    let found = &store.cache_mounts().unwrap()[0];
    assert_eq!((found.uses, found.hits, found.steps.len()), (1, 0, 0));
    assert!(store.has_blob(&blob).unwrap());
    assert!(store.needs_sync().unwrap());
    store.sync().unwrap();
    assert!(!store.needs_sync().unwrap(), "blobs of the former format become durable as well");
}

#[test]
fn who_reads_keeps_steps_out_and_is_no_user() {
    let (_root, store) = new_store();
    assert!(!store.has_cache_mount(&key()).unwrap());
    assert!(store.hold_cache_mount(&key(), || false).unwrap().is_none());
    let step = get(&store, Sharing::Shared).unwrap();
    assert!(store.has_cache_mount(&key()).unwrap());
    assert!(matches!(store.hold_cache_mount(&key(), || false), Err(MountError::Cancelled(_))));
    let id = step.id();
    drop(step);
    let held = store.hold_cache_mount(&key(), || false).unwrap().unwrap();
    assert_eq!(held.id(), id);
    assert!(matches!(get(&store, Sharing::Locked), Err(MountError::Cancelled(_))));
    drop(held);
    assert_eq!(store.cache_mounts().unwrap()[0].uses, 1);
    assert_eq!(store.cache_mount_keys().unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [key()]);
}

#[test]
fn a_memo_is_kept_beside_the_files() {
    let (_root, store) = new_store();
    let mount = get(&store, Sharing::Shared).unwrap();
    assert_eq!(mount.memo(), b"");
    mount.keep_memo(b"one").unwrap();
    mount.keep_memo(b"two").unwrap();
    drop(mount);
    let mount = get(&store, Sharing::Shared).unwrap();
    assert_eq!(mount.memo(), b"two");
    assert!(!mount.is_warm());
}
