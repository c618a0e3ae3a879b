//! What the tests of the protocol talk to. Each file stands alone, so that another crate's tests can include just that
//! (`#[path = "../../registry/tests/support/docker_registry.rs"]`).

pub(crate) mod docker_registry;
pub(crate) mod faulty_proxy;
pub(crate) mod faulty_server;
pub(crate) mod layout;
