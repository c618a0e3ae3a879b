//! Small OCI image layouts (image-spec, image-layout.md), made of noise.

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln_digest::Digest;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;

const OCI: &str = "application/vnd.oci.image";

/// Noise that does not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// Writes a layout with the images `one` (layers of the given sizes) and `many` (an index of two images).
pub(crate) fn write(directory: &Path, layers: &[usize]) {
    fs::create_dir_all(directory.join("blobs/sha256")).expect("layout");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
    let one = image(directory, "amd64", layers);
    let other = image(directory, "arm64", &layers[..1]);
    let platform = |descriptor: &Value, architecture: &str| {
        let mut descriptor = descriptor.clone();
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": format!("{OCI}.index.v1+json"),
        "manifests": [platform(&one, "amd64"), platform(&other, "arm64")],
    });
    let many = blob(directory, &format!("{OCI}.index.v1+json"), index.to_string().as_bytes());
    let named = |mut descriptor: Value, name: &str| {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        descriptor
    };
    let top = json!({"schemaVersion": 2, "manifests": [named(one, "one"), named(many, "many")]});
    fs::write(directory.join("index.json"), top.to_string()).expect("layout");
}

fn image(directory: &Path, architecture: &str, layers: &[usize]) -> Value {
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for (number, &size) in layers.iter().enumerate() {
        let bytes = noise(number as u64 + 1, size);
        diff_ids.push(Digest::of_bytes(&bytes).to_string());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&bytes).expect("in memory");
        let bytes = gzip.finish().expect("in memory");
        descriptors.push(blob(directory, &format!("{OCI}.layer.v1.tar+gzip"), &bytes));
    }
    let config = json!({
        "os": "linux",
        "architecture": architecture,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blob(directory, &format!("{OCI}.config.v1+json"), config.to_string().as_bytes());
    let media_type = format!("{OCI}.manifest.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors});
    blob(directory, &media_type, manifest.to_string().as_bytes())
}

fn blob(directory: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of_bytes(bytes);
    fs::write(directory.join("blobs/sha256").join(digest.hex()), bytes).expect("blob");
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
}
