//! The keys of cache mounts. A key begins with an id: that of an explicit mount, or the name of an automatic cache. What follows says what
//! a new one starts as, and whose it is, so that caches that differ there are kept apart. No part of a key depends on the machine.

/// What the keys of automatic caches begin with.
const NAMESPACE: &str = "auto/";

/// What separates what a new cache starts as from the id: of an explicit mount, of an automatic cache.
const STARTS: [&str; 2] = ["|from=", " over "];

/// What separates mode and owner from what goes before.
const OWNERS: [&str; 2] = ["|", " "];

/// What separates the digest of files that the tool does not look at from all before it ([`super::unseen`]).
const BESIDE: &str = " beside ";

/// The id of an explicit cache mount, kept apart from those of automatic caches.
pub(crate) fn explicit(id: &str) -> String {
    if id.trim_start_matches("./").starts_with(NAMESPACE) { format!("./{id}") } else { id.to_owned() }
}

/// The id of an automatic cache.
pub(crate) fn automatic(id: &str) -> String {
    format!("{NAMESPACE}{}", id.trim_start_matches(NAMESPACE))
}

/// The key of an automatic cache that only steps share which see the same files.
pub(crate) fn beside(key: &str, files: &str) -> String {
    format!("{key}{BESIDE}{files}")
}

/// Whether a key is one that a cache of this id has in some step.
pub(crate) fn is_of(key: &str, id: &str) -> bool {
    let Some(rest) = key.strip_prefix(id) else { return false };
    let rest = rest.rsplit_once(BESIDE).filter(|(_, files)| is_hex(files)).map_or(rest, |(rest, _)| rest);
    let rest = OWNERS.iter().find_map(|mark| without_owner(rest, mark)).unwrap_or(rest);
    rest.is_empty() || STARTS.iter().any(|mark| rest.strip_prefix(mark).is_some_and(is_hex))
}

/// A key without mode and owner, if it has them.
fn without_owner<'a>(rest: &'a str, mark: &str) -> Option<&'a str> {
    let (before, owner) = rest.rsplit_once(':').and_then(|(rest, gid)| {
        let (rest, uid) = rest.rsplit_once(' ')?;
        let (before, mode) = rest.rsplit_once(mark)?;
        Some((before, [gid, uid, mode]))
    })?;
    owner.iter().all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit())).then_some(before)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_an_id() {
        for (key, id, expected) in [
            ("npm", "npm", true),
            ("npm|755 1000:1000", "npm", true),
            ("npm|from=0af3", "npm", true),
            ("npm|from=0af3|700 1:1", "npm", true),
            ("npm cache", "npm", false),
            ("npm2", "npm", false),
            ("npm|other", "npm", false),
            ("npm|755 x:1", "npm", false),
            ("auto/go-build", "auto/go-build", true),
            ("auto/go-build over 0123456789abcdef", "auto/go-build", true),
            ("auto/go-build over 0123456789abcdef 700 1:1", "auto/go-build", true),
            ("auto/go-build 755 1000:1000", "auto/go-build", true),
            ("auto/go-build beside 01ab", "auto/go-build", true),
            ("auto/go-build over 0123456789abcdef 700 1:1 beside 01ab", "auto/go-build", true),
            ("auto/go-build beside it", "auto/go-build", false),
            ("auto/go-build over it", "auto/go-build", false),
        ] {
            assert_eq!(is_of(key, id), expected, "{key} of {id}");
        }
    }

    #[test]
    fn an_id_takes_no_automatic_cache() {
        assert_eq!(explicit("auto/go"), "./auto/go");
        assert_eq!(explicit("./auto/go"), "././auto/go");
        assert_eq!(explicit("go"), "go");
        assert_eq!((automatic("go"), automatic("auto/go")), ("auto/go".to_owned(), "auto/go".to_owned()));
    }
}
