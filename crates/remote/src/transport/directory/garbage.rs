//! Garbage collection of a layout: blobs that its index does not lead to, and what killed writers left.
//!
//! It holds the layout's lock, so that nothing is published or kept meanwhile. If any document cannot be read, nothing at all is deleted.

use super::files::{Files, PARTIAL};
use super::{BLOBS, Directory, blob_path};
use crate::blob::BlobRef;
use crate::error::{ManifestProblem, RemoteError};
use crate::transport::{Collected, document};
use kiln_digest::Digest;
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use serde_json::Value;
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The members of a manifest or an index that hold descriptors.
const DESCRIPTORS: [&str; 5] = ["config", "layers", "manifests", "blobs", "subject"];

pub(super) fn collect(directory: &Directory, grace: Duration) -> Result<Collected, RemoteError> {
    let Some(files) = directory.open()? else { return Ok(Collected::default()) };
    if files.find(super::INDEX)?.is_none() {
        return Ok(Collected::default());
    }
    let _lock = files.lock_alone()?;
    let named = named(directory, &files)?;
    let oldest = SystemTime::now().checked_sub(grace).unwrap_or(UNIX_EPOCH);
    let oldest = oldest.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut collected = Collected::default();
    for place in [BLOBS, "."] {
        let failed = |error: Errno| RemoteError::file("clear", &directory.path.join(place))(error.into());
        let files = files.directory(place)?;
        for entry in Dir::read_from(&files).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let blob = format!("sha256:{name}").parse::<Digest>().ok().filter(|_| place == BLOBS);
            if !name.starts_with(PARTIAL) && blob.is_none_or(|digest| named.contains(&digest)) {
                continue;
            }
            let stat = match rustix::fs::statat(&files, name, AtFlags::SYMLINK_NOFOLLOW) {
                // A writer has just finished what had this name.
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed)?,
            };
            let written = u64::try_from(stat.st_mtime).unwrap_or(0);
            if written > oldest || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            match rustix::fs::unlinkat(&files, name, AtFlags::empty()) {
                Err(Errno::NOENT) => continue,
                deleted => deleted.map_err(failed)?,
            }
            collected.blobs += u64::from(blob.is_some());
            collected.bytes += stat.st_size.cast_unsigned();
        }
    }
    Ok(collected)
}

/// All blobs that the index leads to.
fn named(directory: &Directory, files: &Files<'_>) -> Result<HashSet<Digest>, RemoteError> {
    let mut named = HashSet::new();
    let Some(index) = directory.index(files)? else { return Ok(named) };
    let layout: Value = serde_json::from_slice(&index).map_err(|error| directory.unusable(error))?;
    if !layout["manifests"].is_array() {
        return Err(directory.unusable(ManifestProblem::Foreign("a document without manifests".to_owned())));
    }
    let mut documents = vec![index];
    while let Some(bytes) = documents.pop() {
        let document: Value = serde_json::from_slice(&bytes).map_err(|error| directory.unusable(error))?;
        for descriptor in descriptors(&document) {
            let blob = blob(descriptor).map_err(|problem| directory.unusable(problem))?;
            if !named.insert(blob.digest) || !is_document(descriptor) {
                continue;
            }
            // What is not there leads nowhere.
            if files.find(&blob_path(blob.digest))?.is_some() {
                documents.push(directory.document(files, &blob, document::DOCUMENT_MAX)?);
            }
        }
    }
    Ok(named)
}

fn descriptors(document: &Value) -> impl Iterator<Item = &Value> {
    DESCRIPTORS.iter().filter_map(|name| document.get(name)).flat_map(|member| match member {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    })
}

fn is_document(descriptor: &Value) -> bool {
    let kind = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    kind.contains(".manifest.") || kind.contains(".index.v1+json")
}

fn blob(descriptor: &Value) -> Result<BlobRef, ManifestProblem> {
    Ok(serde_json::from_value(descriptor.clone())?)
}
