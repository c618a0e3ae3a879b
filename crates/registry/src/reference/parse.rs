//! The scanner for references and what it says when it refuses one.

use super::{DEFAULT_TAG, DOCKER_HUB, OFFICIAL, Reference, Repository};
use kiln_digest::{Digest, ParseDigestError};
use std::fmt;

/// Longest name, registry included, that registries accept.
const NAME_MAX: usize = 255;

/// A text that is not a reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad reference `{text}`: {problem}{}", hint_line(.hint.as_deref()))]
pub struct ReferenceError {
    /// The text, as given.
    pub text: String,
    /// What is wrong with it.
    pub problem: ReferenceProblem,
    /// What could have been meant.
    pub hint: Option<String>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceProblem {
    /// Nothing at all, or only a tag or digest.
    Empty,
    /// White space at an end or within.
    Space,
    /// `https://…` instead of a registry's name.
    Scheme,
    /// Upper-case letters in the repository's name.
    UpperCase,
    /// A character or arrangement that a repository's name cannot have; the component is given.
    Name(String),
    /// Not a host name, address or port; the registry is given.
    Registry(String),
    /// Not a tag; it is given.
    Tag(String),
    /// Not a digest that kiln can verify; the digest's own message is given.
    Digest(String),
    /// Longer than 255 characters.
    TooLong,
    /// 64 hexadecimal digits, which would be taken for an image's id.
    LooksLikeId,
}

impl fmt::Display for ReferenceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no name"),
            Self::Space => f.write_str("there is white space in it"),
            Self::Scheme => f.write_str("it starts like a URL"),
            Self::UpperCase => f.write_str("the repository's name must be lower case"),
            Self::Name(part) if part.is_empty() => f.write_str("a component of the name is empty"),
            Self::Name(part) => write!(f, "`{part}` cannot be part of a repository's name"),
            Self::Registry(registry) => write!(f, "`{registry}` is not a registry's host name"),
            Self::Tag(tag) if tag.is_empty() => f.write_str("the tag is empty"),
            Self::Tag(tag) => write!(f, "`{tag}` is not a tag"),
            Self::Digest(message) => f.write_str(message),
            Self::TooLong => write!(f, "the name is longer than {NAME_MAX} characters"),
            Self::LooksLikeId => f.write_str("64 hexadecimal digits are an image's id, not a name"),
        }
    }
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("\nhint: {hint}"))
}

pub(super) fn reference(text: &str) -> Result<Reference, ReferenceError> {
    scan(text).map_err(|problem| ReferenceError { hint: hint(text, &problem), text: text.to_owned(), problem })
}

fn scan(text: &str) -> Result<Reference, ReferenceProblem> {
    if text.chars().any(char::is_whitespace) {
        return Err(ReferenceProblem::Space);
    }
    if text.contains("://") {
        return Err(ReferenceProblem::Scheme);
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].split_once(':') {
        Some((before, tag)) if is_tag(tag) => (&rest[..last + before.len()], Some(tag.to_owned())),
        Some((_, tag)) => return Err(ReferenceProblem::Tag(tag.to_owned())),
        None => (rest, None),
    };
    if name.is_empty() {
        return Err(ReferenceProblem::Empty);
    }
    let repository = repository(name)?;
    let tag = match (&digest, tag) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (_, tag) => tag,
    };
    Ok(Reference { repository, tag, digest })
}

fn repository(text: &str) -> Result<Repository, ReferenceProblem> {
    let (registry, path) = match text.split_once('/') {
        Some((first, rest)) if is_registry_like(first) => (first, rest),
        _ => (DOCKER_HUB, text),
    };
    if !is_registry(registry) {
        return Err(ReferenceProblem::Registry(registry.to_owned()));
    }
    if path.is_empty() {
        return Err(ReferenceProblem::Empty);
    }
    for part in path.split('/') {
        if part.bytes().any(|b| b.is_ascii_uppercase()) && is_name_part(&part.to_ascii_lowercase()) {
            return Err(ReferenceProblem::UpperCase);
        }
        if !is_name_part(part) {
            return Err(ReferenceProblem::Name(part.to_owned()));
        }
    }
    if registry == DOCKER_HUB && is_id(path) {
        return Err(ReferenceProblem::LooksLikeId);
    }
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    let name =
        if registry == DOCKER_HUB && !path.contains('/') { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    if registry.len() + 1 + name.len() > NAME_MAX {
        return Err(ReferenceProblem::TooLong);
    }
    Ok(Repository { registry: registry.to_owned(), name })
}

/// Whether a name could be a digest without its algorithm.
pub(super) fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceProblem> {
    text.parse().map_err(|error: ParseDigestError| {
        // The digest's own hint would end up in the middle of this message.
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        ReferenceProblem::Digest(first.to_owned())
    })
}

/// Whether the first component of several is a registry rather than a user of Docker Hub.
pub(super) fn is_registry_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '[']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// `HOST[:PORT]`, the host a name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if rest.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.is_none_or(|host| host.split('.').all(is_label))
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
pub(crate) fn is_name_part(part: &str) -> bool {
    let mut rest = part;
    loop {
        let word = rest.bytes().take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let length = rest.bytes().take_while(|b| matches!(b, b'.' | b'_' | b'-')).count();
        let (separator, after) = rest.split_at(length);
        rest = after;
        let dashes = !separator.is_empty() && separator.bytes().all(|b| b == b'-');
        if !dashes && !matches!(separator, "." | "_" | "__") {
            return false;
        }
    }
}

/// A letter, digit or `_`, then up to 127 of those, `.` and `-`.
pub(super) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn hint(text: &str, problem: &ReferenceProblem) -> Option<String> {
    let meant = |candidate: String| scan(&candidate).is_ok().then(|| format!("did you mean `{candidate}`?"));
    match problem {
        ReferenceProblem::Space => meant(text.trim().to_owned()),
        ReferenceProblem::Scheme => {
            let (_, rest) = text.split_once("://")?;
            meant(rest.trim_end_matches('/').to_owned())
        }
        ReferenceProblem::UpperCase => {
            let tag = text.rfind([':', '@']).filter(|&at| at > text.rfind('/').unwrap_or(0));
            let (name, suffix) = text.split_at(tag.unwrap_or(text.len()));
            meant(format!("{}{suffix}", name.to_ascii_lowercase()))
        }
        ReferenceProblem::Tag(tag) if tag.is_empty() => meant(text.replacen(':', "", 1)),
        ReferenceProblem::Tag(_) => {
            Some("a tag is up to 128 letters, digits, `_`, `.` and `-`, and starts with none of the last two".to_owned())
        }
        ReferenceProblem::Name(_) => Some(
            "a name is lower-case letters and digits, with single `.`, `_`, `__` or dashes between them, in parts separated by `/`"
                .to_owned(),
        ),
        ReferenceProblem::Digest(_) => Some("a digest is `sha256:` and 64 lower-case hexadecimal digits".to_owned()),
        ReferenceProblem::Empty
        | ReferenceProblem::Registry(_)
        | ReferenceProblem::TooLong
        | ReferenceProblem::LooksLikeId => None,
    }
}
