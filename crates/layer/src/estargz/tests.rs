//! Blobs are read as runtimes read them: by the footer, the table of contents and the offsets in it, with decoders that are not ours.

use super::*;
use crate::compress::BlobFormat;
use flate2::read::{GzDecoder, MultiGzDecoder};
use serde_json::Value;
use std::io::{Cursor, Seek};

fn convert(archive: &[u8]) -> (Vec<u8>, Written) {
    let mut blob = Vec::new();
    let compression = BlobCompression::from(BlobFormat::Estargz);
    let written = write_stream(&mut Cursor::new(archive), compression, &mut blob).unwrap();
    assert_eq!((written.blob, written.blob_size), (Digest::of_bytes(&blob), blob.len() as u64));
    assert_eq!(written.source, Digest::of_bytes(archive));
    (blob, written)
}

/// The table of contents, found as a runtime finds it: by the last bytes.
fn table(blob: &[u8]) -> (Value, Digest) {
    let (rest, last) = blob.split_at(blob.len() - footer::LENGTH);
    let start = footer::decode(last.try_into().unwrap()).unwrap() as usize;
    let mut tar = Vec::new();
    GzDecoder::new(&rest[start..]).read_to_end(&mut tar).unwrap();
    let mut archive = Archive::new(&tar[..], u64::MAX);
    let member = archive.next().unwrap().unwrap();
    assert_eq!(member.path, TOC.as_bytes());
    let json = &tar[BLOCK..BLOCK + member.size as usize];
    (serde_json::from_slice(json).unwrap(), Digest::of_bytes(json))
}

/// The bytes of a file, fetched by its entries alone, each verified.
fn fetch(blob: &[u8], toc: &Value, name: &str) -> Vec<u8> {
    let entries = toc["entries"].as_array().unwrap();
    let of_file: Vec<_> = entries.iter().filter(|entry| entry["name"] == name).collect();
    let size = of_file[0]["size"].as_u64().unwrap_or(0);
    let mut bytes = Vec::new();
    for (number, entry) in of_file.iter().enumerate() {
        assert_eq!(entry["type"], if number == 0 { "reg" } else { "chunk" });
        let at = entry["chunkOffset"].as_u64().unwrap_or(0);
        assert_eq!(at, bytes.len() as u64);
        let length = entry["chunkSize"].as_u64().unwrap_or(size - at);
        let mut chunk = vec![0; length as usize];
        let start = entry["offset"].as_u64().unwrap() as usize;
        GzDecoder::new(&blob[start..]).read_exact(&mut chunk).unwrap();
        assert_eq!(entry["chunkDigest"], Digest::of_bytes(&chunk).to_string());
        bytes.extend(chunk);
    }
    assert_eq!(bytes.len() as u64, size);
    assert_eq!(of_file[0]["digest"], Digest::of_bytes(&bytes).to_string());
    bytes
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

fn header(path: &str, size: usize) -> Vec<u8> {
    Header { mode: 0o644, size: size as u64, mtime: 1_700_000_000, ..Header::file(path.as_bytes()) }.blocks()
}

fn file(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut blocks = header(path, bytes.len());
    blocks.extend(bytes);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    blocks
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = members.concat();
    archive.extend([0; 2 * BLOCK]);
    archive
}

#[test]
fn each_file_is_read_by_its_entry_alone() {
    let large = noise(2 * CHUNK as usize + 700);
    let exact = noise(CHUNK as usize);
    let directory = Header { flag: b'5', mode: 0o755, ..Header::file(b"etc/") }.blocks();
    let attributes = [("user.k".into(), b"v\0".to_vec())];
    let link = Header { flag: b'2', link: b"../x", ..Header::file(b"etc/link") }.blocks();
    let device = Header { flag: b'3', device: (1, 3), xattrs: &attributes, ..Header::file(b"null") }.blocks();
    let members = [
        directory,
        file("etc/a", b"kiln"),
        file("empty", b""),
        link,
        file("large", &large),
        file("exact", &exact),
        device,
    ];
    let (blob, written) = convert(&archive(&members));
    let (toc, digest) = table(&blob);
    assert_eq!(toc["version"], 1);
    assert_eq!(fetch(&blob, &toc, "etc/a"), b"kiln");
    assert!(fetch(&blob, &toc, "large") == large && fetch(&blob, &toc, "exact") == exact);
    assert_eq!(fetch(&blob, &toc, NO_PREFETCH), [LANDMARK]);
    let entries = toc["entries"].as_array().unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    let expected = [NO_PREFETCH, "etc/", "etc/a", "empty", "etc/link", "large", "large", "large", "exact", "null"];
    assert_eq!(names, expected);
    let entry = |name: &str| &entries[names.iter().position(|other| *other == name).unwrap()];
    assert_eq!((&entry("etc/")["type"], &entry("etc/")["mode"]), (&"dir".into(), &0o755.into()));
    assert_eq!(entry("etc/a")["modtime"], "2023-11-14T22:13:20Z");
    assert_eq!(entry("etc/link")["linkName"], "../x");
    assert_eq!((&entry("null")["devMajor"], &entry("null")["devMinor"]), (&1.into(), &3.into()));
    assert_eq!(entry("null")["xattrs"]["user.k"], "dgA=");
    assert!(entry("empty")["offset"].is_null() && entry("empty")["modtime"].is_string());

    // Whoever knows nothing of it reads one archive.
    let mut tar = Vec::new();
    MultiGzDecoder::new(&blob[..]).read_to_end(&mut tar).unwrap();
    assert_eq!((written.diff_id, written.uncompressed_size), (Digest::of_bytes(&tar), tar.len() as u64));
    let mut read = tar::Archive::new(&tar[..]);
    let paths: Vec<_> = read.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(paths.len(), members.len() + 2);
    assert_eq!((paths[0].to_str(), paths.last().unwrap().to_str()), (Some(NO_PREFETCH), Some(TOC)));

    let mut stored = tempfile::tempfile().unwrap();
    stored.write_all(&blob).unwrap();
    assert_eq!(toc_digest(&stored).unwrap(), Some(digest));
}

#[test]
fn a_conversion_of_a_conversion_is_the_same_blob() {
    let (blob, written) = convert(&archive(&[file("./a", b"kiln"), header("b", 0)]));
    let mut tar = Vec::new();
    MultiGzDecoder::new(&blob[..]).read_to_end(&mut tar).unwrap();
    let (again, second) = convert(&tar);
    assert!(again == blob && second.diff_id == written.diff_id);
}

#[test]
fn the_holes_of_a_sparse_file_are_zeros() {
    // Version 0.1: data at 1024 and nothing else in 4096 bytes.
    let mut records = Vec::new();
    for (key, value) in [("GNU.sparse.size", "4096"), ("GNU.sparse.map", "1024,4,4096,0")] {
        crate::tar::pax::push(&mut records, key.as_bytes(), value.as_bytes());
    }
    let mut extended = Header { flag: b'x', size: records.len() as u64, ..Header::file(b"x") }.blocks();
    extended.extend(&records);
    extended.resize(extended.len().next_multiple_of(BLOCK), 0);
    let (blob, _) = convert(&archive(&[extended, file("sparse", b"kiln"), file("next", b"1")]));
    let (toc, _) = table(&blob);
    let mut expected = vec![0; 4096];
    expected[1024..1028].copy_from_slice(b"kiln");
    assert_eq!(fetch(&blob, &toc, "sparse"), expected);
    assert_eq!(fetch(&blob, &toc, "next"), b"1");
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let convert = |archive: &[u8]| {
        write_stream(&mut Cursor::new(archive), BlobFormat::Estargz.into(), &mut io::sink()).unwrap_err()
    };
    let mut name = header("name", 0);
    name[0] = 0xff;
    let sum: u32 =
        name.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) }).sum();
    name[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert!(matches!(convert(&name), PackError::NotText { .. }));
    assert!(matches!(convert(&file("a", &[1; 2000])[..1024]), PackError::Tar(_)));
    assert!(matches!(convert(&[7; BLOCK]), PackError::Tar(_)));
}

#[test]
fn other_blobs_have_no_table_of_contents() {
    let with = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        toc_digest(&file).unwrap()
    };
    assert_eq!(with(b""), None);
    assert_eq!(with(&[0; 600]), None);
    // A footer that leads nowhere, beyond the end, or to something else.
    for offset in [0, 7, u64::MAX] {
        assert_eq!(with(&[&[0; 100][..], &footer::encode(offset)].concat()), None);
    }
    let (blob, _) = convert(&archive(&[file("a", b"kiln")]));
    let (rest, _) = blob.split_at(blob.len() - footer::LENGTH);
    assert_eq!(with(&[rest, &footer::encode(0)].concat()), None);
    assert!(with(&blob).is_some());
}
