//! A stranger's cache mount: an index, a pack or a listing of any bytes, the rest being whole. Nothing may appear outside of the
//! directory that it is imported into.

#![no_main]

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::atomic::AtomicBool;

use kiln_digest::{ContentDigest, Digest};
use kiln_remote::{BlobRef, Blobs, Content, RemoteError, Sent, import_mount};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Memory(HashMap<Digest, Vec<u8>>);

impl Memory {
    fn put(&mut self, bytes: Vec<u8>) -> BlobRef {
        let blob = BlobRef::of_bytes(&bytes);
        self.0.insert(blob.digest, bytes);
        blob
    }
}

impl Blobs for Memory {
    fn has(&self, blob: &BlobRef) -> Result<bool, RemoteError> {
        Ok(self.0.contains_key(&blob.digest))
    }

    fn read(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, RemoteError> {
        let missing = || RemoteError::Missing { place: "memory".to_owned(), digest: blob.digest };
        Ok(Box::new(Cursor::new(self.0.get(&blob.digest).cloned().ok_or_else(missing)?)))
    }

    fn write(&self, _: &BlobRef, _: Content<'_>) -> Result<Sent, RemoteError> {
        unreachable!("an import writes no blobs")
    }
}

fn id(bytes: &[u8]) -> String {
    ContentDigest::of_bytes(bytes).to_hex()
}

/// A pack of one chunk.
fn pack(chunk: &[u8]) -> Vec<u8> {
    let table = postcard::to_stdvec(&vec![(ContentDigest::of_bytes(chunk), chunk.len() as u32)]).expect("a table");
    let body = zstd::bulk::compress(chunk, 1).expect("a frame");
    [&b"kilnpck1"[..], &(table.len() as u32).to_le_bytes(), &table, &body].concat()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (part, data) = input;
    let mut blobs = Memory::default();
    let index = match part % 3 {
        0 => blobs.put(data.to_vec()),
        part => {
            let mut index = serde_json::json!({"version": 1, "files": 1, "size": 4, "listing": [], "listing_packs": []});
            if part == 1 {
                index["packs"] = serde_json::json!([blobs.put(data.to_vec())]);
            } else {
                index["listing"] = serde_json::json!([{"id": id(data), "size": data.len()}]);
                index["listing_packs"] = serde_json::json!([blobs.put(pack(data))]);
                index["packs"] = serde_json::json!([blobs.put(pack(b"kiln"))]);
            }
            blobs.put(index.to_string().into_bytes())
        }
    };
    let around = tempfile::tempdir().expect("a temporary directory");
    let into = around.path().join("mount");
    std::fs::create_dir(&into).expect("a directory");
    drop(import_mount(&index, &into, &blobs, &AtomicBool::new(false)));
    for entry in std::fs::read_dir(around.path()).expect("a listing") {
        assert_eq!(entry.expect("an entry").path(), into, "something escaped");
    }
});
