//! Annotations: `--annotation [PLACE[PLATFORM],…:]KEY=VALUE`, and the attributes `annotation[-PLACE][PLATFORM].KEY=VALUE` of an output.

use crate::error::UsageError;
use crate::values;
use kiln_engine::{Annotation, AnnotationPlace};
use kiln_graph::Platform;

const PLACES: &str = "the places are `manifest`, `manifest-descriptor`, `index` and `index-descriptor`";

/// Reads one `--annotation`: the same note on one place or several.
pub(crate) fn parse(text: &str) -> Result<Vec<Annotation>, UsageError> {
    let malformed = || {
        UsageError::new(format!("`{text}` is not `KEY=VALUE`")).hint("or `PLACE:KEY=VALUE`, for example `index:a=b`")
    };
    let (left, value) = text.split_once('=').ok_or_else(malformed)?;
    let (places, key) = left.split_once(':').map_or((None, left), |(places, key)| (Some(places), key));
    if key.is_empty() {
        return Err(malformed());
    }
    places.unwrap_or("manifest").split(',').map(|place| annotation(place, key, value)).collect()
}

/// Reads the attribute of an output that begins with `annotation`; `rest` is what follows that.
pub(super) fn attribute(rest: &str, value: &str) -> Result<Annotation, UsageError> {
    let malformed = || {
        UsageError::new(format!("`annotation{rest}` names no annotation")).hint("for example `annotation.KEY=VALUE`")
    };
    // A platform holds no dot, and a key may.
    let (place, key) = match rest.find(['.', '[']) {
        Some(at) if rest[at..].starts_with('[') => {
            let end = rest.find("].").ok_or_else(malformed)?;
            (&rest[..=end], &rest[end + 2..])
        }
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => return Err(malformed()),
    };
    if key.is_empty() {
        return Err(malformed());
    }
    match place.strip_prefix('-') {
        Some(place) => annotation(place, key, value),
        None if place.is_empty() || place.starts_with('[') => annotation(&format!("manifest{place}"), key, value),
        None => Err(malformed()),
    }
}

fn annotation(place: &str, key: &str, value: &str) -> Result<Annotation, UsageError> {
    let (place, platform) = match place.split_once('[').map(|(place, rest)| (place, rest.strip_suffix(']'))) {
        None => (place, None),
        Some((place, Some(platform))) => (place, Some(values::platform(platform)?)),
        Some((_, None)) => {
            return Err(
                UsageError::new(format!("`{place}` does not close its bracket")).hint("`manifest[linux/amd64]`")
            );
        }
    };
    let annotation = |place, platform: Option<Platform>| {
        Ok(Annotation { place, platform, key: key.to_owned(), value: value.to_owned() })
    };
    match (place, platform) {
        ("manifest", platform) => annotation(AnnotationPlace::Manifest, platform),
        ("manifest-descriptor", platform) => annotation(AnnotationPlace::ManifestDescriptor, platform),
        ("index", None) => annotation(AnnotationPlace::Index, None),
        ("index-descriptor", None) => annotation(AnnotationPlace::IndexDescriptor, None),
        ("index" | "index-descriptor", Some(_)) => {
            Err(UsageError::new(format!("`{place}` has no platform")).hint("an index is of all platforms"))
        }
        _ => Err(UsageError::new(format!("unknown place `{place}`")).hint(PLACES)),
    }
}
