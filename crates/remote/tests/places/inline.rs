//! Caches in the configs of images.

use super::*;
use crate::docker_registry::{DockerRegistry, Setup};
use kiln_registry::{MediaType, Reference, Upload};
use kiln_remote::{INLINE_KEY, inline_member};

#[test]
fn an_image_may_carry_its_records() {
    let Some(server) = DockerRegistry::start(Setup::default()) else { return };
    let layer = noise(1, 1000);
    let diff_id = Digest::of_bytes(b"tar");
    for with_cache in [false, true] {
        let mut config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]},
        });
        if with_cache {
            config[INLINE_KEY] = inline_member(7, b"the records");
        }
        let config = config.to_string().into_bytes();
        let describe = |media_type: &str, bytes: &[u8]| {
            serde_json::json!({
                "mediaType": media_type, "digest": Digest::of_bytes(bytes).to_string(), "size": bytes.len(),
            })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.as_ref(),
            "config": describe("application/vnd.oci.image.config.v1+json", &config),
            "layers": [describe("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        });
        let access = access(Credentials::none());
        let reference = Reference::parse(&format!("{}/app:1", server.address())).unwrap();
        for bytes in [&config, &layer] {
            access.client.push_blob(reference.repository(), &Upload::of_bytes(bytes.as_slice())).unwrap();
        }
        let manifest = manifest.to_string();
        access.client.push_manifest(&reference, &MediaType::ImageManifest, manifest.as_bytes()).unwrap();

        let cache = registry(server.address(), "app:1");
        let Some(found) = cache.manifest().unwrap() else {
            assert!(!with_cache);
            continue;
        };
        assert!(with_cache);
        assert_eq!(found.layers[0].diff_id, diff_id);
        assert_eq!(read(cache.as_ref(), &found.records).unwrap(), b"the records");
        assert!(read(cache.as_ref(), &found.layers[0].blob).unwrap() == layer);
    }
}
