//! What foreign text must lose before it is shown: secrets, control characters, and most of its length.

use reqwest::Url;

/// Longest text of a registry that is quoted in a message.
const QUOTED_MAX: usize = 300;

/// A URL without user, password, query and fragment: signed URLs carry their secret in the query.
pub(crate) fn url(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{host}{port}{}{query}", url.scheme(), url.path())
}

/// Text from a server or a program as one line of printable characters.
pub(crate) fn text(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > QUOTED_MAX {
            let cut = (0..=QUOTED_MAX).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
            line.truncate(cut);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets() {
        let secret = Url::parse("https://user:pw@host:8443/v2/x/blobs/1?X-Amz-Signature=abc#frag").unwrap();
        assert_eq!(url(&secret), "https://host:8443/v2/x/blobs/1?…");
        assert_eq!(url(&Url::parse("http://h/p").unwrap()), "http://h/p");
    }

    #[test]
    fn text_is_one_printable_short_line() {
        assert_eq!(text("a\u{1b}[31mb\n\tc"), "a [31mb c");
        let long = text(&"ä".repeat(1000));
        assert!(long.len() <= QUOTED_MAX + "…".len() && long.ends_with('…'));
    }
}
