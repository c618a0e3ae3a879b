//! What the result of a step *is*.

use kiln_digest::{ContentDigest, Hasher};

/// The content of a step's result: that of its base, changed by a diff. A step without a base starts from nothing.
pub fn step_content(base: Option<&ContentDigest>, diff: &ContentDigest) -> ContentDigest {
    let mut hasher = Hasher::new("kiln step content v1");
    match base {
        Some(base) => hasher.number(1).field(base.as_bytes()),
        None => hasher.number(0),
    };
    hasher.field(diff.as_bytes()).content()
}
