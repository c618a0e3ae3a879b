//! `InvalidDefaultArgInFrom`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    summary: "FROM names an image even without build arguments",
    explanation: "A Dockerfile should build without `--build-arg`. Here the defaults of its arguments give an image's name that \
                  is empty or cannot be one. Give the `ARG` a default, or write `${NAME:-default}`.",
    bad: "ARG TAG\nFROM busybox:${TAG}\n",
    good: "ARG TAG=latest\nFROM busybox:${TAG}\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        let image = &stage.from.image;
        let Ok(expanded) = scope.global_default(image) else { return };
        if !is_reference(&expanded.text) {
            report.add_with_hint(
                image.span,
                format!("without build arguments the image is named `{}`, which no image can be", expanded.text),
                "give the argument a default: ARG name=default",
            );
        }
    }
}

/// Whether a text can be the name of an image: `[host[:port]/]path[:tag][@algorithm:hex]`.
fn is_reference(text: &str) -> bool {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before a slash belongs to the host.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return false;
    }
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() => {
            if !is_host(host) {
                return false;
            }
            path
        }
        _ => name,
    };
    // Sixty-four hexadecimal digits are the id of an image.
    let is_id = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    !is_id && path.len() <= 255 && path.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_letter(*first) || !is_letter(*last) {
        return false;
    }
    // Between letters stand one `.`, one or two `_`, or any number of `-`.
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators
        .filter(|part| !part.is_empty())
        .all(|part| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    tag.len() <= 128 && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && tag.chars().all(rest)
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let valid = algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '_' | '-'));
    valid && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':') && is_port(port);
    }
    let (name, port) = match host.find(':') {
        Some(at) => host.split_at(at),
        None => (host, ""),
    };
    is_port(port)
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

fn is_port(port: &str) -> bool {
    match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::{RULE, is_reference};
    use crate::rules::tests::check;

    #[test]
    fn defaults() {
        check(
            &RULE,
            "ARG A\nFROM $A\nFROM ${A:-b}",
            &["$A: without build arguments the image is named ``, which no image can be"],
        );
        check(&RULE, "ARG A=b\nARG C=$A:1\nFROM $C AS d\nFROM d", &[]);
    }

    #[test]
    fn references() {
        for text in [
            "scratch",
            "a:1",
            "a/b.c/d__e/f---g:V_1.2-x",
            "localhost/a",
            "localhost:5000/a:1",
            "Host.example/a",
            "[::1]:5000/a",
            &format!("a@sha256:{}", "0".repeat(64)),
            &format!("a:1@sha256:{}", "0".repeat(64)),
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "",
            ":1",
            "a:",
            "A",
            "a/B",
            "a//b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a:-1",
            "a@sha256:0",
            "a@",
            "a b",
            "a/",
            "/a",
            "$A",
            "host.:5000/a",
            "localhost:x/a",
            &"a".repeat(64),
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
