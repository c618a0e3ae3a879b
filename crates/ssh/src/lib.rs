//! An SSH agent for steps of a build: the user's own one, or private keys that this crate serves.
//!
//! Owns reading of private keys, the agent's protocol (draft-miller-ssh-agent), and the socket that one step sees. Knows nothing
//! of builds, mounts or Dockerfiles.
//!
//! # Invariants
//!
//! - A step can list keys and have something signed. It cannot add, remove or lock keys, nor call extensions, whoever holds the
//!   keys: other requests never reach the user's agent.
//! - What a step sends is bounded: the size of a message, and how many connections are open at once.
//! - No message and no `Debug` output holds key material.
//! - When a [`Forward`] is dropped, its socket is gone, and so are all connections and threads.

mod agent;
mod forward;
mod key;
mod wire;

pub use agent::{Agent, OpenError};
pub use forward::{Forward, SocketOwner};
pub use key::{Key, KeyError};
