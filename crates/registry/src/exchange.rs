//! A request to one host, to its end: logging in, judging the answer, trying again.

use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::hosts::Endpoint;
use crate::login::{Logins, Presented};
use crate::redact;
use crate::retry::{Cancel, Policy};
use crate::token::Scope;
use crate::transport::{Call, Failure, Payload, Reply, Transport, is_transient, same_origin};
use reqwest::blocking::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use std::io::Read;
use std::time::{Duration, Instant};

/// Most bytes of an error's body that are looked at.
const COMPLAINT_MAX: u64 = 16 * 1024;

/// How often a refused connection is tried again at most: what refuses twice will do so for longer than anyone waits.
const CONNECT_ATTEMPTS: u32 = 3;

/// How often a server is asked that let a whole [`Policy::idle_timeout`] pass without a word.
const SILENT_ATTEMPTS: u32 = 2;

/// How often a mirror is tried, when there is another host to ask.
const MIRROR_ATTEMPTS: u32 = 2;

/// How many challenges one request answers: none known, a token that had expired, and one more for good measure.
const CHALLENGES_MAX: u32 = 3;

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) transport: Transport,
    pub(crate) policy: Policy,
    pub(crate) cancel: Cancel,
    pub(crate) logins: Logins,
}

/// What is wanted from a host.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) place: Place,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
    pub(crate) scope: Scope,
    /// What it is, for messages.
    pub(crate) subject: String,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Under `/v2/` of the host.
    Path(String),
    /// Where the host has sent us. If that is another host, it gets no credentials.
    Url(Url),
}

/// One attempt that failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The next one would fail as well.
    Final(Box<RegistryError>),
    /// The next one may succeed.
    Transient { error: Box<RegistryError>, retry_after: Option<Duration>, attempts: u32 },
}

impl Trouble {
    pub(crate) fn transient(error: RegistryError, retry_after: Option<Duration>) -> Self {
        Self::Transient { error: Box::new(error), retry_after, attempts: u32::MAX }
    }

    /// Not worth as many attempts when another host can be asked instead.
    fn at(self, endpoint: &Endpoint) -> Self {
        match self {
            Self::Transient { error, retry_after, attempts } if endpoint.is_mirror => {
                Self::Transient { error, retry_after, attempts: attempts.min(MIRROR_ATTEMPTS) }
            }
            other => other,
        }
    }
}

impl From<RegistryError> for Trouble {
    fn from(error: RegistryError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Exchange {
    pub(crate) fn new(transport: Transport, policy: Policy, cancel: Cancel, credentials: Credentials) -> Self {
        Self { transport, policy, cancel, logins: Logins::new(credentials) }
    }

    /// Asks until there is a successful response, whose body is still to be read.
    pub(crate) fn send(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Response, RegistryError> {
        self.retrying(&endpoint.name, || self.send_once(endpoint, ask))
    }

    /// Asks until there is a successful response, and it has been read to its end.
    pub(crate) fn fetch(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
        limit: u64,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        self.retrying(&endpoint.name, || self.fetch_once(endpoint, ask, limit))
    }

    /// Asks once, and reads the response to its end.
    pub(crate) fn fetch_once(
        &self,
        endpoint: &Endpoint,
        ask: &Ask,
        limit: u64,
    ) -> Result<(HeaderMap, Vec<u8>), Trouble> {
        let response = self.send_once(endpoint, ask)?;
        let headers = response.headers().clone();
        let body = self.read_body(endpoint, &ask.subject, response, limit)?;
        Ok((headers, body))
    }

    /// Repeats `once` as its troubles and the policy allow, with pauses.
    pub(crate) fn retrying<T>(
        &self,
        host: &str,
        mut once: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, RegistryError> {
        let mut failed = 0;
        loop {
            self.cancel.check(host)?;
            match once() {
                Ok(value) => return Ok(value),
                Err(trouble) => self.bear(host, trouble, &mut failed)?,
            }
        }
    }

    /// Waits for the next attempt, or gives the error back where there is to be none. `failed` counts the attempts.
    pub(crate) fn bear(&self, host: &str, trouble: Trouble, failed: &mut u32) -> Result<(), RegistryError> {
        let (error, retry_after, attempts) = match trouble {
            Trouble::Final(error) => return Err(*error),
            Trouble::Transient { error, retry_after, attempts } => (error, retry_after, attempts),
        };
        *failed += 1;
        if *failed >= attempts.min(self.policy.attempts) {
            return Err(*error);
        }
        let Some(pause) = self.policy.pause_after(*failed, retry_after) else { return Err(*error) };
        self.cancel.sleep(pause, host)
    }

    /// One request and its response, whatever the status.
    pub(crate) fn exchange(&self, endpoint: &Endpoint, call: &Call, subject: &str) -> Result<Reply, Trouble> {
        self.cancel.check(&endpoint.name)?;
        self.transport.send(endpoint, call).map_err(|failure| trouble(endpoint, subject, failure).at(endpoint))
    }

    /// Whether requests to this host are encrypted. If that cannot be found out, they are not sent either.
    pub(crate) fn speaks_tls(&self, endpoint: &Endpoint) -> bool {
        self.transport.url(endpoint, "").is_ok_and(|url| url.scheme() == "https")
    }

    /// Reads a whole body of at most `limit` bytes.
    pub(crate) fn read_body(
        &self,
        endpoint: &Endpoint,
        subject: &str,
        mut response: Response,
        limit: u64,
    ) -> Result<Vec<u8>, Trouble> {
        let too_large = || {
            let (subject, host) = (subject.to_owned(), endpoint.name.clone());
            Trouble::from(RegistryError::TooLarge { subject, host, limit })
        };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let deadline = Instant::now() + self.policy.answer_timeout;
        let mut body = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.cancel.check(&endpoint.name)?;
            let broken = |cause: String| trouble(endpoint, subject, Failure::Broken(cause)).at(endpoint);
            if Instant::now() > deadline {
                return Err(broken("it answers too slowly".to_owned()));
            }
            match response.read(&mut buffer) {
                Ok(0) => return Ok(body),
                Ok(read) if body.len() as u64 + read as u64 > limit => return Err(too_large()),
                Ok(read) => body.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(crate::transport::leaf(&error))),
            }
        }
    }

    /// Asks once, but answers challenges.
    pub(crate) fn send_once(&self, endpoint: &Endpoint, ask: &Ask) -> Result<Response, Trouble> {
        let mut challenges = 0;
        loop {
            let path = if let Place::Path(path) = &ask.place { path } else { "" };
            let own = self.transport.url(endpoint, path).map_err(|failure| trouble(endpoint, &ask.subject, failure))?;
            let (url, elsewhere) = match &ask.place {
                Place::Url(url) => (url.clone(), !same_origin(url, &own)),
                Place::Path(_) => (own, false),
            };
            let presented = match elsewhere {
                true => Presented { fresh: true, ..Presented::default() },
                false => self.logins.present(self, endpoint, &ask.scope, &ask.subject)?,
            };
            let call = Call {
                method: ask.method.clone(),
                url,
                headers: ask.headers.clone(),
                authorization: presented.header.clone(),
                body: ask.body.clone(),
            };
            let reply = self.exchange(endpoint, &call, &ask.subject)?;
            if reply.response.status().is_success() {
                return Ok(reply.response);
            }
            if reply.response.status() == StatusCode::UNAUTHORIZED && reply.from_host {
                challenges += 1;
                let headers = reply.response.headers();
                if !presented.fresh
                    && challenges < CHALLENGES_MAX
                    && self.logins.learn(endpoint, &ask.scope, headers, &presented)?
                {
                    continue;
                }
            }
            return Err(self.refusal(endpoint, ask, reply, &presented).at(endpoint));
        }
    }

    /// What an unsuccessful response means.
    fn refusal(&self, endpoint: &Endpoint, ask: &Ask, reply: Reply, presented: &Presented) -> Trouble {
        let Reply { response, from_host } = reply;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // Only for the message: if it cannot be read, the status says enough.
        let body = self.read_body(endpoint, &ask.subject, response, COMPLAINT_MAX).unwrap_or_default();
        let message = server_message(&body, status);
        let subject = ask.subject.clone();
        let host = endpoint.name.clone();
        let logged_in = presented.logged_in;
        match status {
            StatusCode::NOT_FOUND => {
                RegistryError::NotFound { subject, host, similar: Vec::new(), tried: Vec::new() }.into()
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if from_host => {
                RegistryError::Unauthorized { subject, host, message, logged_in, tried: Vec::new() }.into()
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let error = RegistryError::RateLimited { subject, host, retry_after, logged_in, tried: Vec::new() };
                Trouble::transient(error, retry_after)
            }
            _ => {
                let error =
                    RegistryError::Server { subject, host, status: status.as_u16(), message, tried: Vec::new() };
                if is_transient(status) { Trouble::transient(error, retry_after) } else { error.into() }
            }
        }
    }
}

fn trouble(endpoint: &Endpoint, subject: &str, failure: Failure) -> Trouble {
    let host = endpoint.name.clone();
    let tried = Vec::new();
    match failure {
        Failure::Tls(cause) => RegistryError::Tls { host, cause, tried }.into(),
        Failure::Certificates { path, cause } => RegistryError::Certificates { path, cause }.into(),
        Failure::Source(cause) => RegistryError::Source { subject: subject.to_owned(), cause }.into(),
        Failure::Redirect(message) => {
            RegistryError::Server { subject: subject.to_owned(), host, status: 302, message, tried }.into()
        }
        Failure::Connect(cause) => Trouble::Transient {
            error: Box::new(RegistryError::Unreachable { host, cause, tried }),
            retry_after: None,
            // What doesn't answer at all isn't worth a second attempt if there is another host.
            attempts: if endpoint.is_mirror { 1 } else { CONNECT_ATTEMPTS },
        },
        Failure::Silent(cause) => Trouble::Transient {
            error: Box::new(RegistryError::Unreachable { host, cause, tried }),
            retry_after: None,
            attempts: SILENT_ATTEMPTS,
        },
        Failure::Broken(cause) => Trouble::transient(RegistryError::Unreachable { host, cause, tried }, None),
    }
}

/// How long a server wants to be left alone. A date instead of a number of seconds is not understood.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The forms in which registries and token services say what is wrong.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Complaint {
    errors: Vec<ComplaintItem>,
    details: Option<String>,
    error_description: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ComplaintItem {
    code: String,
    message: String,
}

/// What a server says is wrong, as one line; the status' own name if it says nothing understandable.
pub(crate) fn server_message(body: &[u8], status: StatusCode) -> String {
    let complaint: Complaint = serde_json::from_slice(body).unwrap_or_default();
    let item =
        complaint.errors.into_iter().next().map(|item| if item.message.is_empty() { item.code } else { item.message });
    let said = item.or(complaint.details).or(complaint.error_description).or(complaint.message);
    let said = redact::text(&said.unwrap_or_default());
    if said.is_empty() { status.canonical_reason().unwrap_or("no reason given").to_lowercase() } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_read() {
        let table = [
            (r#"{"errors":[{"code":"DENIED","message":"requested access\nis denied"}]}"#, "requested access is denied"),
            (r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, "NAME_UNKNOWN"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            ("<html>", "forbidden"),
            ("", "forbidden"),
        ];
        for (body, expected) in table {
            assert_eq!(server_message(body.as_bytes(), StatusCode::FORBIDDEN), expected);
        }
    }
}
