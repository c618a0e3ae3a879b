//! Compressed blocks of layers that were packed before, found again in the store's blobs.
//!
//! A memo says of a block, by its digest and the compression, in which blob its compressed form is, where, and which digest that has. It is
//! looked at before it is used: what was pruned, or is not what it was, is compressed again. Layers are often nearly what they were: a
//! program of which a line was edited, a directory of which a file changed.

use kiln_digest::{ContentDigest, Digest};
use kiln_layer::{BlobCompression, Compressed};
use kiln_store::Store;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Blocks that compress to less are not worth a row each.
const LEAST: usize = 16 << 10;

/// The blocks that one compression made.
pub(crate) struct Blocks<'a> {
    store: &'a Store,
    /// The memos' kind.
    kind: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The blob that was looked into last; most of a layer comes from one.
    open: Option<(Digest, Option<File>)>,
    /// The blocks of the blob that is being written.
    kept: Vec<(ContentDigest, Place)>,
}

/// Where a compressed block is in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u32,
    /// The digest of the compressed bytes.
    digest: ContentDigest,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(store: &'a Store, compression: BlobCompression) -> Self {
        Self { store, kind: format!("block of {}", compression.name()), state: Mutex::default() }
    }

    /// Writes down what the blob, which is in the store by now, is made of.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn remember(self, blob: &Digest) -> Result<(), kiln_store::Error> {
        let kept = self.state.into_inner().unwrap_or_else(PoisonError::into_inner).kept;
        let memos = kept.iter().map(|(block, place)| (*block.as_bytes(), place.to_bytes(blob)));
        self.store.put_memos(&self.kind, memos)
    }
}

impl Compressed for Blocks<'_> {
    fn find(&self, block: &ContentDigest) -> Option<Vec<u8>> {
        // Whatever is wrong with the store, the block can be made; what cannot is found by those who write into the store.
        let memo = self.store.memo(&self.kind, block.as_bytes()).ok()??;
        let (blob, place) = Place::from_bytes(&memo)?;
        let mut bytes = vec![0; place.length as usize];
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(&state.open, Some((open, _)) if *open == blob) {
                let file = self.store.open_blob(&blob).ok().map(|(file, _)| file);
                state.open = Some((blob, file));
            }
            let file = state.open.as_ref()?.1.as_ref()?;
            file.read_exact_at(&mut bytes, place.offset).ok()?;
        }
        (ContentDigest::of_bytes(&bytes) == place.digest).then_some(bytes)
    }

    fn keep(&self, block: &ContentDigest, offset: u64, compressed: &[u8]) {
        let Ok(length) = u32::try_from(compressed.len()) else { return };
        if compressed.len() < LEAST {
            return;
        }
        let place = Place { offset, length, digest: ContentDigest::of_bytes(compressed) };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.push((*block, place));
    }
}

impl Place {
    /// Blob, digest, offset and length, the numbers with their low byte first.
    fn to_bytes(self, blob: &Digest) -> Vec<u8> {
        [blob.as_bytes(), &self.digest.as_bytes()[..], &self.offset.to_le_bytes(), &self.length.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<(Digest, Self)> {
        let (blob, rest) = bytes.split_first_chunk::<32>()?;
        let (digest, rest) = rest.split_first_chunk::<32>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes(rest.try_into().ok()?);
        let digest = ContentDigest::from_bytes(*digest);
        Some((Digest::from_bytes(*blob), Self { offset: u64::from_le_bytes(*offset), length, digest }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layer::{BlobFormat, Builder, Meta, PackOptions, write_layer, write_layer_again};
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what is found.
    struct Counted<'a>(Blocks<'a>, AtomicUsize);

    impl Compressed for Counted<'_> {
        fn find(&self, block: &ContentDigest) -> Option<Vec<u8>> {
            self.0.find(block).inspect(|_| _ = self.1.fetch_add(1, Ordering::Relaxed))
        }
        fn keep(&self, block: &ContentDigest, offset: u64, compressed: &[u8]) {
            self.0.keep(block, offset, compressed);
        }
    }

    fn open(root: &Path) -> Store {
        Store::open(root).unwrap()
    }

    /// Packs a layer of one file with these bytes as the store does, checks that nothing can be told from it, and says how many blocks
    /// were found, and the blob.
    fn packed(store: &Store, format: BlobFormat, bytes: &[u8]) -> (usize, Digest) {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("layer");
        let builder = Builder::new(dir.clone(), None).unwrap();
        let owner = fs::metadata(work.path()).unwrap();
        let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        builder.file(Path::new("file"), &Meta { uid, gid, ..Meta::new(0o644) }, bytes).unwrap();
        builder.finish().unwrap();
        let options = PackOptions { latest: Some(0) };
        let counted = Counted(Blocks::new(store, format.into()), AtomicUsize::new(0));
        let mut writer = store.blob_writer().unwrap();
        let written = write_layer_again(&dir, format, &mut writer, &options, Some(&counted)).unwrap();
        assert_eq!(written, write_layer(&dir, format, &mut std::io::sink(), &options).unwrap());
        writer.commit(Some(&written.blob)).unwrap();
        counted.0.remember(&written.blob).unwrap();
        (counted.1.into_inner(), written.blob)
    }

    /// Bytes that compress to about half.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8 & 0x0f
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn blocks_that_did_not_change_are_found() {
        for format in [BlobFormat::Gzip, BlobFormat::Zstd] {
            let root = tempfile::tempdir().unwrap();
            let store = open(root.path());
            let mut bytes = bytes(9 << 20);
            assert_eq!(packed(&store, format, &bytes).0, 0, "{format:?}");
            // The rest of the stream is a short block, of which gzip makes too little to be kept.
            let all = if format == BlobFormat::Gzip { 36 } else { 5 };
            bytes[5 << 20] ^= 1;
            assert_eq!(packed(&store, format, &bytes).0, all - 1, "{format:?}");
            bytes[6 << 20] ^= 1;
            bytes[1 << 20] ^= 1;
            // From two blobs by now.
            assert_eq!(packed(&store, format, &bytes).0, all - 2, "{format:?}");
        }
    }

    #[test]
    fn another_compression_has_others() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let bytes = bytes(3 << 20);
        packed(&store, BlobFormat::Gzip, &bytes);
        assert_eq!(packed(&store, BlobFormat::Zstd, &bytes).0, 0);
    }

    #[test]
    fn a_blob_that_is_gone_or_changed_gives_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let mut bytes = bytes(2 << 20);
        let (_, blob) = packed(&store, BlobFormat::Gzip, &bytes);
        let path = store.blob_path(&blob);
        let mut damaged = fs::read(&path).unwrap();
        damaged[1000] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, &damaged).unwrap();
        bytes.push(0);
        // The first of the eight whole blocks is not what it was.
        let (found, blob) = packed(&store, BlobFormat::Gzip, &bytes);
        assert_eq!(found, 7);
        fs::remove_file(store.blob_path(&blob)).unwrap();
        fs::remove_file(&path).unwrap();
        bytes.push(0);
        assert_eq!(packed(&store, BlobFormat::Gzip, &bytes).0, 0);
    }
}
