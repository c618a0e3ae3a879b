//! Opening a store: none, half of one, another program's, a later kiln's, a damaged one, one on a full disk; and how long it takes.

use kiln_digest::{CacheKey, ContentDigest, Digest};
use kiln_store::{CacheMountKey, Error, NewLayer, OpenError, PruneOptions, Sharing, Store, remove_tree};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn sql(root: &Path, statement: &str) {
    rusqlite::Connection::open(root.join("meta.db")).unwrap().execute_batch(statement).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(Store::open(root.path()).unwrap());
    sql(root.path(), "PRAGMA user_version = 99");
    let Err(error) = Store::open(root.path()) else { panic!("it opened") };
    assert!(matches!(error, OpenError::NewerFormat { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("has format 99, and this kiln knows formats up to 4\nhint: "), "{error}");
}

#[test]
fn another_programs_database_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    sql(root.path(), "CREATE TABLE precious (x); INSERT INTO precious VALUES (1)");
    assert!(matches!(Store::open(root.path()), Err(OpenError::Foreign { .. })));
    sql(root.path(), "PRAGMA user_version = 1; DELETE FROM precious");
    assert!(matches!(Store::open(root.path()), Err(OpenError::Foreign { .. })));
}

#[test]
fn a_damaged_database_is_called_so() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("meta.db"), vec![b'x'; 8192]).unwrap();
    let Err(error) = Store::open(root.path()) else { panic!("it opened") };
    assert!(matches!(error, OpenError::Store(Error::Corrupt { .. })), "{error:?}");
    assert!(error.to_string().contains("meta.db` is damaged\nhint: move `"), "{error}");

    // One that was cut short opens, perhaps, but is called damaged when the missing part is needed.
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    store.put_memos("kind", (0..2000_u32).map(|n| (n.to_le_bytes(), [0; 64]))).unwrap();
    store.sync().unwrap();
    drop(store);
    let database = fs::OpenOptions::new().write(true).open(root.path().join("meta.db")).unwrap();
    database.set_len(60 * 1024).unwrap();
    let error = match Store::open(root.path()) {
        Err(OpenError::Store(error)) => error,
        Err(error) => panic!("{error:?}"),
        Ok(store) => (0..2000_u32).find_map(|n| store.memo("kind", &n.to_le_bytes()).err()).unwrap(),
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_half_made_store_is_completed() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("tmp")).unwrap();
    fs::write(root.path().join("meta.db"), b"").unwrap();
    let store = Store::open(root.path()).unwrap();
    store.put_blob(b"blob").unwrap();
}

#[test]
fn a_root_that_cannot_be_made_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let Err(error) = Store::open(&file.join("store")) else { panic!("it opened") };
    assert_eq!(error.to_string(), format!("cannot create `{}`", file.join("store").display()));
}

#[test]
fn many_may_make_the_same_store() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..16_u8 {
            let root = root.path().join("new/store");
            scope.spawn(move || Store::open(&root).unwrap().put_blob(&[n]).unwrap());
        }
    });
    assert_eq!(fs::read_dir(root.path().join("new/store/blobs/sha256")).unwrap().count(), 16);
}

/// A small filesystem, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", directory.path(), "tmpfs", flags, c"size=8m").ok()?;
        Some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_is_called_so_and_can_be_pruned() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let root = disk.0.path();
    let store = Store::open(root).unwrap();
    let error = (0..64_u8).find_map(|n| store.put_blob(&vec![n; 512 * 1024]).err()).expect("the disk is not full");
    assert!(error.is_full(), "{error:?}");
    assert!(error.to_string().ends_with("hint: `kiln prune` frees what no image needs"), "{error}");
    drop(store);

    // Not a byte is left, after a boot, with the index of the database's log still to be made.
    sql(root, "UPDATE meta SET value = 'another boot' WHERE name = 'boot'");
    let _ = fs::remove_file(root.join("meta.db-shm"));
    let mut filler = fs::File::create(root.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    while filler.write_all(&[0]).is_ok() {}
    let store = Store::open(root).unwrap();
    let pruned = store.prune(&PruneOptions::default()).unwrap();
    assert!(pruned.blobs > 5 && pruned.bytes > 5 << 19, "{pruned:?}");
    let digest = store.put_blob(b"works again").unwrap();
    assert!(store.has_blob(&digest).unwrap());
    assert!(root.join("reserve").exists());
}

/// The median of how long something takes, in microseconds.
fn median(times: usize, mut what: impl FnMut(usize) -> Duration) -> u128 {
    let mut all: Vec<u128> = (0..times).map(|n| what(n).as_micros()).collect();
    all.sort_unstable();
    all[times / 2]
}

fn timed<T>(what: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = what();
    (start.elapsed(), value)
}

#[test]
fn nothing_takes_long() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let key = |n: usize| CacheKey::from_bytes(*Digest::of_bytes(&n.to_le_bytes()).as_bytes());
    for n in 0..2000 {
        store.put_record(&key(n), &[0; 500], None).unwrap();
    }
    let blob = store.put_blob(b"blob").unwrap();
    store.sync().unwrap();
    drop(store);

    let (mut lookups, mut claims, mut closes) = (Vec::new(), Vec::new(), Vec::new());
    let open = median(100, |n| {
        let (open, store) = timed(|| Store::open(root.path()).unwrap());
        lookups.push(timed(|| store.record(&key(n)).unwrap().unwrap()).0);
        claims.push(timed(|| store.has_blob(&blob).unwrap()).0);
        closes.push(timed(|| drop(store)).0);
        open
    });
    let first_lookup = median(100, |n| lookups[n]);
    let claim = median(100, |n| claims[n]);
    let close = median(100, |n| closes[n]);
    println!("µs: open {open}, first lookup {first_lookup}, first use of a blob {claim}, close {close}");

    let store = Store::open(root.path()).unwrap();
    let lookup = median(1000, |n| timed(|| store.record(&key(n)).unwrap()).0);
    let put = median(200, |n| timed(|| store.put_record(&key(n), &[1; 500], None).unwrap()).0);
    let mut layers = Vec::new();
    let commit = median(200, |n| {
        let directory = store.temp_dir().unwrap();
        let fs = directory.path().join("fs");
        fs::create_dir(&fs).unwrap();
        fs::write(fs.join("file"), n.to_string()).unwrap();
        let content = ContentDigest::of_bytes(&n.to_le_bytes());
        let (time, layer) = timed(|| store.commit_layer(&fs, NewLayer { content, size: 1, entries: 1 }).unwrap());
        layers.push(layer.id);
        time
    });
    let store = Store::open(root.path()).unwrap();
    let lease = median(100, |n| timed(|| drop(store.lease(&layers[n..n + 100]).unwrap())).0);
    let lock = median(200, |n| timed(|| drop(store.lock_step(&key(n), || false).unwrap())).0);
    let temp = median(200, |_| timed(|| drop(store.temp_dir().unwrap())).0);
    let mount = CacheMountKey::new("key");
    let mount = median(100, |_| timed(|| store.acquire_cache_mount(&mount, Sharing::Shared, |_| Ok(()), || false)).0);
    println!("µs: lookup {lookup}, put {put}, commit a layer {commit}, lease 100 {lease}, lock a step {lock}");
    println!("µs: temporary directory {temp}, acquire a cache mount {mount}");

    let tree = root.path().join("tree");
    for n in 0..500 {
        fs::create_dir_all(tree.join(n.to_string())).unwrap();
        (0..10).for_each(|file| fs::write(tree.join(n.to_string()).join(file.to_string()), b"x").unwrap());
    }
    let (remove, ()) = timed(|| remove_tree(&tree).unwrap());
    println!("ms: remove 500 directories with 5000 files {}", remove.as_millis());
    // Bounds for a busy machine and a build without optimization.
    assert!(open.max(close) < 20_000 && lookup < 2_000 && put.max(commit).max(lock) < 20_000);
    assert!(remove < Duration::from_secs(5));
}

#[test]
fn the_reserve_comes_back_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    drop(Store::open(&root).unwrap());
    fs::remove_file(root.join("reserve")).unwrap();
    drop(Store::open(&root).unwrap());
    assert!(root.join("reserve").exists());
}
