//! File content that is the same in every run: pseudo-random, never random.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// The unit in which content does and does not compress.
const BLOCK: usize = 64 * 1024;

/// Writes a file of which every second block does not compress: so many times the same `mebibytes`, which are more than any compressor looks
/// back.
pub(super) fn write_half_compressible(path: &Path, mebibytes: usize, times: usize) -> Result<()> {
    let mut generator = Generator::new(512);
    let mut content = Vec::with_capacity(mebibytes << 20);
    while content.len() < mebibytes << 20 {
        content.extend(generator.bytes(BLOCK));
        content.extend(generator.text(BLOCK));
    }
    let written = File::create(path).and_then(|mut file| (0..times).try_for_each(|_| file.write_all(&content)));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// A xorshift generator; good enough to be incompressible.
pub(super) struct Generator(u64);

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        // A xorshift must not start from zero, and small seeds start alike.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// `length` bytes that do not compress.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// `length` bytes of text that compresses as source code does.
    pub(super) fn text(&mut self, length: usize) -> Vec<u8> {
        const WORDS: &[&str] = &[
            "return", "value", "error", "func", "string", "range", "if", "nil", "len", "append", "context", "request",
            "response", "byte", "index", "map", "struct", "type", "\n", "\n",
        ];
        let mut text = Vec::with_capacity(length + 16);
        while text.len() < length {
            text.extend_from_slice(WORDS[self.below(WORDS.len() as u64) as usize].as_bytes());
            text.push(b' ');
        }
        text.truncate(length);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_content() {
        assert_eq!(Generator::new(7).bytes(100), Generator::new(7).bytes(100));
        assert_ne!(Generator::new(7).bytes(100), Generator::new(8).bytes(100));
        assert_eq!(Generator::new(7).text(1000).len(), 1000);
    }
}
