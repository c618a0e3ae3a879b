//! What every place does.

use super::*;
use crate::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::moto::Moto;
use kiln_registry::Credential;

/// Two caches of the same place, opened anew for each step, as different machines do.
fn keeps_its_word(cache: &dyn Fn(&str) -> Box<dyn Remote>) {
    assert_eq!(cache("main").manifest().unwrap(), None);
    let (manifest, contents) = example(1, 9_000_000);
    let layer = manifest.layers[0].blob;
    assert!(!cache("main").keep(&layer).unwrap());
    assert!(
        cache("main")
            .read(&layer)
            .and_then(|mut reader| { reader.read_to_end(&mut Vec::new()).map_err(|_| RemoteError::Cancelled) })
            .is_err()
    );
    // Large blobs are read from files.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &contents[1]).unwrap();
    assert_eq!(cache("main").write(&layer, Content::File(file.path())).unwrap(), Sent::New);
    assert_eq!(cache("main").write(&layer, Content::File(file.path())).unwrap(), Sent::Present);
    assert!(cache("main").keep(&layer).unwrap());
    assert!(cache("main").publish(&manifest).is_err(), "not all of it is there");
    assert_eq!(cache("main").manifest().unwrap(), None);
    export(cache("main").as_ref(), &manifest, &contents).unwrap();
    assert_eq!(cache("main").manifest().unwrap().as_ref(), Some(&manifest));
    for bytes in &contents {
        assert!(read(cache("main").as_ref(), &BlobRef::of_bytes(bytes)).unwrap() == *bytes);
    }
    let wrong_size = BlobRef { size: layer.size - 1, ..layer };
    assert!(read(cache("main").as_ref(), &wrong_size).is_err());

    let error = cache("main").write(&BlobRef::of_bytes(b"other"), Content::File(file.path())).unwrap_err();
    assert!(!error.to_string().is_empty());
    assert!(!cache("main").keep(&BlobRef::of_bytes(b"other")).unwrap());

    let (branch, contents) = example(2, 10);
    export(cache("branch").as_ref(), &branch, &contents).unwrap();
    assert_eq!(cache("main").manifest().unwrap(), Some(manifest));
    assert_eq!(cache("branch").manifest().unwrap(), Some(branch));
    let (again, contents) = example(3, 0);
    export(cache("main").as_ref(), &again, &contents).unwrap();
    assert_eq!(cache("main").manifest().unwrap().as_ref(), Some(&again));
    assert_eq!(read(cache("main").as_ref(), &again.layers[0].blob).unwrap(), b"");
}

#[test]
fn a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    keeps_its_word(&|tag| open(&format!("type=local,src={},tag={tag}", path.display()), &access(Credentials::none())));
}

#[test]
fn a_registry() {
    let Some(server) = DockerRegistry::start(Setup::default()) else { return };
    keeps_its_word(&|tag| registry(server.address(), &format!("cache:{tag}")));
    // What a registry has, it has verified; but nobody counts on it before it was said to be there again.
    let records = registry(server.address(), "cache:main").manifest().unwrap().expect("a cache").records;
    let knows = Access { broken: HashSet::from([records.digest]), ..access(Credentials::none()) };
    let cache = open(&format!("type=registry,ref={}/cache:main", server.address()), &knows);
    assert!(!cache.keep(&records).unwrap());
    assert_eq!(cache.write(&records, Content::Bytes(b"records 3")).unwrap(), Sent::Present);
    assert!(cache.keep(&records).unwrap());
    let error = registry(server.address(), "cache:main").collect_garbage(Duration::ZERO).unwrap_err();
    assert!(error.to_string().ends_with("is not supported"), "{error}");
}

#[test]
fn a_registry_with_a_login() {
    let Some(server) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (username, password) = LOGIN.split_once(':').unwrap();
    let credential = Credential::Password { username: username.to_owned(), password: password.to_owned() };
    let credentials = Credentials::fixed([(server.address().to_owned(), credential)]);
    let location = format!("type=registry,ref={}/team/cache:main", server.address());
    let (manifest, contents) = example(1, 100);
    export(open(&location, &access(credentials.clone())).as_ref(), &manifest, &contents).unwrap();
    // The location's own word for servers without TLS keeps the login.
    let insecure = open(&format!("{location},registry.insecure=true"), &access(credentials));
    assert_eq!(insecure.manifest().unwrap(), Some(manifest));
    let stranger = open(&location, &access(Credentials::none()));
    let error = stranger.manifest().unwrap_err().to_string();
    assert!(error.contains("denied") && !error.contains(password), "{error}");
}

#[test]
fn a_bucket() {
    let Some(server) = Moto::start() else { return };
    keeps_its_word(&|name| bucket(server.address(), name));
}
