//! A stranger's layer: decompressed and unpacked. Nothing may appear outside of the layer's own directory.

#![no_main]

use std::io::Cursor;

use kiln_layer::{ApplyOptions, Contents, Limits, apply, decompress};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(reader) = decompress(Cursor::new(data.to_vec())) else { return };
    let around = tempfile::tempdir().expect("a temporary directory");
    let limits = Limits { size: 16 << 20, entries: 10_000, ..Limits::default() };
    let options = ApplyOptions { contents: Contents::Layer, base: None, limits };
    let layer = around.path().join("layer");
    drop(apply(reader, &layer, &options));
    for entry in std::fs::read_dir(around.path()).expect("a listing") {
        assert_eq!(entry.expect("an entry").path(), layer, "something escaped");
    }
});
