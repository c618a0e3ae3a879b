//! What a registry answers: manifests, indexes and image configs.

#![no_main]

use kiln_lower::ImageConfig;
use kiln_registry::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, &[u8])| {
    let (content_type, bytes) = input;
    drop(Manifest::parse(bytes, content_type));
    if let Ok(config) = ImageConfig::from_json(bytes) {
        let again = ImageConfig::from_json(&config.to_json()).expect("what kiln writes it reads");
        assert_eq!(config, again);
    }
});
