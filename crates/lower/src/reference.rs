//! Names of images: the canonical form that a resolver is asked for, and the short one by which people override an image.
//!
//! The grammar is that of the distribution project's reference package: `[domain/]path[:tag][@digest]`. It is read by hand:
//! `oci-spec`'s `Reference` compiles a regular expression first, which takes longer than a build that has nothing to do.

/// Where names without a registry come from.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The longest `domain/path`.
const MAX_NAME: usize = 255;
/// The longest tag.
const MAX_TAG: usize = 128;

/// The canonical name of an image, with registry and with tag or digest: `docker.io/library/alpine:latest`.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    // A colon before the last slash is that of a port.
    let (full, tag) = match rest.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
        _ => (rest, None),
    };
    let (domain, path) = split_domain(full);
    let valid = is_domain(domain)
        && path.split('/').all(is_component)
        && domain.len() + 1 + path.len() <= MAX_NAME
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        // A name of 64 hexadecimal digits would be taken for an id.
        && !is_id(name);
    if !valid {
        return None;
    }
    let library = if domain == DEFAULT_DOMAIN && !path.contains('/') { "library/" } else { "" };
    let mut full = format!("{domain}/{library}{path}");
    match (tag, digest) {
        (Some(tag), _) => full.push_str(&format!(":{tag}")),
        (None, None) => full.push_str(":latest"),
        (None, Some(_)) => {}
    }
    if let Some(digest) = digest {
        full.push_str(&format!("@{digest}"));
    }
    Some(full)
}

/// The name as people write it, from any spelling: `alpine`, `alpine:3.20`, `example.org/a/b`. Names of contexts are compared so.
pub(crate) fn familiar(name: &str) -> Option<String> {
    let full = canonical(name)?;
    let without_domain = || full.strip_prefix("docker.io/").filter(|path| split_domain(path).0 == DEFAULT_DOMAIN);
    let official = full.strip_prefix("docker.io/library/").filter(|name| !name.contains('/'));
    let short = official.or_else(without_domain).unwrap_or(&full);
    Some(short.strip_suffix(":latest").unwrap_or(short).to_owned())
}

/// The registry and the rest. The first component is a registry if it looks like a host.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_DOMAIN, path),
        Some((first, path))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

/// `host[:port]`, the host being a name, an IPv4 address, or an IPv6 address in brackets.
fn is_domain(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let hexadecimal = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
        return hexadecimal && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Runs of lower-case letters and digits, between them one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|b| is_word(**b)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|b| !is_word(**b)).count();
        if !matches!(&rest[..separator], b"." | b"_" | b"__") && !rest[..separator].iter().all(|b| *b == b'-') {
            return false;
        }
        rest = &rest[separator..];
    }
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

/// `sha256:HEX` and what else the specification names; whether kiln can verify it is for those who read it.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let hexadecimal = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hexadecimal && digits.len() == length
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_image() {
        for (name, full, short) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine"),
            ("docker.io/library/alpine:latest", "docker.io/library/alpine:latest", "alpine"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine"),
            ("golang:1.25-trixie", "docker.io/library/golang:1.25-trixie", "golang:1.25-trixie"),
            ("moby/buildkit", "docker.io/moby/buildkit:latest", "moby/buildkit"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a"),
            ("localhost/a:v1", "localhost/a:v1", "localhost/a:v1"),
            ("a.b-c/d_e__f--g.h/i", "a.b-c/d_e__f--g.h/i:latest", "a.b-c/d_e__f--g.h/i"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a"),
            ("Registry/a", "Registry/a:latest", "Registry/a"),
            (
                "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "docker.io/library/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "a:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "docker.io/library/a:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "a:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
        ] {
            assert_eq!(canonical(name).as_deref(), Some(full), "{name}");
            assert_eq!(familiar(name).as_deref(), Some(short), "{name}");
        }
    }

    #[test]
    fn what_is_no_reference() {
        let long = "a".repeat(300);
        let tag = format!("a:{}", "t".repeat(129));
        let id = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for bad in [
            "",
            "Alpine",
            "a:",
            "a b",
            "a@sha256:12",
            "a@",
            "-a",
            "a-",
            "a//b",
            "a/",
            "/a",
            "a:x:y",
            "a___b",
            "a..b",
            "a._b",
            "a:.x",
            "x.y:/a",
            "x.y:p/a",
            ".x/a",
            "[::1/a",
            "a@md5:00",
            "é",
            "a:é",
            &long,
            &tag,
            id,
        ] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }
}
