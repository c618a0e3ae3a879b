//! BLAKE3 digests of kiln's own: newtypes over 32 bytes, written as 64 hexadecimal digits.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest of 64 hexadecimal digits")]
pub struct ParseInternalDigestError(String);

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The 32 raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Wraps 32 raw bytes, for instance from a database column.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// 64 lower-case hexadecimal digits.
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.to_hex()[..12])
            }
        }

        impl FromStr for $name {
            type Err = ParseInternalDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseInternalDigestError(text.to_owned()))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(&self.to_hex())
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 32]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

digest_newtype! {
    /// What something is: the bytes of a file, the files of a tree, a filesystem change. Times are never part of it.
    ContentDigest
}
digest_newtype! {
    /// What an operation on given contents yields, in any run on any machine.
    CacheKey
}
digest_newtype! {
    /// The identity of a vertex within one run: its operation and, recursively, those of its inputs.
    DefinitionDigest
}

/// Hashes a sequence of fields, each framed by its length.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a digest in a named domain (`"kiln layer v1"`): the same fields in two domains differ.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Adds one field, framed.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a number, as eight bytes.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// The digest as a content digest.
    pub fn content(&self) -> ContentDigest {
        ContentDigest(*self.0.finalize().as_bytes())
    }

    /// The digest as a cache key.
    pub fn key(&self) -> CacheKey {
        CacheKey(*self.0.finalize().as_bytes())
    }

    /// The digest as a definition digest.
    pub fn definition(&self) -> DefinitionDigest {
        DefinitionDigest(*self.0.finalize().as_bytes())
    }
}

impl ContentDigest {
    /// The digest of a file's bytes, unframed, as [`ContentDigest::of_reader`] gives it.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of all that a reader yields.
    ///
    /// # Errors
    /// What the reader returns.
    pub fn of_reader(mut reader: impl std::io::Read) -> std::io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Self(*hasher.finalize().as_bytes())),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_framed() {
        let one = Hasher::new("t").field(b"ab").field(b"c").content();
        let other = Hasher::new("t").field(b"a").field(b"bc").content();
        assert_ne!(one, other);
    }

    #[test]
    fn text_round_trips() {
        let digest = ContentDigest::of_bytes(b"kiln");
        assert_eq!(digest, digest.to_hex().parse().unwrap());
        assert_eq!(digest, ContentDigest::of_reader(&b"kiln"[..]).unwrap());
        assert!("12".parse::<ContentDigest>().is_err());
    }
}
