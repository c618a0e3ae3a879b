//! The user and the password in an address, which git must not write down, and which nobody shall read in an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_graph::without_credentials;

/// A shorter user without a password, such as `git`, is no token.
const SHORTEST_TOKEN: usize = 4;

/// What is secret of an address.
pub(super) struct Credentials {
    /// `SCHEME://HOST/`, and the value of the `Authorization` header for all that is there.
    authorization: Option<(String, String)>,
    /// What no message may show.
    secrets: Vec<String>,
}

impl Credentials {
    /// Takes the credentials out of an address. The user of an ssh address stays, for it is no secret.
    pub(super) fn split(address: &str) -> (String, Option<Self>) {
        let bare = without_credentials(address);
        let Some((scheme, after)) = address.split_once("://") else { return (bare, None) };
        let authority = after.split('/').next().unwrap_or_default();
        let Some((credentials, host)) = authority.rsplit_once('@') else { return (bare, None) };
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let secret = password.filter(|password| !password.is_empty());
        if scheme == "ssh" {
            let bare = format!("ssh://{user}@{}", &after[credentials.len() + 1..]);
            let secrets = secret.map(str::to_owned).into_iter().collect();
            return (bare, Some(Self { authorization: None, secrets }));
        }
        // As with git itself, a user without a password is nobody's credentials.
        let authorization = password.filter(|_| matches!(scheme, "http" | "https")).map(|password| {
            let pair = [percent_decoded(user), percent_decoded(password)].join(&b':');
            (format!("{scheme}://{host}/"), format!("basic {}", STANDARD.encode(pair)))
        });
        // What is without a password, or without anything in its place, is often a token.
        let secret = secret.or_else(|| Some(user).filter(|user| user.len() >= SHORTEST_TOKEN));
        let mut secrets: Vec<String> = secret.map(str::to_owned).into_iter().collect();
        secrets.extend(secret.map(|secret| String::from_utf8_lossy(&percent_decoded(secret)).into_owned()));
        (bare, Some(Self { authorization, secrets }))
    }

    /// `SCHEME://HOST/`, and the value of the `Authorization` header for all that is there.
    pub(super) fn authorization(&self) -> Option<(&str, &str)> {
        self.authorization.as_ref().map(|(origin, value)| (&**origin, &**value))
    }

    /// The text without the secrets.
    pub(super) fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

/// A text whose addresses have no user and no password.
pub(super) fn without_any_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = part.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(part.len());
        let host = part[..ends].rfind('@').map_or(0, |at| at + 1);
        clean.push_str("://");
        clean.push_str(&part[host..]);
    }
    clean
}

/// The bytes that `%XX` stand for. As with git, what is malformed stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_gets() {
        let split = |address: &str| {
            let (bare, credentials) = Credentials::split(address);
            let authorization = credentials.as_ref().and_then(Credentials::authorization);
            (bare, authorization.map(|(origin, value)| format!("{origin} {value}")))
        };
        for (address, bare, authorization) in [
            ("http://h/a", "http://h/a", None),
            ("http://h/a@b", "http://h/a@b", None),
            ("http://u:p@h:80/a", "http://h:80/a", Some("http://h:80/ basic dTpw")),
            ("https://u:p%40%zz@h/a", "https://h/a", Some("https://h/ basic dTpwQCV6eg==")),
            ("https://u:@h/a", "https://h/a", Some("https://h/ basic dTo=")),
            ("https://token@h/a", "https://h/a", None),
            ("git://u:p@h/a", "git://h/a", None),
            ("ssh://git@h:22/a", "ssh://git@h:22/a", None),
            ("ssh://git:p@h/a", "ssh://git@h/a", None),
            ("git@h:a", "git@h:a", None),
        ] {
            assert_eq!(split(address), (bare.to_owned(), authorization.map(str::to_owned)), "{address}");
        }
    }

    #[test]
    fn what_errors_show() {
        let hide = |address: &str, text: &str| {
            let text = without_any_credentials(text);
            Credentials::split(address).1.map_or(text.clone(), |credentials| credentials.hide(&text))
        };
        assert_eq!(
            hide("http://h/", "no 'http://tok@h/' or 'https://u:p@i', a@b"),
            "no 'http://h/' or 'https://i', a@b"
        );
        assert_eq!(hide("http://token@h/", "token is bad"), "… is bad");
        assert_eq!(hide("http://token:@h/", "token is bad"), "… is bad");
        assert_eq!(hide("http://user:s%20t@h/", "user: s t, s%20t"), "user: …, …");
        assert_eq!(hide("http://git@h/", "git failed"), "git failed");
        assert_eq!(hide("ssh://somebody@h/", "somebody failed"), "somebody failed");
    }
}
