//! Several processes on one store, and processes that are killed at any instant. The processes are this test program again: [`child`]
//! does what its environment says.

use kiln_digest::{CacheKey, ContentDigest, Digest, Hasher};
use kiln_store::{CacheMountKey, Image, Layer, NewLayer, PruneOptions, Sharing, Store, UsageKind};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

const ROLE: &str = "KILN_STORE_TEST_ROLE";
const ROOT: &str = "KILN_STORE_TEST_ROOT";
const SEED: &str = "KILN_STORE_TEST_SEED";

/// How many files each layer has.
const FILES: u64 = 5;

fn spawn(role: &str, root: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ROLE, role)
        .env(ROOT, root)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: the other processes.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = std::env::var(ROOT).unwrap();
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    match role.as_str() {
        "build" => build(Path::new(&root), seed),
        "churn" => churn(Path::new(&root), seed),
        "rebuild" => rebuild(Path::new(&root), seed),
        "prune" => prune(Path::new(&root)),
        role => panic!("unknown role {role}"),
    }
}

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn key(n: u64) -> CacheKey {
    Hasher::new("process test").number(n).key()
}

fn text(n: u64) -> String {
    format!("{n} ").repeat(1000)
}

/// Makes a layer as a step does: files written one by one, then a commit.
fn commit(store: &Store, n: u64) -> Layer {
    let directory = store.temp_dir().unwrap();
    let fs = directory.path().join("fs");
    fs::create_dir(&fs).unwrap();
    for file in 0..FILES {
        fs::write(fs.join(file.to_string()), text(n)).unwrap();
    }
    let content = ContentDigest::of_bytes(text(n).as_bytes());
    store.commit_layer(&fs, NewLayer { content, size: FILES * text(n).len() as u64, entries: FILES }).unwrap()
}

/// Sixteen processes that build the same thirty steps: each is executed once.
fn build(root: &Path, seed: u64) {
    let store = Store::open(&root.join("store")).unwrap();
    for n in 0..30 {
        // Half of them start from the other end.
        let n = if seed.is_multiple_of(2) { n } else { 29 - n };
        if store.record(&key(n)).unwrap().is_none() {
            let _lock = store.lock_step(&key(n), || true).unwrap();
            if store.record(&key(n)).unwrap().is_none() {
                fs::create_dir(root.join("executed").join(n.to_string())).expect("a step ran twice");
                let layer = commit(&store, n);
                let mount = CacheMountKey::new("mount");
                let mount = store.acquire_cache_mount(&mount, Sharing::Locked, |_| Ok(()), || true).unwrap();
                fs::create_dir(mount.path().join("busy")).expect("two users of a locked cache mount");
                store.put_blob(text(n).as_bytes()).unwrap();
                fs::remove_dir(mount.path().join("busy")).unwrap();
                store.put_record(&key(n), b"value", Some(layer.id)).unwrap();
            }
        }
        let layer = store.record(&key(n)).unwrap().unwrap().layer.unwrap();
        let lease = store.lease(&[layer]).unwrap();
        assert_eq!(fs::read_to_string(store.layer_path(layer).join("0")).unwrap(), text(n));
        drop(lease);
        store.touch(&[key(n)], &[layer]).unwrap();
    }
    if store.needs_sync().unwrap() {
        store.sync().unwrap();
    }
}

#[test]
fn sixteen_processes_build_each_step_once() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("executed")).unwrap();
    let children: Vec<Child> = (0..16).map(|seed| spawn("build", root.path(), seed)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(&root.path().join("store")).unwrap();
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 30);
    assert_eq!(fs::read_dir(store.root().join("mounts")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 1);
    let locks = fs::read_dir(store.root().join("locks")).unwrap();
    let left: Vec<_> = locks.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("step-")), "{left:?}");
    assert!(!store.needs_sync().unwrap());
    verify(&store);
}

/// Builds while others prune: what a step was given, and what it has made, stays for as long as it is needed.
fn rebuild(root: &Path, seed: u64) {
    let store = Store::open(root).unwrap();
    let mut numbers = Numbers(seed | 1);
    for _ in 0..60 {
        let n = numbers.below(8);
        let found = store.record(&key(n)).unwrap().and_then(|record| store.lease(&[record.layer.unwrap()]).ok());
        let lease = found.unwrap_or_else(|| {
            let layer = commit(&store, n);
            store.put_record(&key(n), b"value", Some(layer.id)).unwrap();
            store.lease(&[layer.id]).unwrap()
        });
        let [layer] = *lease.layers() else { panic!("one layer was leased") };
        let config = store.put_blob(text(n).as_bytes()).unwrap();
        let image = Image {
            name: format!("image-{n}"),
            platform: "linux/amd64".to_owned(),
            config,
            manifest: None,
            index: None,
            created: SystemTime::now(),
            size: 0,
            pulled: true,
            layers: vec![layer],
            blobs: Vec::new(),
        };
        store.put_image(&image).unwrap();
        let mount = CacheMountKey::new(format!("mount-{}", n % 3));
        let sharing = [Sharing::Shared, Sharing::Private, Sharing::Locked][numbers.below(3) as usize];
        let mount = store.acquire_cache_mount(&mount, sharing, |_| Ok(()), || true).unwrap();
        std::thread::sleep(Duration::from_millis(numbers.below(4)));
        for file in 0..FILES {
            assert_eq!(fs::read_to_string(store.layer_path(layer).join(file.to_string())).unwrap(), text(n));
        }
        let mut bytes = String::new();
        store.open_blob(&config).unwrap().0.read_to_string(&mut bytes).unwrap();
        assert_eq!(bytes, text(n));
        fs::write(mount.path().join("file"), b"still here").unwrap();
    }
}

/// Prunes until it is killed.
fn prune(root: &Path) {
    let store = Store::open(root).unwrap();
    for all in [true, false].into_iter().cycle() {
        store.prune(&PruneOptions { all, ..PruneOptions::default() }).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn pruning_takes_nothing_away_from_builds() {
    let root = tempfile::tempdir().unwrap();
    drop(Store::open(root.path()).unwrap());
    let mut pruners = [spawn("prune", root.path(), 0), spawn("prune", root.path(), 0)];
    let builders: Vec<Child> = (1..9).map(|seed| spawn("rebuild", root.path(), seed * 7919)).collect();
    for mut builder in builders {
        assert!(builder.wait().unwrap().success());
    }
    for pruner in &mut pruners {
        assert_eq!(pruner.try_wait().unwrap(), None, "a pruner failed by itself");
        pruner.kill().unwrap();
        pruner.wait().unwrap();
    }
    let store = Store::open(root.path()).unwrap();
    verify(&store);
    // What was verified was claimed, too.
    drop(store);
    let store = Store::open(root.path()).unwrap();
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert!(store.du().unwrap().rows.is_empty());
}

/// Does everything that changes a store, until it is killed.
fn churn(root: &Path, seed: u64) {
    let store = Store::open(root).unwrap();
    let mut numbers = Numbers(seed | 1);
    loop {
        let n = numbers.below(200);
        let _lock = store.lock_step(&key(n), || true).unwrap();
        let layer = commit(&store, n);
        store.put_record(&key(n), text(n).as_bytes(), Some(layer.id)).unwrap();
        let config = store.put_blob(text(n).as_bytes()).unwrap();
        let image = Image {
            name: format!("image-{}", n % 20),
            platform: "linux/amd64".to_owned(),
            config,
            manifest: None,
            index: None,
            created: SystemTime::now(),
            size: 0,
            pulled: n.is_multiple_of(2),
            layers: vec![layer.id],
            blobs: Vec::new(),
        };
        store.put_image(&image).unwrap();
        let mount = CacheMountKey::new(format!("mount-{}", n % 5));
        let init = |fs: &Path| Ok(fs::write(fs.join("seed"), b"seed")?);
        let mount = store.acquire_cache_mount(&mount, Sharing::Private, init, || true).unwrap();
        assert!(mount.path().join("seed").exists());
        match numbers.below(12) {
            0 => drop(store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap()),
            1 => drop(store.prune(&PruneOptions::default()).unwrap()),
            2 => store.sync().unwrap(),
            3 => {
                // Another process may have taken the name away.
                let _ = store.remove_image(&image.name);
            }
            _ => {}
        }
    }
}

/// Every row has its files, whole; everything that is referenced exists.
fn verify(store: &Store) {
    for row in store.du().unwrap().rows {
        match row.kind {
            UsageKind::Layer => {
                let layer = store.layer(row.id.parse().unwrap()).unwrap().unwrap();
                let mut files = 0;
                for entry in fs::read_dir(store.layer_path(layer.id)).unwrap() {
                    let text = fs::read(entry.unwrap().path()).unwrap();
                    assert_eq!(ContentDigest::of_bytes(&text), layer.content);
                    files += 1;
                }
                assert_eq!(files, FILES);
            }
            UsageKind::Blob => {
                let digest: Digest = row.id.parse().unwrap();
                let mut bytes = Vec::new();
                store.open_blob(&digest).unwrap().0.read_to_end(&mut bytes).unwrap();
                assert_eq!(Digest::of_bytes(&bytes), digest);
            }
            UsageKind::Build => unreachable!("nothing is built here"),
            UsageKind::Mount => {
                let mount = store.root().join("mounts").join(&row.id);
                assert!(mount.join("fs").is_dir() && mount.join("lock").is_file());
            }
            UsageKind::Image => {}
        }
    }
    for image in store.images().unwrap() {
        store.layers(&image.layers).unwrap();
        store.open_blob(&image.config).unwrap();
    }
    for n in 0..200 {
        if let Some(record) = store.record(&key(n)).unwrap() {
            store.layers(&[record.layer.unwrap()]).unwrap();
        }
    }
}

#[test]
fn whoever_is_killed_leaves_a_whole_store() {
    let root = tempfile::tempdir().unwrap();
    drop(Store::open(root.path()).unwrap());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut layers = 0;
    for round in 0..50 {
        let children = [spawn("churn", root.path(), 2 * round + 1), spawn("churn", root.path(), 1000 + round)];
        for mut child in children {
            std::thread::sleep(Duration::from_micros(10_000 + numbers.below(120_000)));
            assert_eq!(child.try_wait().unwrap(), None, "the child failed by itself");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = Store::open(root.path()).unwrap();
        verify(&store);
        layers += store.du().unwrap().rows.iter().filter(|row| row.kind == UsageKind::Layer).count();
        drop(store);
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0, "garbage in round {round}");
    }
    assert!(layers > 100, "the children hardly did anything: {layers}");
    let store = Store::open(root.path()).unwrap();
    store.prune(&PruneOptions::default()).unwrap();
    let rows = store.du().unwrap().rows;
    for (kind, directory) in
        [(UsageKind::Layer, "layers"), (UsageKind::Blob, "blobs/sha256"), (UsageKind::Mount, "mounts")]
    {
        let files = fs::read_dir(root.path().join(directory)).unwrap().count();
        assert_eq!(files, rows.iter().filter(|row| row.kind == kind).count(), "{directory}");
    }
}
