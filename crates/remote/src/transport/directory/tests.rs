//! Caches in directories: what is written is read again, others' things stay, and nothing follows a link out.

use super::*;
use crate::manifest::tests::example;
use kiln_registry::{Client, Config, Credentials};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

fn access(broken: impl IntoIterator<Item = Digest>) -> Access {
    let client = Client::new(Config::default(), Credentials::none());
    Access { client, stop: Arc::default(), pushed: Vec::new(), broken: broken.into_iter().collect() }
}

fn cache(path: &Path, tag: &str) -> Directory {
    // Nobody else is writing an index.
    Directory { patience: Duration::ZERO, ..Directory::new(path, tag, None, &access([])) }
}

fn export(cache: &Directory, text: &str) -> CacheManifest {
    let (manifest, contents) = example(text);
    for bytes in &contents {
        cache.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes)).unwrap();
    }
    cache.publish(&manifest).unwrap();
    manifest
}

fn blobs(path: &Path) -> usize {
    fs::read_dir(path.join(BLOBS)).unwrap().count()
}

#[test]
fn tags_are_caches_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("not/yet");
    let [main, branch] = ["main", "branch"].map(|tag| cache(&path, tag));
    assert_eq!(main.manifest().unwrap(), None);
    assert!(!path.exists(), "looking makes nothing");
    let of_main = export(&main, "main");
    let of_branch = export(&branch, "branch");
    assert_eq!(main.manifest().unwrap(), Some(of_main));
    assert_eq!(branch.manifest().unwrap(), Some(of_branch.clone()));
    let again = export(&main, "again");
    assert_eq!(main.manifest().unwrap(), Some(again.clone()));
    assert_eq!(branch.manifest().unwrap(), Some(of_branch));
    let mut read = String::new();
    main.read(&again.records).unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "records of again");

    let index: ImageIndex = serde_json::from_slice(&fs::read(path.join(INDEX)).unwrap()).unwrap();
    let digest = index.manifests()[0].digest().to_string().parse().unwrap();
    let by_digest = Directory::new(&path, "latest", Some(digest), &access([]));
    assert_eq!(by_digest.manifest().unwrap(), branch.manifest().unwrap());
}

#[test]
fn what_is_there_is_not_written_again_and_what_is_broken_is() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    let blob = BlobRef::of_bytes(b"kiln");
    let file = root.path().join("file");
    fs::write(&file, b"kiln").unwrap();
    assert_eq!(cache.write(&blob, Content::File(&file)).unwrap(), Sent::New);
    assert_eq!(cache.write(&blob, Content::Bytes(b"kiln")).unwrap(), Sent::Present);
    let path = root.path().join(blob_path(blob.digest));
    fs::write(&path, b"k").unwrap();
    assert!(!cache.keep(&blob).unwrap());
    assert_eq!(cache.write(&blob, Content::File(&file)).unwrap(), Sent::New);
    assert_eq!(fs::read(&path).unwrap(), b"kiln");
    assert_eq!(blobs(root.path()), 1);

    let wrong = BlobRef::of_bytes(b"other");
    let error = cache.write(&wrong, Content::File(&file)).unwrap_err();
    assert!(matches!(error, RemoteError::NotTheBlob { .. }), "{error}");
    assert_eq!(blobs(root.path()), 1);
    let error = cache.read(&wrong).err().unwrap();
    assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
    fs::write(&path, b"kilm").unwrap();
    assert!(cache.read(&blob).unwrap().read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn a_cache_is_published_only_when_it_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    let before = export(&cache, "before");
    let error = cache.publish(&example("after").0).unwrap_err();
    assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
    assert_eq!(cache.manifest().unwrap(), Some(before));
}

#[test]
fn documents_that_garbage_collection_took_are_not_published() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    let before = export(&cache, "before");
    let documents = Documents::of(&example("after").0);
    let needed = BlobRef::of_bytes(&documents.config);
    cache.write(&needed, Content::Bytes(&documents.config)).unwrap();
    // Without a grace time, what no tag leads to yet is garbage.
    cache.collect_garbage(Duration::ZERO).unwrap();
    let error = cache.link(&cache.create().unwrap(), &documents, &[needed]).unwrap_err();
    assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
    assert_eq!(cache.manifest().unwrap(), Some(before));
}

#[test]
fn an_index_that_a_crash_has_cut_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    export(&cache, "before");
    let whole = fs::read(root.path().join(INDEX)).unwrap();
    for cut in [&b""[..], b"{", &whole[..whole.len() - 2], &vec![0; whole.len()]] {
        fs::write(root.path().join(INDEX), cut).unwrap();
        let error = cache.manifest().unwrap_err();
        assert!(error.to_string().contains("malformed document") && error.is_broken(), "{error}");
        assert!(cache.collect_garbage(Duration::ZERO).is_err(), "who knows what was named");
        let (after, contents) = example("after");
        for bytes in &contents {
            cache.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes)).unwrap();
        }
        let aside = cache.publish(&after).unwrap();
        assert_eq!(cache.manifest().unwrap(), Some(after));
        // What says something is kept.
        let says = cut.iter().any(|byte| *byte != 0).then(|| root.path().join(BROKEN_INDEX));
        assert_eq!(aside, says);
        if let Some(aside) = aside {
            assert_eq!(fs::read(aside).unwrap(), cut);
        }
    }
}

#[test]
fn an_index_that_somebody_is_writing_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let other = export(&cache(root.path(), "other"), "other");
    let path = root.path().join(INDEX);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (manifest, contents) = example("x");
    let patient = Directory { patience: Duration::from_secs(3600), ..cache(root.path(), "latest") };
    for bytes in &contents {
        patient.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes)).unwrap();
    }
    thread::scope(|scope| {
        let publishing = scope.spawn(|| patient.publish(&manifest).unwrap());
        thread::sleep(Duration::from_millis(50));
        assert!(!publishing.is_finished());
        fs::write(&path, &whole).unwrap();
        assert_eq!(publishing.join().unwrap(), None);
    });
    assert_eq!(cache(root.path(), "other").manifest().unwrap(), Some(other));
    assert_eq!(patient.manifest().unwrap(), Some(manifest));
    // Nobody waits for what is to stop.
    fs::write(&path, b"{").unwrap();
    patient.stop.store(true, Ordering::Relaxed);
    assert!(patient.manifest().unwrap_err().is_cancelled());
}

#[test]
fn who_waits_for_the_lock_can_be_stopped() {
    let root = tempfile::tempdir().unwrap();
    let held = cache(root.path(), "latest");
    let blob = export(&held, "x").records;
    let files = held.create().unwrap();
    let _lock = files.lock_alone().unwrap();
    let stopped = cache(root.path(), "latest");
    thread::scope(|scope| {
        let keeping = scope.spawn(|| stopped.keep(&blob));
        stopped.stop.store(true, Ordering::Relaxed);
        assert!(keeping.join().unwrap().unwrap_err().is_cancelled());
    });
}

#[test]
fn what_was_written_again_is_brought_to_the_disk_again() {
    let root = tempfile::tempdir().unwrap();
    let manifest = export(&cache(root.path(), "latest"), "x");
    let (records, layer) = (manifest.records, manifest.layers[0].blob);
    let again = Directory::new(root.path(), "latest", None, &access([records.digest]));
    assert_eq!(again.write(&layer, Content::Bytes(b"layer of x")).unwrap(), Sent::Present);
    assert_eq!(again.write(&records, Content::Bytes(b"records of x")).unwrap(), Sent::New);
    let new = BlobRef::of_bytes(b"new");
    assert_eq!(again.unsure(&again.create().unwrap(), &[records, layer, new]), [&records, &new]);
}

#[test]
fn what_is_known_to_be_broken_is_written_again() {
    let root = tempfile::tempdir().unwrap();
    let manifest = export(&cache(root.path(), "latest"), "x");
    let blob = manifest.records;
    fs::write(root.path().join(blob_path(blob.digest)), b"recordz of x").unwrap();
    assert!(cache(root.path(), "latest").keep(&blob).unwrap(), "it looks right");
    let knows = Directory::new(root.path(), "latest", None, &access([blob.digest]));
    assert!(!knows.keep(&blob).unwrap());
    assert_eq!(knows.write(&blob, Content::Bytes(b"records of x")).unwrap(), Sent::New);
    assert!(knows.keep(&blob).unwrap());
    assert_eq!(knows.write(&blob, Content::Bytes(b"records of x")).unwrap(), Sent::Present);
    assert_eq!(fs::read(root.path().join(blob_path(blob.digest))).unwrap(), b"records of x");
}

#[test]
fn a_document_with_other_bytes_is_broken_and_one_that_nobody_may_read_is_not() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    export(&cache, "x");
    let index: ImageIndex = serde_json::from_slice(&fs::read(root.path().join(INDEX)).unwrap()).unwrap();
    let digest = index.manifests()[0].digest().to_string().parse().unwrap();
    let path = root.path().join(blob_path(digest));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, vec![b'x'; bytes.len()]).unwrap();
    let error = cache.manifest().unwrap_err();
    assert!(matches!(error, RemoteError::Corrupt { .. }) && error.is_broken(), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(cache.manifest().unwrap_err().is_broken());
    fs::create_dir(&path).unwrap();
    let error = cache.manifest().unwrap_err();
    assert!(matches!(error, RemoteError::File { .. }) && !error.is_broken(), "{error}");
}

#[test]
fn nothing_is_made_where_a_link_leads() {
    let root = tempfile::tempdir().unwrap();
    let (path, outside) = (root.path().join("cache"), root.path().join("outside"));
    for directory in [&path, &outside] {
        fs::create_dir(directory).unwrap();
    }
    symlink(&outside, path.join("blobs")).unwrap();
    assert!(cache(&path, "latest").write(&BlobRef::of_bytes(b"kiln"), Content::Bytes(b"kiln")).is_err());
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn writers_at_once_do_not_spoil_each_other() {
    let root = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for writer in 0..4 {
            let path = root.path();
            scope.spawn(move || {
                let cache = cache(path, &format!("tag{writer}"));
                for round in 0..5 {
                    let (written, same) = (export(&cache, &format!("{writer} {round}")), "shared by all".as_bytes());
                    cache.write(&BlobRef::of_bytes(same), Content::Bytes(same)).unwrap();
                    cache.collect_garbage(Duration::from_secs(3600)).unwrap();
                    assert_eq!(cache.manifest().unwrap(), Some(written));
                }
            });
        }
    });
    let index: ImageIndex = serde_json::from_slice(&fs::read(root.path().join(INDEX)).unwrap()).unwrap();
    assert_eq!(index.manifests().len(), 4);
}

#[test]
fn garbage_is_what_nobody_names_and_nobody_wrote_lately() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    export(&cache, "old");
    let manifest = export(&cache, "new");
    fs::write(root.path().join(BLOBS).join(".partial-1-1"), b"left").unwrap();
    fs::write(root.path().join(BLOBS).join("README"), b"somebody's").unwrap();
    assert_eq!(cache.collect_garbage(Duration::from_secs(3600)).unwrap(), Collected::default());
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    for entry in fs::read_dir(root.path().join(BLOBS)).unwrap() {
        fs::File::open(entry.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
    }
    let kept = b"records of old";
    assert_eq!(cache.write(&BlobRef::of_bytes(kept), Content::Bytes(kept)).unwrap(), Sent::Present);
    let counted_on = b"layer of old";
    assert!(cache.keep(&BlobRef::of_bytes(counted_on)).unwrap());
    let collected = cache.collect_garbage(Duration::from_secs(3600)).unwrap();
    assert_eq!(collected.blobs, 4, "index, pack, config and manifest");
    assert_eq!(cache.manifest().unwrap(), Some(manifest.clone()));
    assert!(manifest.blobs().iter().all(|(blob, _)| cache.keep(blob).unwrap()));
    assert!(cache.keep(&BlobRef::of_bytes(kept)).unwrap() && cache.keep(&BlobRef::of_bytes(counted_on)).unwrap());
    assert_eq!(blobs(root.path()), 4 + 2 + 2 + 1);
}

#[test]
fn a_hostile_directory_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, b"kiln").unwrap();
    let path = root.path().join("cache");
    let cache = cache(&path, "latest");
    export(&cache, "x");
    let blob = BlobRef::of_bytes(b"kiln");
    symlink(&secret, path.join(blob_path(blob.digest))).unwrap();
    assert!(cache.read(&blob).is_err());
    assert!(cache.write(&blob, Content::Bytes(b"kiln")).is_err());

    for (index, expected) in
        [(br#"{"schemaVersion":2}"#.to_vec(), "malformed document"), (vec![b' '; 5 << 20], "more than")]
    {
        fs::write(path.join(INDEX), index).unwrap();
        let error = cache.manifest().unwrap_err();
        assert!(error.to_string().contains(expected) && error.is_broken(), "{error}");
        assert!(cache.publish(&example("x").0).is_err());
        assert!(cache.collect_garbage(Duration::ZERO).is_err());
    }
    fs::remove_file(path.join(INDEX)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join(INDEX), rustix::fs::Mode::RWXU).unwrap();
    assert!(cache.manifest().unwrap_err().to_string().contains("failed to read"));
}

#[test]
fn another_builders_cache_is_told_as_such() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path(), "latest");
    let manifest = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0","size":2,
        "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;
    cache.write(&BlobRef::of_bytes(manifest), Content::Bytes(manifest)).unwrap();
    let root_descriptor = document::describe(manifest, MediaType::ImageManifest);
    fs::write(root.path().join(INDEX), cache.tagged(None, &root_descriptor).unwrap()).unwrap();
    let error = cache.manifest().unwrap_err().to_string();
    assert!(error.ends_with("it was not made by kiln: it is `application/vnd.buildkit.cacheconfig.v0`"), "{error}");
}
