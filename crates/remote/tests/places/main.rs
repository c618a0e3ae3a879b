//! Caches in real places: a directory, Debian's `docker-registry`, and a server that speaks S3's protocol.

#[expect(dead_code, reason = "the tests of the registry client use the rest")]
#[path = "../../../registry/tests/support/docker_registry.rs"]
mod docker_registry;
#[expect(dead_code, reason = "the tests of the registry client use all of it")]
#[path = "../../../registry/tests/support/faulty_proxy.rs"]
mod faulty_proxy;
#[path = "../support/moto.rs"]
mod moto;

mod contract;
mod faults;
mod inline;
mod killed;
mod s3;

use kiln_digest::Digest;
use kiln_registry::{Client, Config, Credentials, Policy};
use kiln_remote::{
    Access, BlobRef, CacheImport, CacheManifest, CachedLayer, CachedMount, Content, MANIFEST_VERSION, Remote,
    RemoteError, Sent, connect,
};
use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

fn access(credentials: Credentials) -> Access {
    let policy = Policy {
        idle_timeout: Duration::from_secs(5),
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(200),
        ..Policy::default()
    };
    let client = Client::with_policy(Config::default(), credentials, policy, Arc::default());
    Access { client, stop: Arc::default(), pushed: Vec::new(), broken: HashSet::new() }
}

/// The cache at a location, as `--cache-from` has it.
fn open(location: &str, access: &Access) -> Box<dyn Remote> {
    let fields: Vec<_> = location.split(',').map(str::to_owned).collect();
    let import = CacheImport::parse(&fields, &|_| None).expect("a location").remove(0);
    connect(&import.location, access).expect("a place that is supported")
}

fn registry(address: &str, name: &str) -> Box<dyn Remote> {
    open(&format!("type=registry,ref={address}/{name}"), &access(Credentials::none()))
}

fn bucket(address: &str, name: &str) -> Box<dyn Remote> {
    let location = format!(
        "type=s3,bucket={},region=us-east-1,endpoint_url=http://{address},use_path_style=true,prefix=some/,name={name},\
         access_key_id=kiln,secret_access_key=geheim",
        moto::BUCKET
    );
    open(&location, &access(Credentials::none()))
}

/// Bytes that follow from the seed and do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A cache of a layer and a mount, and the contents of its blobs.
fn example(seed: u64, layer_size: usize) -> (CacheManifest, Vec<Vec<u8>>) {
    let contents = vec![
        format!("records {seed}").into_bytes(),
        noise(seed, layer_size),
        format!("index {seed}").into_bytes(),
        noise(seed + 1000, 3000),
    ];
    let blob = |number: usize| BlobRef::of_bytes(&contents[number]);
    let manifest = CacheManifest {
        version: MANIFEST_VERSION,
        created: seed,
        records: blob(0),
        layers: vec![CachedLayer {
            diff_id: Digest::of_bytes(b"tar"),
            blob: blob(1),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        }],
        mounts: vec![CachedMount {
            key: "go".to_owned(),
            index: blob(2),
            packs: vec![blob(3)],
            size: 1,
            used: 1,
            mode: 0o755,
            uid: 0,
            gid: 0,
        }],
    };
    (manifest, contents)
}

fn export(cache: &dyn Remote, manifest: &CacheManifest, contents: &[Vec<u8>]) -> Result<(), RemoteError> {
    for bytes in contents {
        cache.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes))?;
    }
    cache.publish(manifest).map(drop)
}

fn read(cache: &dyn Remote, blob: &BlobRef) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = cache.read(blob).map_err(|error| error.to_string())?;
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
