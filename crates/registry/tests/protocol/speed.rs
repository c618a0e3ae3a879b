//! How fast blobs come over plain HTTP and over TLS from this machine:
//! `cargo test --release -p kiln-registry --test protocol speed -- --ignored --nocapture`.

use super::*;
use crate::support::layout::noise;
use std::time::Instant;

const SIZE: usize = 256 << 20;

#[test]
#[ignore = "a measurement, for release builds"]
fn throughput() {
    let bytes = Arc::new(noise(1, SIZE));
    let served = bytes.clone();
    let server = FaultyServer::start(move |_, _| Answer::shared(200, served.clone()));
    let client = plain(&server);
    for readers in [1, 4] {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    let mut reader = client.blob(reference(&server, "x").repository(), &descriptor(&bytes)).unwrap();
                    let mut buffer = vec![0; 256 * 1024];
                    let mut reads = 0;
                    while reader.read(&mut buffer).unwrap() > 0 {
                        reads += 1;
                    }
                    println!("{} KiB a read", SIZE / 1024 / reads);
                });
            }
        });
        let rate = (readers * SIZE) as f64 / 1e6 / started.elapsed().as_secs_f64();
        println!("{readers} at once: {rate:.0} MB/s");
    }
    let started = Instant::now();
    for _ in 0..100 {
        let _ = Client::new(Config::default(), Credentials::docker());
    }
    println!("Client::new: {:?}", started.elapsed() / 100);
    let started = Instant::now();
    let text = Reference::parse("ghcr.io/a/b:1").unwrap();
    println!("Reference::parse({text}): {:?}", started.elapsed());
    let started = Instant::now();
    let text: oci_spec::distribution::Reference = "ghcr.io/a/b:1".parse().unwrap();
    println!("oci_spec's, first time ({text}): {:?}", started.elapsed());
    for (what, config) in [("no certificates", "http = true"), ("the system's certificates", "http = false")] {
        let config = Config::parse(&format!("[registry.\"127.0.0.1:1\"]\n{config}\n")).unwrap();
        let policy = Policy { attempts: 1, ..policy() };
        let client = Client::with_policy(config, Credentials::none(), policy, Arc::default());
        let started = Instant::now();
        client.resolve(&Reference::parse("127.0.0.1:1/x").unwrap()).unwrap_err();
        println!("first request with {what}: {:?}", started.elapsed());
    }
}
