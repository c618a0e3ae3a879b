//! The client against a real registry and against a server that misbehaves on purpose.

#[path = "../support/mod.rs"]
mod support;

mod blobs;
mod chaos;
mod hosts;
mod logins;
mod manifests;
mod push;
mod push_chaos;
mod real;
mod speed;

use crate::support::faulty_server::{Answer, FaultyServer, Request};
use kiln_digest::Digest;
use kiln_registry::{Client, Config, Credentials, Descriptor, MediaType, Policy, Reference, RegistryError};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Impatient enough for tests.
fn policy() -> Policy {
    Policy {
        idle_timeout: Duration::from_millis(500),
        answer_timeout: Duration::from_secs(1),
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_secs(2),
        ..Policy::default()
    }
}

/// A client for servers that have no TLS, so that nothing is probed.
fn client_for(servers: &[&FaultyServer], credentials: Credentials) -> Client {
    let config: String =
        servers.iter().map(|server| format!("[registry.\"{}\"]\nhttp = true\n", server.address())).collect();
    client(&config, credentials)
}

fn client(config: &str, credentials: Credentials) -> Client {
    Client::with_policy(Config::parse(config).unwrap(), credentials, policy(), Arc::default())
}

fn plain(server: &FaultyServer) -> Client {
    client_for(&[server], Credentials::none())
}

fn reference(server: &FaultyServer, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", server.address())).unwrap()
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let digest = Digest::of_bytes(bytes).to_string().parse::<kiln_registry::OciDigest>().unwrap();
    Descriptor::new(MediaType::ImageLayerGzip, bytes.len() as u64, digest)
}

/// Opens and reads a blob.
fn pull(client: &Client, server: &FaultyServer, bytes: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let mut reader = client.blob(reference(server, "x").repository(), &descriptor(bytes))?;
    let mut read = Vec::new();
    match reader.read_to_end(&mut read) {
        Ok(_) => Ok(read),
        Err(error) => Err(error.downcast().expect("a registry error")),
    }
}

/// Serves a blob, honouring ranges.
fn ranged(request: &Request, bytes: &[u8]) -> Answer {
    match request.range_start() {
        Some(start) => Answer::new(206, &bytes[start..])
            .with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        None => Answer::new(200, bytes),
    }
}

const IMAGE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":
    "application/vnd.oci.image.config.v1+json","size":2,"digest":
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;

fn image() -> Answer {
    Answer::new(200, IMAGE).with("content-type", "application/vnd.oci.image.manifest.v1+json")
}

/// Runs one test, which then finds `KILN_TEST_INNER` set, in a process with these variables: they cannot be changed in this one.
fn in_process(test: &str, variables: &[(&str, &str)]) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("KILN_TEST_INNER", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Whether this is the process that [`in_process`] started.
fn is_inner() -> bool {
    std::env::var_os("KILN_TEST_INNER").is_some()
}
