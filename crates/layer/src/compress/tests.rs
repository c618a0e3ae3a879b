//! The same bytes from any number of threads, and no thread left waiting when something fails.

use super::*;
use crate::{Builder, Meta};
use std::path::PathBuf;

fn layer() -> (tempfile::TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("layer");
    let builder = Builder::new(dir.clone(), None).unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let meta = Meta { uid, gid, ..Meta::new(0o644) };
    let numbers: Vec<u8> =
        (0..2_000_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect();
    builder.file(Path::new("numbers"), &meta, &numbers[..]).unwrap();
    builder.file(Path::new("zeros"), &meta, Read::take(io::repeat(0), 5 << 20)).unwrap();
    builder.finish().unwrap();
    (work, dir)
}

#[test]
fn threads_do_not_change_the_bytes() {
    let (_work, dir) = layer();
    for format in [BlobFormat::Gzip, BlobFormat::Zstd] {
        let blob = |workers| {
            let mut blob = Vec::new();
            write_with(format.into(), &mut blob, workers, None, |stream| {
                pack_into(&dir, stream, &PackOptions::default())
            })
            .unwrap();
            blob
        };
        let one = blob(1);
        for workers in [2, 3, 8] {
            assert!(blob(workers) == one, "{format:?}: {workers} threads");
        }
    }
}

/// These digests are in images that people have pushed: whoever must change them changes every layer's digest.
#[test]
fn the_bytes_are_pinned() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the pinned layer belongs to root");
        return;
    }
    let (_work, dir) = layer();
    let written = |format| write_layer(&dir, format, &mut io::sink(), &PackOptions::default()).unwrap();
    let gzip = written(BlobFormat::Gzip);
    assert_eq!(gzip.diff_id.hex(), "08135fa2f15ae316147f481c915337dd585eea5e6a90b1850fda13d5180df2d4");
    assert_eq!(gzip.blob.hex(), "20e01647bfe76175f9d2880263ee46976d7406198a8f83f44470c83768b321cb");
    assert_eq!(
        written(BlobFormat::Zstd).blob.hex(),
        "81eb7ce27a636b90fbce7aaad7883d8a40fbee5ebb039e8010a05b4e8fb8d32b"
    );
}

#[test]
fn a_stream_gives_the_blob_that_its_layer_gives() {
    let (_work, dir) = layer();
    let mut tar = Vec::new();
    pack(&dir, &mut tar, &PackOptions::default()).unwrap();
    for format in [BlobFormat::Tar, BlobFormat::Gzip, BlobFormat::Zstd] {
        let from_layer = write_layer(&dir, format, &mut io::sink(), &PackOptions::default()).unwrap();
        assert_eq!(write_stream(&mut &tar[..], format.into(), &mut io::sink()).unwrap(), from_layer);
    }
}

#[test]
fn levels_differ_and_are_named() {
    let (_work, dir) = layer();
    for (format, levels) in [(BlobFormat::Gzip, [0, 1, 9]), (BlobFormat::Zstd, [1, 3, 7])] {
        let mut last = u64::MAX;
        for level in levels {
            let compression = BlobCompression { format, level: Some(level) };
            let written = write_layer(&dir, compression, &mut io::sink(), &PackOptions::default()).unwrap();
            assert!(written.blob_size < last, "{compression:?}: {} bytes", written.blob_size);
            last = written.blob_size;
            assert!(compression.name().ends_with(&format!(":{level}")));
        }
    }
    assert_eq!(BlobCompression { format: BlobFormat::Zstd, level: Some(200) }.name(), "zstd:22");
    assert_eq!(BlobCompression::default().name(), "gzip:1");
    assert_eq!(BlobCompression::from(BlobFormat::Zstd).name(), "zstd:3");
    assert_eq!(BlobCompression { format: BlobFormat::Tar, level: Some(7) }.name(), "tar");
}

#[test]
fn a_gzip_member_has_no_time_and_no_system() {
    let (_work, dir) = layer();
    let mut blob = Vec::new();
    write_layer(&dir, BlobFormat::Gzip, &mut blob, &PackOptions::default()).unwrap();
    assert_eq!(blob[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    assert_eq!(blob[9], 255);
}

#[test]
fn failures_end_all_threads() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(buffer.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_work, dir) = layer();
    for format in [BlobFormat::Tar, BlobFormat::Gzip, BlobFormat::Zstd] {
        for room in [0, 1000] {
            let error = write_layer(&dir, format, &mut Full(room), &PackOptions::default()).unwrap_err();
            let PackError::Write(source) = error else { panic!("{error}") };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{format:?}");
        }
        let missing = write_layer(&dir.join("missing"), format, &mut io::sink(), &PackOptions::default());
        assert!(matches!(missing, Err(PackError::Layer(_))));
    }
}
