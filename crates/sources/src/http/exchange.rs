//! One question to a web server and its answer, redirects followed.
//!
//! - `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` count, but nothing on a loopback address goes through a proxy.
//! - Plain HTTP to this machine uses a client that has not read the system's certificates, which takes milliseconds.
//! - An authorization goes to the server that it was given for, and nowhere that server redirects to.

use super::HttpError;
use kiln_graph::without_credentials;
use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION,
};
use std::error::Error;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

/// More redirects than this are a loop.
const REDIRECTS_MAX: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may send nothing at all.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks servers. Clients are made when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    near: OnceLock<Client>,
    far: OnceLock<Client>,
}

/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    /// For the URL's own server.
    pub(super) authorization: Option<HeaderValue>,
}

impl Exchange {
    /// Gets what is at an address. Answers are those of success, and 304 where the question has a condition.
    pub(super) fn get(&self, question: &Question) -> Result<Response, HttpError> {
        let shown = without_credentials(&question.url);
        let first = parse(&question.url)?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client(&url, &shown)?.get(url.clone()).headers(question.headers.clone());
            // What a server compresses on its way would be other bytes.
            request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(value) = question.authorization.as_ref().filter(|_| same_origin(&first, &url)) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let response = request.send().map_err(|error| failed(&shown, &error))?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let asked = [IF_NONE_MATCH, IF_MODIFIED_SINCE].iter().any(|name| question.headers.contains_key(name));
                let is_good = status.is_success() || asked && status.as_u16() == 304;
                return if is_good {
                    Ok(response)
                } else {
                    Err(HttpError::Status { url: shown, status: status.to_string() })
                };
            }
            url = target(&url, &response).ok_or_else(|| HttpError::Redirect {
                url: shown.clone(),
                reason: format!("{status} with no place to go to that is an http(s) URL"),
            })?;
        }
        Err(HttpError::Redirect { url: shown, reason: format!("more than {REDIRECTS_MAX} redirects") })
    }

    fn client(&self, url: &Url, shown: &str) -> Result<&Client, HttpError> {
        let loopback = is_loopback(url);
        let near = loopback && url.scheme() == "http";
        let slot = if near { &self.near } else { &self.far };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        // Fails if the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            // In the blocking client this is for each wait: a response's head, one read.
            .timeout(IDLE_TIMEOUT)
            .referer(false)
            .http1_only();
        if near {
            builder = builder.tls_certs_only([]).no_proxy();
        }
        let client = builder.build().map_err(|error| failed(shown, &error))?;
        Ok(slot.get_or_init(|| client))
    }
}

fn parse(url: &str) -> Result<Url, HttpError> {
    let bad = |reason: &str| HttpError::BadUrl { url: without_credentials(url), reason: reason.to_owned() };
    let parsed = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        _ => Err(bad("it is not an http(s) URL")),
    }
}

fn target(from: &Url, response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    from.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The innermost cause, which says most, with what it means.
fn failed(url: &str, error: &reqwest::Error) -> HttpError {
    let url = url.to_owned();
    let mut tls = None;
    let mut last: &(dyn Error + 'static) = error;
    loop {
        if let Some(found) = last.downcast_ref::<rustls::Error>() {
            tls = Some(found);
        }
        // An I/O error's `source` skips the error that it was made from.
        let inner = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        last = match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| last.source()) {
            Some(next) => next,
            None => break,
        };
    }
    let reason = match tls {
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS".to_owned(),
        Some(tls) => tls.to_string(),
        None if error.is_timeout() => "the server does not answer".to_owned(),
        None => last.to_string(),
    };
    if tls.is_some() { HttpError::Tls { url, reason } } else { HttpError::Unreachable { url, reason } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_recognized() {
        for (url, near) in [
            ("http://localhost:1/x", true),
            ("http://127.0.0.1/", true),
            ("http://127.1.2.3/", true),
            ("http://[::1]:8/", true),
            ("http://localhost.example.org/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), near, "{url}");
        }
    }
}
