//! Cache keys made of named parts.
//!
//! A key is the hash of all its parts, names and values, in order. Because nothing else enters it, two keys that differ always
//! differ in a part that has a name.

use kiln_digest::{CacheKey, ContentDigest, Hasher};
use serde::{Deserialize, Serialize};

/// The named parts of a cache key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyParts {
    parts: Vec<Part>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is: `command`, the name of a variable, `base`, `files of the build context`.
    pub name: String,
    /// Its value.
    pub value: PartValue,
}

/// The value of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartValue {
    /// A short text that can be shown.
    Text(String),
    /// The content of an input, and what people are told when it changed.
    Content(ContentDigest, String),
    /// Files selected from an input; which ones is found under the digest ([`FileListing`]).
    Files(ContentDigest),
    /// A text that nobody is to see, as its digest, and what people are shown in its place.
    Hidden(ContentDigest, String),
}

/// The files behind a [`PartValue::Files`], sorted by path: enough to say which one changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileListing {
    /// Path, and the first bytes of the digest of the file's metadata and contents.
    pub files: Vec<(String, [u8; 16])>,
}

/// What a step was made from when it last ran or was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The key.
    pub key: CacheKey,
    /// The key's parts.
    pub parts: KeyParts,
}

impl KeyParts {
    /// The name of the part that says what kind of operation it is.
    pub const OP: &'static str = "op";

    /// No parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part whose value is a text.
    pub fn text(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.push(name.into(), PartValue::Text(value.into()))
    }

    /// Adds a part whose value is a text that is kept nowhere, and what people are shown in its place.
    pub fn hidden(&mut self, name: impl Into<String>, value: &str, shown: impl Into<String>) -> &mut Self {
        self.push(name.into(), PartValue::Hidden(ContentDigest::of_bytes(value.as_bytes()), shown.into()))
    }

    /// Adds the content of an input, and what people are told when it changed.
    pub fn content(&mut self, name: impl Into<String>, content: ContentDigest, said: impl Into<String>) -> &mut Self {
        self.push(name.into(), PartValue::Content(content, said.into()))
    }

    /// Adds files selected from an input.
    pub fn files(&mut self, name: impl Into<String>, digest: ContentDigest) -> &mut Self {
        self.push(name.into(), PartValue::Files(digest))
    }

    fn push(&mut self, name: String, value: PartValue) -> &mut Self {
        self.parts.push(Part { name, value });
        self
    }

    /// The parts in order.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// The key. What people are told is not part of it.
    pub fn key(&self) -> CacheKey {
        self.key_of(|_| true)
    }

    /// Whether there is no difference between the two but in the part of this name.
    pub fn differs_only_in(&self, name: &str, other: &Self) -> bool {
        let rest = |parts: &Self| parts.key_of(|part| part.name != name);
        rest(self) == rest(other)
    }

    fn key_of(&self, counts: impl Fn(&Part) -> bool) -> CacheKey {
        let mut hasher = Hasher::new("kiln cache key v1");
        for part in self.parts.iter().filter(|part| counts(part)) {
            hasher.field(part.name.as_bytes());
            match &part.value {
                PartValue::Text(text) => hasher.number(0).field(text.as_bytes()),
                PartValue::Content(content, _) => hasher.number(1).field(content.as_bytes()),
                PartValue::Files(digest) => hasher.number(2).field(digest.as_bytes()),
                PartValue::Hidden(digest, _) => hasher.number(3).field(digest.as_bytes()),
            };
        }
        hasher.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> ContentDigest {
        ContentDigest::of_bytes(text.as_bytes())
    }

    #[test]
    fn every_part_changes_the_key_and_labels_do_not() {
        let make = |command: &str, base: &str, called: &str| {
            let mut parts = KeyParts::new();
            parts.text("command", command).content("base", content(base), called);
            parts.key()
        };
        assert_eq!(make("a", "b", "x"), make("a", "b", "y"));
        assert_ne!(make("a", "b", "x"), make("c", "b", "x"));
        assert_ne!(make("a", "b", "x"), make("a", "c", "x"));
    }

    #[test]
    fn a_text_is_never_a_digest() {
        let mut text = KeyParts::new();
        text.text("files", "x");
        let mut files = KeyParts::new();
        files.files("files", content("x"));
        assert_ne!(text.key(), files.key());
    }
}
