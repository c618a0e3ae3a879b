//! File content that is the same in every run: pseudo-random, never random.

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
