//! Against Debian's `docker-registry`, filled by `skopeo`.

use super::*;
use crate::support::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::support::layout;
use kiln_registry::{Credential, FetchedManifest, Manifest, Repository};

const LAYERS: [usize; 3] = [300_000, 2_000_000, 10];

fn filled(setup: Setup) -> Option<DockerRegistry> {
    let registry = DockerRegistry::start(setup)?;
    let directory = tempfile::tempdir().unwrap();
    layout::write(directory.path(), &LAYERS);
    let layout = directory.path().to_str().unwrap();
    registry.fill(&format!("{layout}:one"), "a/one:1", &[]);
    if !setup.login && !setup.tls {
        registry.fill(&format!("{layout}:one"), "docker:1", &["--format", "v2s2"]);
        registry.fill(&format!("{layout}:many"), "many:1", &["--all"]);
    }
    Some(registry)
}

fn parse(registry: &DockerRegistry, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", registry.address())).unwrap()
}

fn check_image(client: &Client, repository: &Repository, fetched: &FetchedManifest) {
    let Manifest::Image(image) = &fetched.manifest else { panic!("{fetched:?}") };
    for descriptor in image.layers().iter().chain([image.config()]) {
        let mut reader = client.blob(repository, descriptor).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(Digest::of_bytes(&bytes).to_string(), descriptor.digest().to_string());
    }
    let mut first = flate2_of(client, repository, &image.layers()[0]);
    first.truncate(100);
    assert_eq!(first, layout::noise(1, 100));
}

fn flate2_of(client: &Client, repository: &Repository, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(client.blob(repository, descriptor).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn pulls_by_tag_and_digest() {
    let Some(registry) = filled(Setup::default()) else { return };
    let client = client("", Credentials::none());
    for (name, media_type) in [
        ("a/one:1", "application/vnd.oci.image.manifest.v1+json"),
        ("docker:1", "application/vnd.docker.distribution.manifest.v2+json"),
    ] {
        let reference = parse(&registry, name);
        let resolved = client.resolve(&reference).unwrap();
        assert_eq!(resolved.descriptor.media_type().to_string(), media_type);
        let fetched = client.manifest(&reference).unwrap();
        assert_eq!(fetched.descriptor, resolved.descriptor);
        let pinned = client.manifest(&reference.with_digest(resolved.digest)).unwrap();
        assert_eq!(pinned.bytes, fetched.bytes);
        check_image(&client, reference.repository(), &fetched);
    }
    let missing = client.resolve(&parse(&registry, "a/one:2")).unwrap_err();
    assert!(missing.to_string().ends_with("\nhint: tags there are `1`"), "{missing}");
    let missing = client.resolve(&parse(&registry, "none")).unwrap_err();
    assert!(matches!(&missing, RegistryError::NotFound { similar, .. } if similar.is_empty()), "{missing}");
    let nothing = descriptor(b"nothing");
    let error = client.blob(parse(&registry, "a/one").repository(), &nothing).unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[test]
fn pulls_from_an_index() {
    let Some(registry) = filled(Setup::default()) else { return };
    let client = client("", Credentials::none());
    let reference = parse(&registry, "many:1");
    let fetched = client.manifest(&reference).unwrap();
    assert_eq!(client.resolve(&reference).unwrap().digest, fetched.digest);
    let Manifest::Index(index) = &fetched.manifest else { panic!("{fetched:?}") };
    assert_eq!(index.manifests().len(), 2);
    for descriptor in index.manifests() {
        assert!(descriptor.platform().is_some());
        let digest: Digest = descriptor.digest().to_string().parse().unwrap();
        let image = client.manifest(&reference.with_digest(digest)).unwrap();
        assert_eq!(image.descriptor.size(), descriptor.size());
        check_image(&client, reference.repository(), &image);
    }
}

#[test]
fn mirrors_docker_hub() {
    let Some(registry) = filled(Setup::default()) else { return };
    let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{}\"]\n", registry.address());
    let fetched = client(&config, Credentials::none()).manifest(&Reference::parse("a/one:1").unwrap()).unwrap();
    assert_eq!(fetched.host, registry.address());
}

#[test]
fn logs_in_with_basic_authentication() {
    let Some(registry) = filled(Setup { login: true, ..Setup::default() }) else { return };
    let reference = parse(&registry, "a/one:1");
    let error = client("", Credentials::none()).resolve(&reference).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }), "{error}");

    let (username, password) = LOGIN.split_once(':').unwrap();
    let credential = |password: &str| {
        let credential = Credential::Password { username: username.to_owned(), password: password.to_owned() };
        Credentials::fixed([(registry.address().to_owned(), credential)])
    };
    let error = client("", credential("wrong")).resolve(&reference).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }), "{error}");
    let client = client("", credential(password));
    check_image(&client, reference.repository(), &client.manifest(&reference).unwrap());
}

#[test]
fn speaks_tls_to_its_own_authority() {
    let Some(registry) = filled(Setup { tls: true, ..Setup::default() }) else { return };
    let reference = parse(&registry, "a/one:1");
    let section = format!("[registry.\"{}\"]\n", registry.address());
    let authority = registry.authority();
    let trusted = format!("{section}ca = [\"{}\"]\n", authority.display());
    // Trusted by its authority; by order; and because it is on this machine.
    for config in [trusted.as_str(), &format!("{section}insecure = true\n"), ""] {
        let client = client(config, Credentials::none());
        check_image(&client, reference.repository(), &client.manifest(&reference).unwrap());
    }
    // Not trusted otherwise.
    let strict = format!("{section}http = false\n");
    let error = client(&strict, Credentials::none()).manifest(&reference).unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("UnknownIssuer\nhint: name its certificate authority with `ca = "), "{error}");
    // Plain HTTP to a server with TLS fails, clearly.
    let error = client(&format!("{section}http = true\n"), Credentials::none()).manifest(&reference).unwrap_err();
    assert!(error.to_string().contains("answered 400"), "{error}");
}

#[test]
fn trusts_what_the_system_trusts() {
    if is_inner() {
        let reference = Reference::parse(&std::env::var("KILN_TEST_REFERENCE").unwrap()).unwrap();
        let config = format!("[registry.\"{}\"]\nhttp = false\n", reference.registry());
        client(&config, Credentials::none()).manifest(&reference).unwrap();
        return;
    }
    let Some(registry) = filled(Setup { tls: true, ..Setup::default() }) else { return };
    let reference = parse(&registry, "a/one:1").to_string();
    let authority = registry.authority();
    let variables = [("SSL_CERT_FILE", authority.to_str().unwrap()), ("KILN_TEST_REFERENCE", &reference)];
    in_process("real::trusts_what_the_system_trusts", &variables);
}
