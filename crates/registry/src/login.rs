//! What to present to which host: nothing at first, then what its challenge asked for (RFC 9110, §11).
//!
//! A host's challenge is remembered, so that later requests bring their token with them; a token is remembered by host and
//! scope until it expires or is refused, and fetched by one thread while the others wait for it.

use crate::credentials::{Credential, Credentials};
use crate::error::RegistryError;
use crate::exchange::Exchange;
use crate::hosts::Endpoint;
use crate::token::{Realm, Scope, Token, TokenCall, basic};
use crate::transport::lock;
use http_auth::ChallengeParser;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The state of logging in, for all hosts.
#[derive(Debug)]
pub(crate) struct Logins {
    credentials: Credentials,
    challenges: Mutex<HashMap<String, Challenge>>,
    found: Mutex<HashMap<String, Option<Credential>>>,
    tokens: Mutex<HashMap<(String, Scope), Slot>>,
}

/// A token, or the place where one thread is about to put it.
type Slot = Arc<Mutex<Option<Token>>>;

/// What a host wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer(Realm),
}

/// What is sent along with a request.
#[derive(Debug, Default)]
pub(crate) struct Presented {
    pub(crate) header: Option<HeaderValue>,
    /// Whether the host refusing this leaves nothing else to try.
    pub(crate) fresh: bool,
    /// Whether the user's credentials stand behind it.
    pub(crate) logged_in: bool,
}

impl Logins {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, challenges: Mutex::default(), found: Mutex::default(), tokens: Mutex::default() }
    }

    /// Where credentials are looked up.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What to send to a host, as far as its wishes are known. May fetch a token.
    pub(crate) fn present(
        &self,
        exchange: &Exchange,
        endpoint: &Endpoint,
        scope: &Scope,
        subject: &str,
    ) -> Result<Presented, RegistryError> {
        let challenge = lock(&self.challenges).get(&endpoint.address).cloned();
        let Some(challenge) = challenge else { return Ok(Presented::default()) };
        let credential = self.credential(endpoint)?;
        let logged_in = credential.is_some();
        let realm = match challenge {
            Challenge::Bearer(realm) => realm,
            Challenge::Basic => {
                let header = match &credential {
                    Some(Credential::Password { username, password }) => Some(basic(username, password)),
                    _ => None,
                };
                return Ok(Presented { header, fresh: true, logged_in });
            }
        };
        let slot = self.slot(endpoint, scope);
        let mut slot = lock(&slot);
        if let Some(token) = slot.as_ref().filter(|token| token.holds()) {
            return Ok(Presented { header: Some(token.header.clone()), fresh: false, logged_in });
        }
        let call = TokenCall { endpoint, realm: &realm, scope, credential: credential.as_ref(), subject };
        let token = call.fetch(exchange)?;
        let header = Some(token.header.clone());
        *slot = Some(token);
        Ok(Presented { header, fresh: true, logged_in })
    }

    /// Takes note of a challenge, and of what was refused; `false` if there is nothing to answer it with.
    pub(crate) fn learn(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        headers: &HeaderMap,
        refused: &Presented,
    ) -> Result<bool, RegistryError> {
        let Some(challenge) = Challenge::choose(headers) else { return Ok(false) };
        if challenge == Challenge::Basic && !matches!(self.credential(endpoint)?, Some(Credential::Password { .. })) {
            return Ok(false);
        }
        lock(&self.challenges).insert(endpoint.address.clone(), challenge);
        let slot = self.slot(endpoint, scope);
        let mut slot = lock(&slot);
        // Another thread may have replaced it meanwhile.
        if slot.as_ref().map(|token| &token.header) == refused.header.as_ref() {
            *slot = None;
        }
        Ok(true)
    }

    fn slot(&self, endpoint: &Endpoint, scope: &Scope) -> Slot {
        let key = (endpoint.address.clone(), scope.clone());
        lock(&self.tokens).entry(key).or_default().clone()
    }

    fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>, RegistryError> {
        // Held during the look-up, so that a helper is asked once.
        let mut found = lock(&self.found);
        if let Some(credential) = found.get(&endpoint.name) {
            return Ok(credential.clone());
        }
        let credential = self.credentials.find(&endpoint.name)?;
        found.insert(endpoint.name.clone(), credential.clone());
        Ok(credential)
    }
}

impl Challenge {
    /// The challenge to answer, of those in a response: a token rather than a password.
    fn choose(headers: &HeaderMap) -> Option<Self> {
        let mut chosen = None;
        for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
            for challenge in ChallengeParser::new(value).map_while(Result::ok) {
                let parameter = |name: &str| {
                    let (_, value) = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
                    Some(value.to_unescaped()).filter(|value| !value.is_empty())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let url = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
                    let Some(mut url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else { continue };
                    // These only fail for URLs without a host.
                    let _ = url.set_username("");
                    let _ = url.set_password(None);
                    return Some(Self::Bearer(Realm { url, service: parameter("service"), scope: parameter("scope") }));
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    chosen = Some(Self::Basic);
                }
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        Challenge::choose(&headers)
    }

    #[test]
    fn challenges_are_chosen() {
        let bearer = choose(&["bearer realm=\"https://u:p@auth.example/token?x=1\",service=\"s\",scope=\"a b\""]);
        let Some(Challenge::Bearer(realm)) = bearer else { panic!("{bearer:?}") };
        assert_eq!(realm.url.as_str(), "https://auth.example/token?x=1");
        assert_eq!((realm.service.as_deref(), realm.scope.as_deref()), (Some("s"), Some("a b")));
        assert_eq!(choose(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        let both = choose(&["Basic realm=\"x\"", "Bearer realm=\"https://h/t\""]);
        assert!(matches!(both, Some(Challenge::Bearer(_))));
        for unusable in
            [&[][..], &["Digest realm=\"x\""], &["Bearer"], &["Bearer realm=\"file:///etc\""], &["\u{80}=,"]]
        {
            assert_eq!(choose(unusable), None, "{unusable:?}");
        }
    }
}
