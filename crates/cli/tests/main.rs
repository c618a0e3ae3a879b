//! Tests of the program `kiln` as a user meets it: its arguments, its output, its exit status.
//!
//! Everything here runs in an environment of its own ([`support::Kiln`]). Those in [`build`] make containers, which needs root;
//! without it they say `skipped` and why.

mod auto_cache;
mod auto_cache_images;
mod build;
mod docker;
#[expect(dead_code, reason = "the tests of the registry client use all of it")]
#[path = "../../registry/tests/support/docker_registry.rs"]
mod docker_registry;
#[expect(dead_code, reason = "the tests of the registry client use all of it")]
#[path = "../../registry/tests/support/faulty_proxy.rs"]
mod faulty_proxy;
mod go;
mod help;
mod misuse;
#[expect(dead_code, reason = "the tests of remote caches use all of it")]
#[path = "../../remote/tests/support/moto.rs"]
mod moto;
mod report;
mod support;
mod why;
