//! Base images from a registry: mirrors, what is asked and when, and what a bad registry gets.

use crate::support::{Kiln, Ran, Registry};
use std::fs;
use std::process::Command;

/// `kiln build` with a configuration file of this text.
fn build(kiln: &Kiln, config: &str, arguments: &[&str]) -> Ran {
    let path = kiln.path("config.toml");
    fs::write(&path, config).unwrap();
    let mut command: Command = kiln.command(["build", "--progress=plain", "."]);
    Ran::of(command.args(arguments).env("KILN_CONFIG", &path))
}

#[test]
fn a_registry_is_asked_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = Registry::start();
    let address = registry.address();
    let config = format!("[registry.\"{address}\"]\nhttp = true\n");
    kiln.write("Dockerfile", format!("FROM {address}/team/base:1\nRUN cat /etc/passwd\n"));
    build(&kiln, &config, &[]).succeeds();
    let first = registry.requests();
    assert!(first.iter().any(|request| request.contains("/v2/team/base/manifests/1")), "{first:?}");
    assert!(first.iter().any(|request| request.contains("/blobs/")), "{first:?}");

    build(&kiln, &config, &[]).succeeds().cached("RUN cat");
    assert!(registry.requests().is_empty(), "the registry was asked again");
    kiln.write("Dockerfile", format!("FROM {address}/team/base:1\nRUN cat /etc/group\n"));
    build(&kiln, &config, &[]).succeeds();
    assert!(registry.requests().is_empty(), "the registry was asked again");

    build(&kiln, &config, &["--pull"]).succeeds().cached("RUN cat");
    let pulled = registry.requests();
    assert!(!pulled.is_empty() && !pulled.iter().any(|request| request.contains("/blobs/")), "{pulled:?}");
}

#[test]
fn mirrors_of_docker_hub() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = Registry::start();
    let config =
        format!("[registry.\"docker.io\"]\nmirrors = [\"{0}\"]\n[registry.\"{0}\"]\nhttp = true\n", registry.address());
    kiln.write("Dockerfile", "FROM thing:2\nRUN cat /etc/passwd\n");
    build(&kiln, &config, &["-t", "app"]).succeeds();
    let requests = registry.requests();
    assert!(requests.iter().any(|request| request.contains("/v2/library/thing/manifests/2")), "{requests:?}");
    // By digest, too.
    let raw = kiln.run(["images", "--json"]).stdout();
    assert!(raw.contains("docker.io/library/thing:2") || raw.contains("docker.io/library/app:latest"), "{raw}");
}

#[test]
fn kiln_run_pulls() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = Registry::start();
    let path = kiln.path("config.toml");
    fs::write(&path, format!("[registry.\"{}\"]\nhttp = true\n", registry.address())).unwrap();
    let image = format!("{}/base:1", registry.address());
    let run = |arguments: &[&str]| Ran::of(kiln.command(arguments).env("KILN_CONFIG", &path));
    run(&["run", &image, "echo", "pulled"]).succeeds().stdout_is("pulled\n");
    assert!(!registry.requests().is_empty());
    run(&["run", &image, "echo", "here"]).succeeds().stdout_is("here\n");
    assert!(registry.requests().is_empty());
    run(&["run", &format!("{}/base:missing", registry.address()), "true"]).exits(125).stderr_has("missing");
}

#[test]
fn what_is_not_there() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = Registry::start();
    let config = format!("[registry.\"{}\"]\nhttp = true\n", registry.address());
    kiln.write("Dockerfile", format!("FROM {}/base:missing\nRUN true\n", registry.address()));
    let ran = build(&kiln, &config, &[]);
    assert!(matches!(ran.status, Some(1 | 3)), "{ran}");
    ran.stderr_has("missing").stderr_has("Dockerfile:1");
}

#[test]
fn wrong_bytes_are_never_used() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = Registry::tampered(|path, mut bytes| {
        // Layers are the only large blobs.
        if path.contains("/blobs/") && bytes.len() > 100_000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        bytes
    });
    let config = format!("[registry.\"{}\"]\nhttp = true\n", registry.address());
    kiln.write("Dockerfile", format!("FROM {}/base\nRUN true\n", registry.address()));
    let ran = build(&kiln, &config, &[]);
    assert_ne!(ran.status, Some(0), "{ran}");
    ran.stderr_has("error: ").stderr_lacks("panicked");
    // A good registry mends it.
    let good = Registry::start();
    let config = format!("[registry.\"{}\"]\nhttp = true\n", good.address());
    kiln.write("Dockerfile", format!("FROM {}/base\nRUN true\n", good.address()));
    build(&kiln, &config, &[]).succeeds();
}

#[test]
fn a_manifest_that_is_not_what_was_asked_for() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = Registry::tampered(|path, mut bytes| {
        if path.contains("/manifests/sha256:") {
            bytes.push(b'\n');
        }
        bytes
    });
    let config = format!("[registry.\"{}\"]\nhttp = true\n", registry.address());
    let base = kiln.base();
    let layout = base.split("oci-layout://").nth(1).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(format!("{layout}/index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    kiln.write("Dockerfile", format!("FROM {}/base@{digest}\nRUN true\n", registry.address()));
    let ran = build(&kiln, &config, &[]);
    assert_ne!(ran.status, Some(0), "{ran}");
    ran.stderr_has("Dockerfile:1");
}
