//! A cache of more blobs than one manifest takes, in a real registry; and one that a token service refuses.

#[expect(dead_code, reason = "the tests of the registry client use the rest")]
#[path = "../../../../registry/tests/support/docker_registry.rs"]
mod docker_registry;
#[expect(dead_code, reason = "the tests of the registry client use the rest")]
#[path = "../../../../registry/tests/support/faulty_server.rs"]
mod faulty_server;

use super::*;
use crate::manifest::tests::example;
use docker_registry::{DockerRegistry, Setup};
use faulty_server::{Answer, FaultyServer};
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

#[test]
fn a_token_service_that_refuses_denies() {
    for (status, denied) in [(403, true), (401, true), (404, false)] {
        let address = Arc::new(OnceLock::<String>::new());
        let known = Arc::clone(&address);
        let server = FaultyServer::start(move |request, _| {
            if request.target.starts_with("/token") {
                return Answer::new(status, r#"{"details":"not for you"}"#);
            }
            let realm = format!("http://{}/token", known.get().unwrap());
            Answer::new(401, "").with("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"the service\""))
        });
        address.set(server.address()).unwrap();
        let reference = Reference::parse(&format!("{}/cache:main", server.address())).unwrap();
        let client = Client::new(Config::default(), Credentials::none());
        let access =
            Access { client: client.clone(), stop: Arc::default(), pushed: Vec::new(), broken: HashSet::new() };
        let error = Registry::new(client, &reference, &access).manifest().unwrap_err();
        assert!(matches!(error, RemoteError::Registry(RegistryError::Token { .. })), "{error}");
        assert_eq!(error.is_denied(), denied, "{error}");
    }
}
