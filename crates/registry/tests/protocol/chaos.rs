//! Two hundred pulls from a server that misbehaves at random: each ends with the right bytes or a clear error.

use super::*;
use crate::support::layout::noise;

const PULLS: usize = 200;

#[test]
fn every_pull_ends_right_or_clearly() {
    let bytes = Arc::new(noise(1, 200_000));
    let served = bytes.clone();
    let server = FaultyServer::start(move |request, before| {
        // Some requests are alright, so that a few pulls succeed.
        let dice = u64::from_le_bytes(noise(before as u64 + 17, 16)[8..].try_into().unwrap());
        let sane = if request.target.contains("/blobs/") { ranged(request, &served) } else { image() };
        match dice % 10 {
            0 => Answer::new(500, "oops"),
            1 => Answer::new(429, "").with("retry-after", "0"),
            2 | 3 => sane.cut_after((dice >> 8) as usize % 150_000),
            4 if dice.is_multiple_of(3) => Answer::new(200, noise(dice, 200_000)),
            5 if dice.is_multiple_of(5) => Answer::new(404, ""),
            6 if dice.is_multiple_of(5) => Answer::new(302, "").with("location", "/elsewhere"),
            _ => sane,
        }
    });
    let client = plain(&server);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let pullers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..PULLS / 8).map(|_| pull_image(&client, &server, &bytes)).collect::<Vec<_>>()))
            .collect();
        pullers.into_iter().flat_map(|puller| puller.join().unwrap()).collect()
    });
    let right = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    println!("{right} of {PULLS} pulls succeeded");
    assert!(right > PULLS / 4, "{right}");
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(!error.to_string().is_empty() && error.to_string().contains(&server.address()), "{error}");
    }
}

/// A wrong blob would be a panic, not an error.
fn pull_image(client: &Client, server: &FaultyServer, bytes: &[u8]) -> Result<(), RegistryError> {
    let fetched = client.manifest(&reference(server, &format!("x@{}", Digest::of_bytes(IMAGE.as_bytes()))))?;
    assert_eq!(fetched.bytes, IMAGE.as_bytes());
    assert_eq!(pull(client, server, bytes)?, bytes);
    Ok(())
}
