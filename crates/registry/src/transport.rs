//! HTTP: clients by trust, one exchange at a time, redirects followed by our own rules.
//!
//! - HTTP/1.1 only. With HTTP/2 all blobs of an image would share one connection and its flow-control window, and a reader that
//!   waits for its turn would stall the one whose turn it is; besides, several connections are faster than one.
//! - A client is made when it is first needed: one that trusts the system's certificates reads some 150 of them (3 ms). What
//!   goes over plain HTTP to this machine doesn't need them, and gets a client without.
//! - Nothing on a loopback address goes through a proxy, whatever the environment says; otherwise `HTTP_PROXY`, `HTTPS_PROXY`
//!   and `NO_PROXY` count.

use crate::config::Config;
use crate::hosts::{self, Endpoint, Scheme, Trust};
use crate::redact;
use crate::retry::Policy;
use crate::upload::Part;
use reqwest::blocking::{Body, Client, Request, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// More redirects than this are a loop.
const REDIRECTS_MAX: usize = 10;

/// Bytes per second below which an upload is given up.
const SLOWEST: u64 = 16 * 1024;

/// How long a server on this machine may take to show whether it speaks TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Transport {
    config: Config,
    policy: Policy,
    clients: Mutex<HashMap<Profile, Client>>,
    /// What the servers turned out to speak whose scheme is [`Scheme::Either`], by address.
    probed: Mutex<HashMap<String, Arc<OnceLock<Scheme>>>>,
}

/// What makes two connections need different clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Profile {
    /// `None` for plain HTTP.
    trust: Option<Trust>,
    proxied: bool,
}

/// One request, without what its endpoint determines.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// For the host of `url` only.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Payload,
}

/// What a request carries. It can be sent again.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payload {
    #[default]
    Nothing,
    Bytes(Arc<[u8]>),
    /// A part of a blob, read while it is sent.
    Part(Part),
}

impl Payload {
    /// How long sending it may take at most. In the blocking client a request's time includes that of its body, so the larger the body
    /// the longer; that its receiver takes nothing at all shows earlier, since the connection has a time limit of its own.
    fn patience(&self, policy: &Policy) -> Option<Duration> {
        match self {
            Self::Nothing => None,
            Self::Bytes(bytes) => Some(policy.idle_timeout + Duration::from_secs(bytes.len() as u64 / SLOWEST)),
            Self::Part(part) => Some(policy.idle_timeout + Duration::from_secs(part.length() / SLOWEST)),
        }
    }

    fn body(&self) -> Result<Option<Body>, Failure> {
        match self {
            Self::Nothing => Ok(None),
            Self::Bytes(bytes) => Ok(Some(bytes.to_vec().into())),
            Self::Part(part) => {
                let reader = part.open().map_err(|error| Failure::Source(error.to_string()))?;
                Ok(Some(Body::sized(reader, part.length())))
            }
        }
    }
}

/// A response, after redirects.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// Whether it comes from the host that was asked, rather than from where that one redirected to.
    pub(crate) from_host: bool,
}

/// An exchange without a response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The certificate isn't trusted, or the server doesn't speak TLS.
    Tls(String),
    /// A file of certificates cannot be used.
    Certificates { path: PathBuf, cause: String },
    /// No connection at all.
    Connect(String),
    /// The connection broke.
    Broken(String),
    /// Nothing came in time.
    Silent(String),
    /// A redirect that cannot be followed.
    Redirect(String),
    /// What was to be sent cannot be read.
    Source(String),
}

impl Transport {
    pub(crate) fn new(config: Config, policy: Policy) -> Self {
        Self { config, policy, clients: Mutex::default(), probed: Mutex::default() }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The URL of a path under `/v2/` on an endpoint, finding out first whether that speaks TLS where this isn't settled.
    pub(crate) fn url(&self, endpoint: &Endpoint, path: &str) -> Result<Url, Failure> {
        let scheme = match endpoint.scheme {
            Scheme::Either => self.probe(endpoint),
            settled => settled,
        };
        let scheme = if scheme == Scheme::Http { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{}/v2/{path}", endpoint.address))
            .map_err(|error| Failure::Connect(format!("`{}` is no address: {error}", endpoint.address)))
    }

    /// Sends a request and follows redirects. Any response is a success here, whatever its status.
    pub(crate) fn send(&self, endpoint: &Endpoint, call: &Call) -> Result<Reply, Failure> {
        let mut url = call.url.clone();
        let mut authorization = call.authorization.clone();
        for _ in 0..=REDIRECTS_MAX {
            let client = self.client(&self.profile(endpoint, &url))?;
            let mut request = Request::new(call.method.clone(), url.clone());
            *request.headers_mut() = call.headers.clone();
            if let Some(value) = &authorization {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            *request.body_mut() = call.body.body()?;
            *request.timeout_mut() = call.body.patience(&self.policy);
            let from_host = same_origin(&url, &call.url);
            let response = client.execute(request).map_err(|error| {
                let place = (!from_host).then(|| format!(" (redirected to `{}`)", redact::url(&url)));
                Failure::new(&error, &place.unwrap_or_default())
            })?;
            let redirected = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirected || !(call.method == Method::GET || call.method == Method::HEAD) {
                return Ok(Reply { response, from_host });
            }
            url = redirect_target(&url, &response)?;
            // Once away from the host, the credentials are gone for good, even if the way leads back.
            if !same_origin(&url, &call.url) {
                authorization = None;
            }
        }
        Err(Failure::Redirect(format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn probe(&self, endpoint: &Endpoint) -> Scheme {
        let cell = lock(&self.probed).entry(endpoint.address.clone()).or_default().clone();
        *cell.get_or_init(|| {
            let Ok(url) = Url::parse(&format!("https://{}/v2/", endpoint.address)) else { return Scheme::Http };
            let Ok(client) = self.client(&self.profile(endpoint, &url)) else { return Scheme::Http };
            match client.get(url).timeout(PROBE_TIMEOUT).send() {
                Ok(_) => Scheme::Https,
                Err(_) => Scheme::Http,
            }
        })
    }

    /// An endpoint's own settings hold for its own host; elsewhere those of that host, and else the endpoint's extra certificates.
    fn profile(&self, endpoint: &Endpoint, url: &Url) -> Profile {
        let host = url.host_str().unwrap_or_default();
        let address = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let loopback = hosts::is_loopback(&address);
        // As a URL, since that leaves out a scheme's own port and writes names in lower case.
        let own = Url::parse(&format!("{}://{}", url.scheme(), endpoint.address)).ok();
        let trust = if url.scheme() == "http" {
            None
        } else if own.as_ref().is_some_and(|own| same_origin(own, url)) {
            Some(endpoint.trust.clone())
        } else if let Some(settings) = self.config.registry.get(&address) {
            Some(hosts::trust(&address, settings))
        } else {
            let same_name = own.is_some_and(|own| own.host_str() == url.host_str());
            match &endpoint.trust {
                Trust::Anybody if !loopback && !same_name => Some(Trust::System(Vec::new())),
                inherited => Some(inherited.clone()),
            }
        };
        // A proxy may itself be spoken to over TLS.
        let trust = if trust.is_none() && !loopback { Some(Trust::System(Vec::new())) } else { trust };
        Profile { trust, proxied: !loopback }
    }

    fn client(&self, profile: &Profile) -> Result<Client, Failure> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(profile) {
            return Ok(client.clone());
        }
        let client = self.make_client(profile)?;
        clients.insert(profile.clone(), client.clone());
        Ok(client)
    }

    fn make_client(&self, profile: &Profile) -> Result<Client, Failure> {
        // Fails if the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.policy.connect_timeout)
            // In the blocking client this is for each wait (a response's head, one read), not for all of them together.
            .timeout(self.policy.idle_timeout)
            // What is sent and not taken for so long breaks the connection.
            .tcp_user_timeout(self.policy.idle_timeout)
            .referer(false)
            .http1_only();
        if !profile.proxied {
            builder = builder.no_proxy();
        }
        builder = match &profile.trust {
            None => builder.tls_certs_only([]),
            Some(Trust::Anybody) => builder.tls_danger_accept_invalid_certs(true),
            Some(Trust::System(files)) => {
                let mut certificates = Vec::new();
                for path in files {
                    certificates.append(&mut read_certificates(path)?);
                }
                builder.tls_certs_merge(certificates)
            }
        };
        builder.build().map_err(|error| match Failure::new(&error, "") {
            Failure::Broken(cause) if cause.contains("No CA certificates") => Failure::Tls(
                "this system has no certificates to trust (install `ca-certificates` or set `SSL_CERT_FILE`)"
                    .to_owned(),
            ),
            failure => failure,
        })
    }
}

fn read_certificates(path: &PathBuf) -> Result<Vec<reqwest::Certificate>, Failure> {
    let failed = |cause: String| Failure::Certificates { path: path.clone(), cause };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(leaf(&error)))?;
    if certificates.is_empty() {
        return Err(failed("it holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

fn redirect_target(from: &Url, response: &Response) -> Result<Url, Failure> {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| Failure::Redirect(format!("answered {status} without a place to go to")))?;
    let mut url = from
        .join(location)
        .map_err(|_| Failure::Redirect(format!("answered {status} with a location that is no URL")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Failure::Redirect(format!("answered {status} to a `{}:` URL", url.scheme())));
    }
    // These only fail for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(url)
}

/// Same scheme, host and port: what may see the same credentials.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Whether a later attempt may fare better.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

impl Failure {
    fn new(error: &reqwest::Error, place: &str) -> Self {
        let cause = format!("{}{place}", leaf(error));
        if let Some(tls) = find_tls(error) {
            return Self::Tls(match tls {
                rustls::Error::InvalidMessage(_) => format!("it does not speak TLS{place}"),
                tls => format!("{}{place}", redact::text(&tls.to_string())),
            });
        }
        if error.is_body() {
            // Either our own bytes could not be read, or nobody took them.
            return match innermost(error).downcast_ref::<std::io::Error>() {
                Some(unread) => Self::Source(redact::text(&unread.to_string())),
                None => Self::Broken(format!("it hung up while it was sent something{place}")),
            };
        }
        if error.is_connect() {
            return Self::Connect(if error.is_timeout() { format!("connecting took too long{place}") } else { cause });
        }
        if error.is_timeout() { Self::Silent(format!("it stopped answering{place}")) } else { Self::Broken(cause) }
    }
}

/// The innermost cause, which says most, as one line.
pub(crate) fn leaf(error: &(dyn Error + 'static)) -> String {
    redact::text(&innermost(error).to_string())
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last
}

fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An I/O error's `source` skips the error that it was made from.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(tls) = find_tls(inner)
        {
            return Some(tls);
        }
        next = error.source();
    }
    None
}

/// A panic elsewhere while holding one of these locks leaves nothing half done in it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
