//! Files from URLs: what is an address of one, and what the file is called.

use kiln_digest::Digest;
use serde::{Deserialize, Serialize};

/// One file from a URL (`ADD https://…`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpFile {
    /// The address.
    pub url: String,
    /// What its bytes must be (`--checksum`).
    pub checksum: Option<Digest>,
    /// The file's name in the resulting tree.
    pub filename: String,
}

/// The name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

impl HttpFile {
    /// The file at an address, under the name that the address gives it.
    pub fn at(url: &str, checksum: Option<Digest>) -> Self {
        Self { url: url.to_owned(), checksum, filename: filename(url) }
    }

    /// Whether a text is the address of something to be had by HTTP.
    pub fn is_url(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }
}

/// The last component of the URL's path, decoded.
fn filename(url: &str) -> String {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let before_query = after.split(['?', '#']).next().unwrap_or_default();
    let path = before_query.split_once('/').map_or("", |(_, path)| path);
    let Some(decoded) = percent_decode(path) else { return UNNAMED.to_owned() };
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) if name.contains('\0') => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// An address without the user and the password in it.
pub fn without_credentials(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let host_ends = rest.find('/').unwrap_or(rest.len());
            let host = rest[..host_ends].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[host_ends..])
        }
        None => address.to_owned(),
    }
}

/// The text that `%XX` stand for; `None` where they are malformed, or stand for what is no UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.contains('+'))?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_left_out() {
        for (address, shown) in [
            ("https://user:pw@h:1/a@b", "https://h:1/a@b"),
            ("https://h/a", "https://h/a"),
            ("https://u@h", "https://h"),
            ("git@h:a/b", "git@h:a/b"),
        ] {
            assert_eq!(without_credentials(address), shown);
        }
    }

    #[test]
    fn names_of_downloaded_files() {
        for (url, name) in [
            ("https://example.org/a/b.tar.gz?x=1#y", "b.tar.gz"),
            ("https://example.org/a%20b", "a b"),
            ("https://example.org/a%2Fb", "b"),
            ("https://example.org/dir/", "dir"),
            ("https://example.org/", UNNAMED),
            ("https://example.org", UNNAMED),
            ("https://example.org/..", UNNAMED),
            ("https://example.org/%zz", UNNAMED),
            ("https://example.org/a%", UNNAMED),
            ("https://example.org/a%00b", UNNAMED),
            ("https://example.org/%ff", UNNAMED),
        ] {
            assert_eq!(filename(url), name, "{url}");
        }
    }
}
