//! Chance, for tests that try many instants. A failing test prints its seed.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Numbers that differ from run to run (xorshift).
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A new sequence; its seed goes to standard output, which the test harness shows when the test fails.
    pub(crate) fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish() | 1;
        println!("seed {seed}");
        Self { state: seed }
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit.max(1)
    }
}
