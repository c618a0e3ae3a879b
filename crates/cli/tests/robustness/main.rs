//! What kiln promises when things go wrong, tested through the binary: killed and interrupted builds, full disks, contexts that
//! change, hostile images, broken registries, several processes on one store; and what it promises not to do when nothing
//! changed.
//!
//! Each test has a store and a context of its own. Where the machine lacks something a test says `skipped` and why.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other test program uses the rest")]
mod support;

#[path = "../../../registry/tests/support/docker_registry.rs"]
#[expect(dead_code, reason = "the registry's own tests use the rest")]
mod docker_registry;

mod bad_input;
mod cache_mounts;
mod cached;
mod chance;
mod changing_context;
mod durable;
mod failing_step;
mod fake_registry;
mod full_disk;
mod hostile_archives;
mod interruption;
mod isolation;
mod kill;
mod leftovers;
mod processes;
mod pulling;
mod scheduling;
