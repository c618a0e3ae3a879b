//! The secrets of a build, as far as its steps have seen them, so that what is kept of the build can do without them.

use crate::request::SecretSource;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What stands where a secret stood.
pub(crate) const HIDDEN: &str = "****";

/// Shorter values are words of every text; to hide them would tell more than it hides.
const SHORTEST: usize = 4;

/// A line of a secret that is worth hiding by itself, in bytes.
const SHORTEST_LINE: usize = 8;

/// The size in bytes of the largest secret whose lines are hidden one by one. A private key is smaller.
const LARGEST_WITH_LINES: usize = 4 << 10;

/// Values to hide. A secret that is a file is read when a step uses it, and only then: it may be a pipe.
#[derive(Default)]
pub(crate) struct Redaction {
    values: Mutex<BTreeSet<Vec<u8>>>,
}

impl Redaction {
    /// Knows those secrets of a build that are values already.
    pub(crate) fn new(secrets: &BTreeMap<String, SecretSource>) -> Self {
        let redaction = Self::default();
        for source in secrets.values() {
            if let SecretSource::Value(value) = source {
                redaction.add(&value.0);
            }
        }
        redaction
    }

    /// Hides this secret from now on, and each line of it, as a shell would print them.
    pub(crate) fn add(&self, secret: &[u8]) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = secret.trim_ascii();
        if whole.len() >= SHORTEST {
            values.insert(whole.to_vec());
        }
        if whole.len() <= LARGEST_WITH_LINES {
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            values.extend(lines.filter(|line| line.len() >= SHORTEST_LINE).map(<[u8]>::to_vec));
        }
    }

    /// The data with [`HIDDEN`] for each secret. It never gets longer.
    pub(crate) fn bytes(&self, mut data: Vec<u8>) -> Vec<u8> {
        let mut values: Vec<Vec<u8>> =
            self.values.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        // What holds another comes before it.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in &values {
            data = replace(data, value);
        }
        data
    }

    /// [`Redaction::bytes`] for a text.
    pub(crate) fn text(&self, text: String) -> String {
        String::from_utf8_lossy(&self.bytes(text.into_bytes())).into_owned()
    }
}

fn replace(data: Vec<u8>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(next) = data[at..].iter().position(|byte| *byte == value[0]) {
        at += next;
        if data[at..].starts_with(value) {
            out.extend_from_slice(&data[copied..at]);
            out.extend_from_slice(HIDDEN.as_bytes());
            at += value.len();
            copied = at;
        } else {
            at += 1;
        }
    }
    if copied == 0 {
        return data;
    }
    out.extend_from_slice(&data[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SecretValue;

    #[test]
    fn values_and_their_lines_are_hidden() {
        let value = |text: &str| SecretSource::Value(SecretValue(text.as_bytes().to_vec()));
        let redaction = Redaction::new(&BTreeMap::from([
            ("a".to_owned(), value("hunter2\n")),
            ("b".to_owned(), value("hunter22")),
            ("short".to_owned(), value("abc")),
            ("empty".to_owned(), value(" \n")),
        ]));
        redaction.add(b"-----BEGIN-----\nxyz\n0123456789\n");
        for (text, kept) in [
            ("hunter2", "****"),
            ("a hunter22 hunter2hunter2\n", "a **** ********\n"),
            ("hunterhunter2 abc", "hunter**** abc"),
            ("-----BEGIN-----\nxyz\n0123456789 z", "**** z"),
            ("-----BEGIN----- xyz 0123456789", "**** xyz ****"),
            ("", ""),
        ] {
            assert_eq!(redaction.text(text.to_owned()), kept);
        }
    }
}
