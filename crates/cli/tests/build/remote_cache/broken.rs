//! Caches that are damaged, foreign or hostile: a warning and a miss, never a failed build or a wrong result.

use super::{MOUNTED, Machines, published};
use crate::support::Kiln;
use kiln_digest::Digest;
use serde_json::Value;
use std::fs;
use std::path::Path;

#[test]
fn caches_that_cannot_be_used_are_warnings() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one > /one\n") else { return };
    machines.export();
    let index = machines.cache().join("index.json");
    let before = fs::read_to_string(&index).expect("an index");
    let builds_by_itself = |what: &str| {
        let kiln = Kiln::for_builds().expect("as before");
        kiln.write("Dockerfile", "FROM base\nRUN echo one > /one\n");
        let ran = kiln.build(["-t", "app", &machines.from()]);
        ran.succeeds().stderr_has("2 steps ran").stderr_has("warning").stderr_has(what);
        kiln.run(["run", "app", "cat", "/one"]).succeeds().stdout_is("one\n");
    };
    fs::write(&index, "no JSON").expect("an index");
    builds_by_itself("malformed");
    fs::write(&index, &before).expect("an index");
    // Each blob once without its bytes, and once with others.
    for entry in
        fs::read_dir(machines.cache().join("blobs/sha256")).expect("blobs").map(|entry| entry.expect("a blob").path())
    {
        let bytes = fs::read(&entry).expect("a blob");
        let mut other = bytes.clone();
        other[bytes.len() / 2] ^= 1;
        fs::write(&entry, other).expect("a blob");
        builds_by_itself("cache");
        fs::remove_file(&entry).expect("a blob");
        builds_by_itself("cache");
        fs::write(&entry, bytes).expect("a blob");
    }
}

#[test]
fn a_record_that_lies_of_its_layer_is_not_believed() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one > /one\n") else { return };
    machines.export();
    // The same records, with the layer of another step below the diff id and the digest of this one.
    let other = Machines::new("FROM base\nRUN echo two > /two\n").expect("as before");
    other.export();
    let (mut manifest, foreign) = (published(&machines.cache()), published(&other.cache()));
    manifest["layers"][0]["blob"] = foreign["layers"][0]["blob"].clone();
    copy_blobs(&other.cache(), &machines.cache());
    replace(&machines.cache(), &manifest);
    let ran = machines.import();
    ran.stderr_has("2 steps ran").stderr_has("unpacks to");
    machines.runner.run(["run", "app", "cat", "/one"]).succeeds().stdout_is("one\n");
}

#[test]
fn a_broken_cache_mount_is_a_warning_and_an_empty_mount() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let document = published(&machines.cache());
    let things = &document["mounts"][1];
    for blob in [&things["index"], &things["packs"][0]] {
        let hex = blob["digest"].as_str().expect("a digest").replace("sha256:", "");
        fs::write(machines.cache().join("blobs/sha256").join(hex), "other bytes").expect("a blob");
        let runner = Kiln::for_builds().expect("as before");
        runner.write("Dockerfile", MOUNTED).write("main", "two\n");
        let ran = runner.build([machines.from()]);
        ran.succeeds().stderr_has("the cache mount `things` from").logs("two");
        assert!(!ran.logged("one"), "{ran}");
    }
}

const SMALL: &str = "FROM base\nRUN echo one > /one\n";

#[test]
fn caches_of_other_versions_and_makers_are_told() {
    let Some(machines) = Machines::new(SMALL) else { return };
    machines.export();
    let own = published(&machines.cache());
    let ran = |expected: &str| {
        let runner = Kiln::for_builds().expect("as before");
        runner.write("Dockerfile", SMALL);
        let ran = runner.build([machines.from()]);
        ran.succeeds().stderr_has("building without a cache that was asked for").stderr_has(expected);
        ran.executed("RUN echo one");
    };
    let mut newer = own.clone();
    newer["version"] = 2.into();
    replace(&machines.cache(), &newer);
    ran("it is of version 2, and this kiln reads version 1");
    // The records have a version of their own.
    let mut newer = own.clone();
    newer["records"] = put(&machines.cache(), br#"{"version":7,"steps":{}}"#);
    replace(&machines.cache(), &newer);
    ran("its records are of version 7");

    // A cache of BuildKit's, as an image manifest and as an index of layers.
    let layer = serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"});
    let with = |mut descriptor: Value, blob: Value| {
        (descriptor["digest"], descriptor["size"]) = (blob["digest"].clone(), blob["size"].clone());
        descriptor
    };
    let layer = with(layer, own["layers"][0]["blob"].clone());
    let config = put(&machines.cache(), br#"{"layers":[],"records":[]}"#);
    let config = with(serde_json::json!({"mediaType": "application/vnd.buildkit.cacheconfig.v0"}), config);
    let image = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    publish(&machines.cache(), "application/vnd.oci.image.manifest.v1+json", &image);
    ran("it was not made by kiln: it is `application/vnd.buildkit.cacheconfig.v0`");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [layer, config]});
    publish(&machines.cache(), "application/vnd.oci.image.index.v1+json", &index);
    ran("it was not made by kiln");
}

#[test]
fn what_a_hostile_cache_says_of_its_blobs_is_not_believed() {
    let Some(machines) = Machines::new(SMALL) else { return };
    machines.export();
    let own = published(&machines.cache());
    let size = own["layers"][0]["blob"]["size"].as_u64().expect("a size");
    let records = own["records"]["digest"].as_str().expect("a digest").replace("sha256:", "");
    let records = fs::read(machines.cache().join("blobs/sha256").join(records)).expect("records");
    let builds_by_itself = |manifest: &Value| {
        replace(&machines.cache(), manifest);
        let runner = Kiln::for_builds().expect("as before");
        runner.write("Dockerfile", SMALL);
        let ran = runner.build(["-t", "app", &machines.from()]);
        ran.succeeds().stderr_has("warning").stderr_has("2 steps ran");
        runner.run(["run", "app", "cat", "/one"]).succeeds().stdout_is("one\n");
        assert!(!runner.path("escaped").exists() && !runner.root().join("escaped").exists());
        ran
    };
    for (pointer, value) in [
        ("/layers/0/blob/size", (size + 1).into()),
        ("/layers/0/blob/size", (size - 1).into()),
        ("/layers/0/blob/size", u64::MAX.into()),
        ("/layers/0/blob/digest", "sha256:../../../../etc/passwd".into()),
        ("/layers/0/media_type", "text/\u{1b}[31mred".into()),
        ("/records/size", (1_u64 << 40).into()),
    ] {
        let mut manifest = own.clone();
        *manifest.pointer_mut(pointer).expect("a member") = value;
        builds_by_itself(&manifest).stderr_lacks("\u{1b}");
    }
    // A layer that leads out of its directory, with the diff id that its records say.
    let tar = tar_of(&["../escaped", "../../escaped", "../../../../escaped", "/../escaped"]);
    let mut records: Value = serde_json::from_slice(&records).expect("JSON");
    records["steps"][0]["diff_id"] = Digest::of_bytes(&tar).to_string().into();
    let mut manifest = own.clone();
    manifest["records"] = put(&machines.cache(), records.to_string().as_bytes());
    manifest["layers"][0]["diff_id"] = records["steps"][0]["diff_id"].clone();
    manifest["layers"][0]["media_type"] = "application/vnd.oci.image.layer.v1.tar".into();
    manifest["layers"][0]["blob"] = put(&machines.cache(), &tar);
    builds_by_itself(&manifest).stderr_has("a cached layer from directory");
}

/// A tar of files with these names, whatever they are.
fn tar_of(names: &[&str]) -> Vec<u8> {
    let mut tar = Vec::new();
    for name in names {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, text) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (124, "00000000001\0")] {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        let mut content = [0; 512];
        content[0] = b'x';
        tar.extend(content);
    }
    tar.extend([0; 1024]);
    tar
}

fn copy_blobs(from: &Path, to: &Path) {
    for entry in fs::read_dir(from.join("blobs/sha256")).expect("blobs").flatten() {
        fs::copy(entry.path(), to.join("blobs/sha256").join(entry.file_name())).expect("a copy");
    }
}

/// Makes a cache hold another manifest, with all digests right.
fn replace(cache: &Path, manifest: &Value) {
    let index = document(&cache.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").replace("sha256:", "");
    let mut image = document(&cache.join("blobs/sha256").join(digest));
    let blob = put(cache, manifest.to_string().as_bytes());
    (image["config"]["digest"], image["config"]["size"]) = (blob["digest"].clone(), blob["size"].clone());
    publish(cache, "application/vnd.oci.image.manifest.v1+json", &image);
}

/// Makes a layout's tag mean another document.
fn publish(cache: &Path, media_type: &str, root: &Value) {
    let mut index = document(&cache.join("index.json"));
    let blob = put(cache, root.to_string().as_bytes());
    let tag = &mut index["manifests"][0];
    (tag["digest"], tag["size"], tag["mediaType"]) = (blob["digest"].clone(), blob["size"].clone(), media_type.into());
    fs::write(cache.join("index.json"), index.to_string()).expect("an index");
}

/// Writes a blob, and says what it is.
fn put(cache: &Path, bytes: &[u8]) -> Value {
    let digest = Digest::of_bytes(bytes);
    fs::write(cache.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
    serde_json::json!({"digest": digest.to_string(), "size": bytes.len()})
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
}
