//! Buckets in which others are at work at the same time: the requests of one go through a proxy, which lets another do something between
//! two of them.

#[expect(dead_code, reason = "the tests of the registry client use the rest")]
#[path = "../../../../registry/tests/support/faulty_proxy.rs"]
mod faulty_proxy;
#[path = "../../../tests/support/moto.rs"]
mod moto;

use super::super::lost;
use super::*;
use crate::location::CacheImport;
use crate::manifest::tests::example;
use crate::{CacheLocation, Remote};
use faulty_proxy::{Fault, FaultyProxy};
use kiln_registry::{Client, Config, Credentials};
use moto::{BUCKET, Moto};

fn cache(address: &str, name: &str, broken: impl IntoIterator<Item = Digest>) -> S3 {
    let location = format!(
        "type=s3,bucket={BUCKET},region=us-east-1,endpoint_url=http://{address},use_path_style=true,prefix=some/,name={name},\
         access_key_id=kiln,secret_access_key=geheim"
    );
    let fields: Vec<_> = location.split(',').map(str::to_owned).collect();
    let import = CacheImport::parse(&fields, &|_| None).unwrap().remove(0);
    let CacheLocation::S3(location) = import.location else { unreachable!() };
    let client = Client::new(Config::default(), Credentials::none());
    let broken = broken.into_iter().collect();
    S3::new(&location, &Access { client, stop: Arc::default(), pushed: Vec::new(), broken }).unwrap()
}

fn export(cache: &S3, text: &str) -> CacheManifest {
    let (manifest, contents) = example(text);
    for bytes in &contents {
        cache.write(&BlobRef::of_bytes(bytes), Content::Bytes(bytes)).unwrap();
    }
    cache.publish(&manifest).unwrap();
    manifest
}

fn read(cache: &S3, blob: &BlobRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    cache.read(blob).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A proxy before a server, where `act` happens before the first request that begins so goes on.
fn before_first(server: &Moto, start: String, act: impl FnOnce(S3) + Send + 'static) -> FaultyProxy {
    let (act, address) = (Mutex::new(Some(act)), server.address().to_owned());
    FaultyProxy::start(server.address(), move |line, _| {
        if line.starts_with(&start)
            && let Some(act) = act.lock().unwrap().take()
        {
            act(cache(&address, "other", []));
        }
        Fault::None
    })
}

/// One server for all: it takes longer to start than all of this.
#[test]
fn a_bucket_in_which_others_are_at_work() {
    let Some(server) = Moto::start() else { return };
    what_is_published_while_garbage_is_collected_stays(&server);
    a_blob_that_is_deleted_while_it_is_kept_is_sent_again(&server);
    what_is_known_to_be_broken_is_written_again(&server);
    a_manifest_is_read_again_until_it_is_whole(&server);
    looking_writes_nothing(&server);
}

fn what_is_published_while_garbage_is_collected_stays(server: &Moto) {
    let main = cache(server.address(), "main", []);
    let old = export(&main, "old");
    export(&main, "new");
    let republished = old.clone();
    let proxy = before_first(server, format!("GET /{BUCKET}/some/manifests/main"), move |other| {
        other.publish(&republished).unwrap();
    });
    cache(&proxy.address(), "main", []).collect_garbage(Duration::ZERO).unwrap();
    for (blob, _) in old.blobs() {
        assert!(main.find(&blob).unwrap().is_some());
    }
}

fn a_blob_that_is_deleted_while_it_is_kept_is_sent_again(server: &Moto) {
    let main = cache(server.address(), "main", []);
    let manifest = export(&main, "x");
    let (blob, bytes) = (manifest.records, b"records of x");
    let key = main.blob_key(blob.digest);
    for begins in [format!("PUT /{BUCKET}/{key}.touch"), format!("PUT /{BUCKET}/{key} ")] {
        let (key, begins) = (key.clone(), begins.replace(':', "%3A"));
        let proxy = before_first(server, begins, move |other| {
            other.objects.delete(&[key.clone(), format!("{key}.touch")]).unwrap();
        });
        // Everything is old.
        let exporting = S3 { old: Duration::ZERO, ..cache(&proxy.address(), "main", []) };
        assert_eq!(exporting.write(&blob, Content::Bytes(bytes)).unwrap(), Sent::New);
        assert_eq!(read(&main, &blob), bytes);
        assert!(proxy.requests().iter().any(|line| line.contains(".touch")), "{:?}", proxy.requests());
    }
    // Two that do this at the same time do it twice.
    let aside = format!("{key}.touch");
    let begins = format!("PUT /{BUCKET}/{key} ").replace(':', "%3A");
    let proxy = before_first(server, begins, move |other| other.objects.delete(&[aside]).unwrap());
    let exporting = S3 { old: Duration::ZERO, ..cache(&proxy.address(), "main", []) };
    assert_eq!(exporting.write(&blob, Content::Bytes(bytes)).unwrap(), Sent::Present);
    // What nobody can send again is not published.
    main.objects.delete(&[key]).unwrap();
    let error = exporting.publish(&manifest).unwrap_err();
    assert!(matches!(error, RemoteError::Missing { .. }), "{error}");
}

fn looking_writes_nothing(server: &Moto) {
    let manifest = export(&cache(server.address(), "main", []), "x");
    let proxy = FaultyProxy::start(server.address(), |_, _| Fault::None);
    let all_are_old = S3 { old: Duration::ZERO, ..cache(&proxy.address(), "main", []) };
    let absent = BlobRef::of_bytes(b"absent");
    let mut wanted: Vec<_> = manifest.blobs().into_iter().map(|(blob, _)| blob).collect();
    wanted.push(absent);
    assert_eq!(lost(&all_are_old, &wanted, &all_are_old.stop).unwrap(), [absent]);
    assert!(proxy.requests().iter().all(|line| line.starts_with("HEAD ")), "{:?}", proxy.requests());
}

fn what_is_known_to_be_broken_is_written_again(server: &Moto) {
    let blob = export(&cache(server.address(), "main", []), "x").records;
    server.put(&format!("some/blobs/{}", blob.digest), b"recordz of x");
    let knows = cache(server.address(), "main", [blob.digest]);
    assert!(!knows.keep(&blob).unwrap());
    assert_eq!(knows.write(&blob, Content::Bytes(b"records of x")).unwrap(), Sent::New);
    assert!(knows.keep(&blob).unwrap());
    assert_eq!(read(&knows, &blob), b"records of x");
}

fn a_manifest_is_read_again_until_it_is_whole(server: &Moto) {
    let manifest = export(&cache(server.address(), "main", []), "x");
    let proxy = FaultyProxy::start(server.address(), |_, before| match before {
        0 => Fault::Status(503),
        1 => Fault::CutResponse(20),
        _ => Fault::None,
    });
    let main = cache(&proxy.address(), "main", []);
    assert_eq!(main.manifest().unwrap(), Some(manifest));
    let down = FaultyProxy::start(server.address(), |_, _| Fault::Status(403));
    let error = cache(&down.address(), "main", []).manifest().unwrap_err();
    assert!(!error.is_broken(), "{error}");
    server.put("some/manifests/main", b"{");
    assert!(main.manifest().unwrap_err().is_broken());
}

#[test]
fn digests_are_found_in_any_text() {
    let (one, other) = (Digest::of_bytes(b"1"), Digest::of_bytes(b"2"));
    let text = format!("{{\"a\":\"{one}\",\"b\":\"x/{other}.y\",\"c\":\"sha256:12\"}} sha256:");
    let mut found = HashSet::new();
    digests(text.as_bytes(), &mut found);
    assert_eq!(found, HashSet::from([one, other]));
}
