//! Caches written and read through a proxy that spoils a third of all requests: each export and each import ends right or with an
//! error, no reader ever reports the end of wrong bytes, and what was published is whole or as it was.

use super::*;
use crate::docker_registry::{DockerRegistry, Setup};
use crate::faulty_proxy::{Fault, FaultyProxy};
use crate::moto::Moto;

fn fault(_: &str, before: usize) -> Fault {
    let noise = noise(before as u64 + 7, 24);
    let word = |at: usize| u64::from_le_bytes(noise[at..at + 8].try_into().expect("eight bytes"));
    let (dice, place) = (word(8), word(16) % 60_000);
    match dice % 24 {
        0 => Fault::Status(500),
        1 => Fault::Status(429),
        2 => Fault::Status(503),
        3 => Fault::CutRequest(place),
        4 => Fault::CutResponse(place),
        5 => Fault::SpoilRequest(place),
        6 => Fault::SpoilResponse(place),
        7 => Fault::Slow(Duration::from_millis(place % 20)),
        8 => Fault::LoseAnswer,
        _ => Fault::None,
    }
}

/// Exports and imports through `spoilt`; `sane` is the same cache without the proxy.
fn ends_right_or_clearly(rounds: u64, spoilt: &dyn Fn() -> Box<dyn Remote>, sane: &dyn Fn() -> Box<dyn Remote>) {
    let mut right = 0;
    let mut published: Vec<CacheManifest> = Vec::new();
    for round in 0..rounds {
        let (manifest, contents) = example(100 + round, 50_000);
        let exported = export(spoilt().as_ref(), &manifest, &contents);
        published.push(manifest.clone());
        let there = sane().manifest().unwrap();
        assert!(there.is_none() || there.as_ref().is_some_and(|there| published.contains(there)), "half a manifest");
        match &exported {
            // It may be there although its answer was lost, but never the other way round.
            Ok(()) => assert_eq!(there.as_ref(), Some(&manifest)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        right += u32::from(exported.is_ok());
        let Ok(Some(found)) = spoilt().manifest() else { continue };
        assert!(published.contains(&found));
        for (blob, _) in found.blobs() {
            if let Ok(bytes) = read(spoilt().as_ref(), &blob) {
                assert_eq!(BlobRef::of_bytes(&bytes), blob, "wrong bytes");
                right += 1;
            }
        }
    }
    println!("{right} exports and reads of {} ended right", rounds * 5);
    assert!(u64::from(right) > rounds, "{right}");
}

#[test]
fn a_registry_behind_a_bad_line() {
    let Some(server) = DockerRegistry::start(Setup::default()) else { return };
    let proxy = FaultyProxy::start(server.address(), fault);
    let cache = |address: &str| registry(address, "cache:main");
    ends_right_or_clearly(12, &|| cache(&proxy.address()), &|| cache(server.address()));
}

#[test]
fn a_bucket_behind_a_bad_line() {
    let Some(server) = Moto::start() else { return };
    let proxy = FaultyProxy::start(server.address(), |line, before| match fault(line, before) {
        // This server believes what it is sent; others compare it with the signature.
        Fault::SpoilRequest(_) => Fault::None,
        other => other,
    });
    ends_right_or_clearly(6, &|| bucket(&proxy.address(), "main"), &|| bucket(server.address(), "main"));
}
