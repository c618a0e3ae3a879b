//! Blobs: resuming, verifying, giving up.

use super::*;
use crate::support::layout::noise;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[test]
fn a_cut_blob_is_resumed_where_it_broke() {
    let bytes = noise(1, 3_000_000);
    let served = bytes.clone();
    let server = FaultyServer::start(move |request, _| ranged(request, &served).cut_after(700_000));
    assert_eq!(pull(&plain(&server), &server, &bytes).unwrap(), bytes);
    let starts: Vec<_> = server.requests().iter().map(|request| request.range_start().unwrap_or(0)).collect();
    assert!(starts.len() >= 5 && starts.is_sorted() && starts[1] > 0, "{starts:?}");
}

#[test]
fn ranges_need_not_be_supported() {
    let bytes = noise(2, 500_000);
    let served = bytes.clone();
    let server = FaultyServer::start(move |_, before| {
        let answer = Answer::new(200, served.clone());
        // The second time before, the third time after the place where the first one broke.
        match before {
            0 => answer.cut_after(300_000),
            1 => answer.cut_after(100_000),
            2 => answer.cut_after(400_000),
            _ => answer,
        }
    });
    assert_eq!(pull(&plain(&server), &server, &bytes).unwrap(), bytes);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn no_progress_is_given_up() {
    let bytes = noise(3, 100_000);
    let served = bytes.clone();
    let server = FaultyServer::start(move |request, _| ranged(request, &served).cut_after(0));
    let error = pull(&plain(&server), &server, &bytes).unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("broke off at byte 0"), "{error}");
    assert_eq!(server.requests().len(), policy().attempts as usize);
}

#[test]
fn wrong_bytes_are_an_error_of_their_own_kind() {
    let bytes = noise(4, 100_000);
    let mut wrong = bytes.clone();
    wrong[50_000] ^= 1;
    let server = FaultyServer::start(move |_, _| Answer::new(200, wrong.clone()));
    let mut reader = plain(&server).blob(reference(&server, "x").repository(), &descriptor(&bytes)).unwrap();
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(reader.read_to_end(&mut read).unwrap_err().kind(), ErrorKind::Other, "it stays failed");
    let error = error.downcast::<RegistryError>().unwrap();
    assert!(matches!(&error, RegistryError::DigestMismatch { expected, .. } if *expected == Digest::of_bytes(&bytes)));
}

#[test]
fn wrong_sizes_are_noticed() {
    let bytes = noise(5, 100_000);
    for length in [99_999, 100_001] {
        let server = FaultyServer::start(move |_, _| Answer::new(200, noise(5, length)));
        let error = pull(&plain(&server), &server, &bytes).unwrap_err();
        assert!(matches!(error, RegistryError::SizeMismatch { actual, .. } if actual == length as u64), "{error}");
    }
    // Without a length, what is too much is never read.
    let server = FaultyServer::start(|_, _| Answer::endless());
    let error = pull(&plain(&server), &server, &bytes).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn an_empty_blob_is_verified_too() {
    let server = FaultyServer::start(|_, _| Answer::new(200, ""));
    assert_eq!(pull(&plain(&server), &server, b"").unwrap(), b"");
    let lie = Descriptor::new(
        MediaType::ImageLayer,
        0,
        Digest::of_bytes(b"x").to_string().parse::<kiln_registry::OciDigest>().unwrap(),
    );
    let mut reader = plain(&server).blob(reference(&server, "x").repository(), &lie).unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_host_of_wrong_bytes_is_asked_last_afterwards() {
    let bytes = noise(6, 10_000);
    let served = bytes.clone();
    let mirror = FaultyServer::start(|_, _| Answer::new(200, noise(7, 10_000)));
    let server = FaultyServer::start(move |_, _| Answer::new(200, served.clone()));
    let (m, s) = (mirror.address(), server.address());
    let config = format!("[registry.\"{s}\"]\nhttp = true\nmirrors = [\"{m}\"]\n[registry.\"{m}\"]\nhttp = true\n");
    let client = client(&config, Credentials::none());
    let error = pull(&client, &server, &bytes).unwrap_err();
    assert!(matches!(&error, RegistryError::DigestMismatch { host, .. } if *host == m), "{error}");
    assert_eq!(pull(&client, &server, &bytes).unwrap(), bytes);
    assert_eq!(mirror.requests().len(), 1);
}

#[test]
fn resuming_may_go_to_another_host() {
    let bytes = noise(8, 400_000);
    let (served, also) = (bytes.clone(), bytes.clone());
    let mirror = FaultyServer::start(move |request, before| match before {
        0 => ranged(request, &served).cut_after(100_000),
        _ => Answer::new(404, ""),
    });
    let server = FaultyServer::start(move |request, _| ranged(request, &also));
    let (m, s) = (mirror.address(), server.address());
    let config = format!("[registry.\"{s}\"]\nhttp = true\nmirrors = [\"{m}\"]\n[registry.\"{m}\"]\nhttp = true\n");
    assert_eq!(pull(&client(&config, Credentials::none()), &server, &bytes).unwrap(), bytes);
    assert!(server.requests()[0].range_start().unwrap() > 0);
}

#[test]
fn a_silent_server_does_not_hang_the_reader() {
    let bytes = noise(9, 1000);
    let server = FaultyServer::start(|_, _| Answer::silence(Duration::from_secs(30)));
    let started = Instant::now();
    let error = pull(&plain(&server), &server, &bytes).unwrap_err();
    assert!(error.to_string().contains("it stopped answering"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_slow_blob_is_read_as_long_as_it_moves() {
    let bytes = noise(10, 20);
    let served = bytes.clone();
    let server = FaultyServer::start(move |_, _| Answer::new(200, served.clone()).dripping(Duration::from_millis(100)));
    assert_eq!(pull(&plain(&server), &server, &bytes).unwrap(), bytes);
    assert_eq!(server.requests().len(), 1, "2 s in all, but never 0.5 s without a byte");
}

#[test]
fn cancelling_ends_a_transfer() {
    let bytes = noise(11, 1_000_000);
    let served = bytes.clone();
    let server = FaultyServer::start(move |_, _| Answer::new(200, served.clone()));
    let cancel = Arc::new(AtomicBool::new(false));
    let config = Config::parse(&format!("[registry.\"{}\"]\nhttp = true\n", server.address())).unwrap();
    let client = Client::with_policy(config, Credentials::none(), policy(), cancel.clone());
    let mut reader = client.blob(reference(&server, "x").repository(), &descriptor(&bytes)).unwrap();
    assert!(reader.read(&mut [0; 1000]).unwrap() > 0);
    cancel.store(true, Ordering::Relaxed);
    let error = reader.read(&mut [0; 1000]).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Interrupted, "which loops would take for a reason to try again");
    assert!(matches!(error.downcast::<RegistryError>(), Ok(RegistryError::Cancelled { .. })));
    assert!(matches!(client.resolve(&reference(&server, "x")), Err(RegistryError::Cancelled { .. })));
}

#[test]
fn digests_that_cannot_be_verified_are_refused() {
    let server = FaultyServer::start(|_, _| Answer::new(200, ""));
    let digest = format!("sha512:{}", "0".repeat(128)).parse::<kiln_registry::OciDigest>().unwrap();
    let descriptor = Descriptor::new(MediaType::ImageLayer, 0, digest);
    let error = plain(&server).blob(reference(&server, "x").repository(), &descriptor).unwrap_err();
    assert!(matches!(error, RegistryError::UnsupportedDigest { .. }), "{error}");
    assert!(server.requests().is_empty());
}
