//! Buckets: what only they have.

use super::*;
use crate::moto::Moto;

#[test]
fn garbage_is_what_no_manifest_names() {
    let Some(server) = Moto::start() else { return };
    let cache = bucket(server.address(), "main");
    let (old, old_contents) = example(1, 100);
    export(cache.as_ref(), &old, &old_contents).unwrap();
    let (other, other_contents) = example(2, 100);
    export(bucket(server.address(), "other").as_ref(), &other, &other_contents).unwrap();
    let (new, new_contents) = example(3, 100);
    export(cache.as_ref(), &new, &new_contents).unwrap();

    assert_eq!(cache.collect_garbage(Duration::from_secs(3600)).unwrap().blobs, 0, "all were written lately");
    let collected = cache.collect_garbage(Duration::ZERO).unwrap();
    let size: usize = old_contents.iter().map(Vec::len).sum();
    assert_eq!((collected.blobs, collected.bytes), (4, size as u64));
    for bytes in new_contents.iter().chain(&other_contents) {
        assert!(read(cache.as_ref(), &BlobRef::of_bytes(bytes)).unwrap() == *bytes);
    }
    assert!(!bucket(server.address(), "main").keep(&old.records).unwrap());
}

#[test]
fn a_cache_may_have_several_names() {
    let Some(server) = Moto::start() else { return };
    let (manifest, contents) = example(1, 100);
    export(bucket(server.address(), "one;two").as_ref(), &manifest, &contents).unwrap();
    for name in ["one", "two"] {
        assert_eq!(bucket(server.address(), name).manifest().unwrap().as_ref(), Some(&manifest));
    }
}

#[test]
fn what_cannot_be_reached_is_told_without_secrets() {
    let Some(server) = Moto::start() else { return };
    let no_bucket = format!(
        "type=s3,bucket=elsewhere,region=us-east-1,endpoint_url=http://{},use_path_style=true,access_key_id=kiln,\
         secret_access_key=geheim",
        server.address()
    );
    let cache = open(&no_bucket, &access(Credentials::none()));
    let (_, contents) = example(1, 10);
    let error = cache.write(&BlobRef::of_bytes(&contents[0]), Content::Bytes(&contents[0])).unwrap_err().to_string();
    assert!(error.starts_with("bucket `elsewhere/manifests/kiln`: failed to"), "{error}");
    assert!(!error.contains("geheim") && !error.contains('\n'), "{error}");
}

#[test]
fn another_builders_manifest_is_told_and_kept() {
    let Some(server) = Moto::start() else { return };
    let cache = bucket(server.address(), "main");
    let (manifest, contents) = example(1, 10);
    export(cache.as_ref(), &manifest, &contents).unwrap();
    // BuildKit's, as far as it matters: digests somewhere in a JSON document.
    let theirs = format!("{{\"layers\":[{{\"blob\":\"{}\"}}],\"records\":[]}}", manifest.layers[0].blob.digest);
    server.put("some/manifests/buildkit", theirs.as_bytes());
    server.put("some/manifests/main", b"{\"layers\":[],\"records\":[]}");
    let error = cache.manifest().unwrap_err().to_string();
    assert!(error.contains("cannot be used"), "{error}");
    assert_eq!(cache.collect_garbage(Duration::ZERO).unwrap().blobs, 3);
    assert!(cache.keep(&manifest.layers[0].blob).unwrap());
}
