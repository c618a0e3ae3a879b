//! Bearer tokens (distribution-spec's "token authentication", OAuth2's refresh grant): asking the service that a registry names,
//! reading its answer, knowing how long it holds.

use crate::credentials::Credential;
use crate::error::RegistryError;
use crate::exchange::{Exchange, Trouble, server_message};
use crate::hosts::Endpoint;
use crate::redact;
use crate::transport::{Call, Payload, is_transient};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Most bytes of a token service's answer. Tokens for many repositories are long, but not that long.
const ANSWER_MAX: u64 = 256 * 1024;

/// How long a token holds whose service doesn't say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// How kiln calls itself to token services.
const CLIENT_ID: &str = "kiln";

/// What a request needs access to: `repository:NAME:ACTIONS`, several separated by spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(String);

impl Scope {
    /// Reading from a repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self(format!("repository:{repository}:pull"))
    }

    /// Nothing but being let in.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }

    /// Writing to a repository; of `mounted`, another one of the same registry, blobs may be taken over.
    pub(crate) fn push(repository: &str, mounted: Option<&str>) -> Self {
        let mounted = mounted.map(|mounted| format!(" repository:{mounted}:pull")).unwrap_or_default();
        Self(format!("repository:{repository}:pull,push{mounted}"))
    }

    /// This and what the registry's challenge asks for besides.
    fn with(&self, challenge: Option<&str>) -> Vec<String> {
        let mut scopes: Vec<String> = Vec::new();
        for scope in self.0.split(' ').chain(challenge.unwrap_or_default().split(' ')) {
            if !scope.is_empty() && !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }
}

/// Where tokens are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Realm {
    pub(crate) url: Url,
    pub(crate) service: Option<String>,
    /// What the last challenge asked for.
    pub(crate) scope: Option<String>,
}

/// A token, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    expires: Instant,
}

impl Token {
    /// Whether it will still hold when a request that is sent now arrives.
    pub(crate) fn holds(&self) -> bool {
        Instant::now() < self.expires
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token request, and whom to blame if it fails.
pub(crate) struct TokenCall<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) realm: &'a Realm,
    pub(crate) scope: &'a Scope,
    pub(crate) credential: Option<&'a Credential>,
    pub(crate) subject: &'a str,
}

impl TokenCall<'_> {
    /// Asks the service, with retries.
    pub(crate) fn fetch(&self, exchange: &Exchange) -> Result<Token, RegistryError> {
        let call = self.call(exchange)?;
        let answer = exchange.retrying(&self.endpoint.name, || {
            let asked = Instant::now();
            let reply = exchange.exchange(self.endpoint, &call, self.subject)?;
            let status = reply.response.status();
            let retry_after = crate::exchange::retry_after(reply.response.headers());
            let body = exchange.read_body(self.endpoint, self.subject, reply.response, ANSWER_MAX)?;
            if status.is_success() {
                return read_answer(&body, asked).map_err(|problem| self.error(problem.to_owned(), None).into());
            }
            let denied = matches!(status.as_u16(), 400 | 401 | 403).then_some(self.credential.is_some());
            let message = format!("it answered {}: {}", status.as_u16(), server_message(&body, status));
            let error = self.error(message, denied);
            Err(if is_transient(status) { Trouble::transient(error, retry_after) } else { Trouble::from(error) })
        });
        // Below this, nobody knows that it isn't the registry itself that was asked.
        answer.map_err(|error| match error {
            RegistryError::Unreachable { cause, .. } => self.error(cause, None),
            error @ (RegistryError::TooLarge { .. } | RegistryError::Server { .. }) => self.error(error.cause(), None),
            other => other,
        })
    }

    fn call(&self, exchange: &Exchange) -> Result<Call, RegistryError> {
        let realm = &self.realm.url;
        let registry_has_tls = exchange.speaks_tls(self.endpoint);
        if self.credential.is_some() && realm.scheme() != "https" && registry_has_tls {
            return Err(self.error("it has no TLS, so the stored credentials are not sent to it".to_owned(), None));
        }
        let scopes = self.scope.with(self.realm.scope.as_deref());
        let mut call = Call {
            method: Method::GET,
            url: realm.clone(),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            authorization: None,
            body: Payload::Nothing,
        };
        match self.credential {
            Some(Credential::IdentityToken(refresh)) => {
                // A form is what a URL's query is; only its place differs.
                let mut form = realm.clone();
                form.set_query(None);
                {
                    let mut pairs = form.query_pairs_mut();
                    pairs.append_pair("grant_type", "refresh_token");
                    pairs.append_pair("refresh_token", refresh);
                    pairs.append_pair("client_id", CLIENT_ID);
                    pairs.append_pair("scope", &scopes.join(" "));
                    if let Some(service) = &self.realm.service {
                        pairs.append_pair("service", service);
                    }
                }
                call.method = Method::POST;
                call.body = Payload::Bytes(form.query().unwrap_or_default().as_bytes().into());
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                call.headers.insert(CONTENT_TYPE, form_type);
            }
            other => {
                let mut pairs = call.url.query_pairs_mut();
                if let Some(service) = &self.realm.service {
                    pairs.append_pair("service", service);
                }
                for scope in &scopes {
                    pairs.append_pair("scope", scope);
                }
                drop(pairs);
                if let Some(Credential::Password { username, password }) = other {
                    call.authorization = Some(basic(username, password));
                }
            }
        }
        Ok(call)
    }

    fn error(&self, message: String, denied: Option<bool>) -> RegistryError {
        RegistryError::Token {
            subject: self.subject.to_owned(),
            host: self.endpoint.name.clone(),
            realm: redact::url(&self.realm.url),
            message,
            denied,
        }
    }
}

/// The header of basic authentication.
pub(crate) fn basic(username: &str, password: &str) -> HeaderValue {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
        .unwrap_or(HeaderValue::from_static("Basic"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn read_answer(body: &[u8], asked: Instant) -> Result<Token, &'static str> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "its answer is not what the protocol prescribes")?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    let token = token.filter(|token| !token.is_empty()).ok_or("its answer holds no token")?;
    let header = secret(&format!("Bearer {token}")).ok_or("its token holds characters that cannot be sent")?;
    // A day bounds what a service may claim; a tenth less covers the way there.
    let life = answer.expires_in.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs(seconds.min(86_400)));
    Ok(Token { header, expires: asked + life.mul_f32(0.9) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let now = Instant::now();
        let token = read_answer(br#"{"token":"T","expires_in":300}"#, now).unwrap();
        assert_eq!(token.header, "Bearer T");
        assert!(token.header.is_sensitive() && token.holds());
        let access = read_answer(br#"{"token":"","access_token":"A"}"#, now).unwrap();
        assert_eq!(access.header, "Bearer A");
        assert!(!read_answer(br#"{"token":"T","expires_in":0}"#, now).unwrap().holds());
        for bad in ["", "{}", r#"{"token":"a\nb"}"#, r#"{"token":1}"#] {
            assert!(read_answer(bad.as_bytes(), now).is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_joined_without_repeats() {
        let scope = Scope::pull("a/b");
        assert_eq!(scope.with(None), ["repository:a/b:pull"]);
        assert_eq!(scope.with(Some("repository:a/b:pull x:y:z")), ["repository:a/b:pull", "x:y:z"]);
        let scope = Scope::push("a/b", Some("base"));
        assert_eq!(scope.with(Some("repository:a/b:pull,push")), ["repository:a/b:pull,push", "repository:base:pull"]);
    }

    #[test]
    fn basic_is_encoded_and_hidden() {
        let header = basic("Aladdin", "open sesame");
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{header:?}").contains("QWx"));
    }
}
