//! Two hundred pushes and pulls through a proxy that spoils a third of all requests: each ends right or with a clear error, and what
//! the registry then has is what was pushed.

use super::push::{Image, check, made, push};
use super::*;
use crate::support::docker_registry::{DockerRegistry, Setup};
use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::layout::noise;

const TRIPS: usize = 100;
const AT_ONCE: usize = 4;

fn fault(_: &str, before: usize) -> Fault {
    let noise = noise(before as u64 + 71, 24);
    let word = |at: usize| u64::from_le_bytes(noise[at..at + 8].try_into().expect("eight bytes"));
    let (dice, place) = (word(8), word(16) % 400_000);
    match dice % 24 {
        0 => Fault::Status(500),
        1 => Fault::Status(429),
        2 => Fault::Status(503),
        3 => Fault::CutRequest(place),
        4 => Fault::CutResponse(place),
        5 => Fault::SpoilRequest(place % 50_000),
        6 => Fault::SpoilResponse(place % 50_000),
        7 => Fault::Slow(Duration::from_millis(place % 20)),
        8 => Fault::LoseAnswer,
        _ => Fault::None,
    }
}

fn trip(spoilt: &Client, sane: &Client, proxy: &str, registry: &str, number: usize) -> [Result<(), RegistryError>; 2] {
    // Most images are small; a few go in a stream.
    let large = if number.is_multiple_of(25) { 4_300_000 } else { 60_000 };
    let image: Image = made(100 + number as u64, &[large, 3]);
    let name = format!("chaos/{number}:1");
    let parse = |address: &str| Reference::parse(&format!("{address}/{name}")).expect("a reference");
    let pushed = push(spoilt, &parse(proxy), &image).map(drop);
    if pushed.is_ok() {
        check(sane, &parse(registry), &image).expect("what was pushed is there");
    } else {
        push(sane, &parse(registry), &image).expect("a sane push");
    }
    [pushed, check(spoilt, &parse(proxy), &image)]
}

#[test]
fn every_push_and_pull_ends_right_or_clearly() {
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let proxy = FaultyProxy::start(registry.address(), fault);
    let (spoilt, sane) = (client("", Credentials::none()), client("", Credentials::none()));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if number >= TRIPS {
                return outcomes;
            }
            outcomes.extend(trip(&spoilt, &sane, &proxy.address(), registry.address(), number));
        }
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no wrong bytes")).collect()
    });
    let right = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    println!("{right} of {} succeeded in {} requests", outcomes.len(), proxy.requests().len());
    assert_eq!(outcomes.len(), 2 * TRIPS);
    assert!(right > TRIPS, "{right}");
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(error.to_string().contains(&proxy.address()), "{error}");
    }
}
