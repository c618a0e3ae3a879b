//! A cache of more blobs than one manifest takes, in a real registry.

#[expect(dead_code, reason = "the tests of the registry client use the rest")]
#[path = "../../../../registry/tests/support/docker_registry.rs"]
mod docker_registry;

use super::*;
use crate::manifest::tests::example;
use docker_registry::{DockerRegistry, Setup};
use kiln_registry::{Config, Credentials};
use std::collections::HashSet;

#[test]
fn what_is_too_large_for_a_manifest_is_an_index() {
    let Some(server) = DockerRegistry::start(Setup::default()) else { return };
    let reference = Reference::parse(&format!("{}/cache:large", server.address())).unwrap();
    let client = Client::new(Config::default(), Credentials::none());
    let access = Access { client: client.clone(), stop: Arc::default(), pushed: Vec::new(), broken: HashSet::new() };
    let cache = Registry::new(client.clone(), &reference, &access);
    for text in ["first", "second"] {
        let (manifest, contents) = example(text);
        for bytes in &contents {
            cache.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes)).unwrap();
        }
        cache.put(&Documents::cut(&manifest, 3)).unwrap();
        assert!(matches!(client.manifest(&reference).unwrap().manifest, Manifest::Index(_)));
        assert_eq!(cache.manifest().unwrap(), Some(manifest));
    }
}
