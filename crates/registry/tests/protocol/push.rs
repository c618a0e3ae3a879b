//! Pushing to Debian's `docker-registry`, directly and through a proxy that spoils it.

use super::*;
use crate::support::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::layout::noise;
use kiln_registry::{BlobSource, Credential, Pushed, Repository, Upload};
use serde_json::json;
use std::process::Command;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that is nowhere yet.
pub(super) struct Image {
    pub(super) config: Upload,
    pub(super) layers: Vec<Upload>,
    pub(super) manifest: Vec<u8>,
}

pub(super) fn made(seed: u64, sizes: &[usize]) -> Image {
    let config = Upload::of_bytes(
        json!({"os": "linux", "architecture": "amd64", "seed": seed, "rootfs": {"type": "layers", "diff_ids": []}})
            .to_string()
            .into_bytes(),
    );
    let layers: Vec<Upload> =
        (0..).zip(sizes).map(|(number, &size)| Upload::of_bytes(noise(seed * 16 + number + 1, size))).collect();
    let describe = |media_type: &str, upload: &Upload| json!({"mediaType": media_type, "digest": upload.digest.to_string(), "size": upload.size});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(|layer| describe("application/vnd.oci.image.layer.v1.tar", layer)).collect::<Vec<_>>(),
    });
    Image { config, layers, manifest: manifest.to_string().into_bytes() }
}

pub(super) fn push(client: &Client, to: &Reference, image: &Image) -> Result<Vec<Pushed>, RegistryError> {
    let blobs = image.layers.iter().chain([&image.config]);
    let pushed = blobs.map(|blob| client.push_blob(to.repository(), blob)).collect::<Result<_, _>>()?;
    client.push_manifest(to, &MediaType::from(MANIFEST), &image.manifest)?;
    Ok(pushed)
}

fn parse(address: &str, rest: &str) -> Reference {
    Reference::parse(&format!("{address}/{rest}")).unwrap()
}

fn bytes(upload: &Upload) -> &[u8] {
    match &upload.source {
        BlobSource::Bytes(bytes) => bytes,
        BlobSource::File(path) => panic!("{}", path.display()),
    }
}

pub(super) fn check(client: &Client, from: &Reference, image: &Image) -> Result<(), RegistryError> {
    let digest = Digest::of_bytes(&image.manifest);
    assert_eq!(client.manifest(&from.with_digest(digest))?.bytes, image.manifest);
    for upload in image.layers.iter().chain([&image.config]) {
        assert_eq!(read(client, from.repository(), upload)?, bytes(upload));
    }
    Ok(())
}

fn read(client: &Client, repository: &Repository, upload: &Upload) -> Result<Vec<u8>, RegistryError> {
    let mut reader = client.blob(repository, &descriptor(bytes(upload)))?;
    let mut read = Vec::new();
    reader.read_to_end(&mut read).map_err(|error| error.downcast::<RegistryError>().expect("a registry error"))?;
    Ok(read)
}

#[test]
fn what_is_there_is_not_sent_again_and_what_is_next_door_is_mounted() {
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let proxy = FaultyProxy::start(registry.address(), |_, _| Fault::None);
    let client = client("", Credentials::none());
    // One request for the small layer, a stream for the large one, nothing for the empty one.
    let image = made(1, &[100_000, 5_000_000, 0]);
    let to = parse(&proxy.address(), "a/one:1");
    let digest = Digest::of_bytes(&image.manifest);
    assert!(!client.has_manifest(to.repository(), &digest).unwrap());
    assert_eq!(push(&client, &to, &image).unwrap(), [Pushed::Sent; 4]);
    let total = 5_100_000 + image.config.size + image.manifest.len() as u64;
    assert_eq!(proxy.uploaded(), total);
    assert_eq!(image.layers[1].watch.sent(), 5_000_000);
    check(&client, &to, &image).unwrap();
    assert!(client.has_manifest(to.repository(), &digest).unwrap());
    assert!(client.has_blob(to.repository(), &image.config.digest).unwrap());

    assert_eq!(push(&client, &to, &image).unwrap(), [Pushed::Existed; 4]);
    assert_eq!(proxy.uploaded(), total + image.manifest.len() as u64);

    let other = parse(&proxy.address(), "b/two:1");
    for (number, layer) in image.layers.iter().enumerate() {
        // The first repository that is named does not exist.
        let mount_from = vec!["none".to_owned(), "a/one".to_owned()];
        let upload = Upload { mount_from, ..layer.clone() };
        assert_eq!(client.push_blob(other.repository(), &upload).unwrap(), Pushed::Mounted, "{number}");
    }
    assert_eq!(proxy.uploaded(), total + image.manifest.len() as u64);
    push(&client, &other, &image).unwrap();
    check(&client, &other, &image).unwrap();

    // Without a tag, a manifest is put under its digest.
    let by_digest = client.push_manifest(&other.with_digest(digest), &MediaType::from(MANIFEST), &image.manifest);
    assert_eq!(by_digest.unwrap(), digest);
    let inspected = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format={{.Digest}}", &format!("docker://{to}")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&inspected.stdout).trim(), digest.to_string(), "{inspected:?}");
}

#[test]
fn logs_in_over_its_own_authority_to_push() {
    let Some(registry) = DockerRegistry::start(Setup { login: true, tls: true }) else { return };
    let config = format!("[registry.\"{}\"]\nca = [\"{}\"]\n", registry.address(), registry.authority().display());
    let image = made(2, &[1000, 4_500_000]);
    let to = parse(registry.address(), "x:1");
    let error = push(&client(&config, Credentials::none()), &to, &image).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }), "{error}");
    let (username, password) = LOGIN.split_once(':').unwrap();
    let credential = Credential::Password { username: username.to_owned(), password: password.to_owned() };
    let credentials = Credentials::fixed([(registry.address().to_owned(), credential)]);
    let client = client(&config, credentials);
    assert_eq!(push(&client, &to, &image).unwrap(), [Pushed::Sent; 3]);
    check(&client, &to, &image).unwrap();
}

/// A registry for one blob that keeps whatever bytes arrive, as the specification wants it.
fn keeping_registry() -> FaultyServer {
    let kept = std::sync::Mutex::new(Vec::new());
    FaultyServer::start(move |request, _| {
        let mut kept = kept.lock().unwrap();
        let answer = |status, kept: &[u8]| {
            let last = kept.len().saturating_sub(1);
            Answer::new(status, "").with("location", "/v2/x/blobs/uploads/1").with("range", format!("0-{last}"))
        };
        match request.method.as_str() {
            "POST" => {
                kept.clear();
                answer(202, &kept)
            }
            "PATCH" => {
                let first = request
                    .header("content-range")
                    .map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
                if first != kept.len() {
                    return answer(416, &kept);
                }
                kept.extend_from_slice(&request.body);
                answer(202, &kept)
            }
            "GET" => answer(204, &kept),
            "PUT" => {
                let digest = Digest::of_bytes(&kept).to_string().replace(':', "%3A");
                let right = request.target.ends_with(&format!("digest={digest}"));
                Answer::new(if right { 201 } else { 400 }, "")
            }
            _ => Answer::new(404, ""),
        }
    })
}

#[test]
fn an_upload_that_breaks_off_goes_on_where_it_was() {
    let registry = keeping_registry();
    let proxy = FaultyProxy::start(&registry.address(), |line, _| match line {
        line if line.starts_with("PATCH") => Fault::CutRequest(3_000_000),
        _ => Fault::None,
    });
    // It breaks four times: more often than any one request would be tried again without progress.
    let upload = Upload::of_bytes(noise(3, 10_000_000));
    let policy = Policy { attempts: 2, ..policy() };
    let client = Client::with_policy(Config::default(), Credentials::none(), policy, Arc::default());
    let to = parse(&proxy.address(), "x:1");
    assert_eq!(client.push_blob(to.repository(), &upload).unwrap(), Pushed::Sent);
    assert_eq!(proxy.uploaded(), 10_000_000);
    assert_eq!(registry.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

#[test]
fn a_lost_answer_is_not_a_lost_blob() {
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let proxy = FaultyProxy::start(registry.address(), |line, before| match line {
        line if line.starts_with("PUT") && line.contains("/blobs/") && before < 6 => Fault::LoseAnswer,
        _ => Fault::None,
    });
    let client = client("", Credentials::none());
    let image = made(4, &[1_000_000]);
    let to = parse(&proxy.address(), "x:1");
    push(&client, &to, &image).unwrap();
    assert_eq!(proxy.uploaded(), 1_000_000 + image.config.size + image.manifest.len() as u64);
}

#[test]
fn what_a_proxy_refuses_as_a_whole_goes_in_pieces() {
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    // The whole is refused, with or without a word.
    for fault in [Fault::CutRequest(1), Fault::Status(413)] {
        let proxy = FaultyProxy::start(registry.address(), move |line, before| match line {
            line if line.starts_with("PATCH") && before < 5 => fault,
            _ => Fault::None,
        });
        let client = client("", Credentials::none());
        let image = made(5 + u64::from(fault == Fault::Status(413)), &[40_000_000]);
        let to = parse(&proxy.address(), "x:1");
        push(&client, &to, &image).unwrap();
        check(&client, &to, &image).unwrap();
        let pieces = proxy.requests().iter().filter(|line| line.starts_with("PATCH")).count();
        assert!(pieces >= 4, "{:#?}", proxy.requests());
    }
}

#[test]
fn a_broken_copy_is_told_from_a_broken_registry() {
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let client = client("", Credentials::none());
    let to = parse(registry.address(), "x:1");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    std::fs::write(&path, b"others").unwrap();
    let upload = Upload { source: BlobSource::File(path.clone()), ..Upload::of_bytes(*b"bytes!") };
    let error = client.push_blob(to.repository(), &upload).unwrap_err().to_string();
    assert!(error.contains("cannot read blob") && error.contains("its digest is"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = client.push_blob(to.repository(), &upload).unwrap_err().to_string();
    assert!(error.contains("cannot read blob") && error.contains("No such file"), "{error}");

    let proxy = FaultyProxy::start(registry.address(), |line, _| match line {
        line if line.starts_with("PUT") => Fault::SpoilRequest(3),
        _ => Fault::None,
    });
    let to = parse(&proxy.address(), "x:1");
    let error = client.push_blob(to.repository(), &Upload::of_bytes(*b"bytes!")).unwrap_err().to_string();
    assert!(error.contains("answered 400") && error.contains("digest"), "{error}");
}

#[test]
fn pushing_stops_when_told() {
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let proxy = FaultyProxy::start(registry.address(), |_, _| Fault::Status(500));
    let client = client("", Credentials::none());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let upload = Upload { watch: kiln_registry::Watch::stopped_by(stop), ..Upload::of_bytes(*b"bytes") };
    let proxied = parse(&proxy.address(), "x:1");
    let error = client.push_blob(proxied.repository(), &upload).unwrap_err().to_string();
    assert!(error.contains("answered 500"), "{error}");
    let direct = parse(registry.address(), "x:1");
    let error = client.push_blob(direct.repository(), &upload).unwrap_err();
    assert!(matches!(error, RegistryError::Cancelled { .. }), "{error}");
}
