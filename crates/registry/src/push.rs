//! Pushing (distribution-spec v1.1, Push): what the registry has is not sent again, what another of its repositories has is taken
//! over, the rest is uploaded.
//!
//! - A small blob goes as one PUT, a larger one as a single stream, which registries take however long it is. What breaks off is
//!   resumed where the registry says it stopped; and if nothing at all arrived it goes in smaller pieces from then on, since some proxies
//!   refuse large requests by hanging up.
//! - The registry verifies each blob against the digest that completes the upload. If it complains, our own copy is looked at before it
//!   is sent again: a broken copy is our error, not the registry's.
//! - Only the registry itself is written to, never a mirror.

use crate::client::{CONTENT_DIGEST, Client, header};
use crate::error::RegistryError;
use crate::exchange::{Ask, Exchange, Place, Trouble};
use crate::hosts::{self, Endpoint};
use crate::reference::{Reference, Repository};
use crate::token::Scope;
use crate::transport::Payload;
use crate::upload::Upload;
use kiln_digest::Digest;
use oci_spec::image::MediaType;
use reqwest::blocking::Response;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Method, StatusCode, Url};

/// A blob of at most this many bytes goes in one request.
const SMALL: u64 = 4 * 1024 * 1024;
/// A blob goes in pieces of this size where it doesn't go as a whole.
const PIECE: u64 = 16 * 1024 * 1024;
/// And of no less than this.
const PIECE_MIN: u64 = 1024 * 1024;
/// An upload that got this much further since the last failure was worth it: failures are counted anew.
const PROGRESS: u64 = 1024 * 1024;
/// How often a registry may refuse bytes that are the right ones.
const REFUSALS: u32 = 3;

/// The smallest piece that a registry takes.
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// How a blob came to be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another repository.
    Mounted,
    /// It was sent.
    Sent,
}

impl Client {
    /// Whether the repository itself, not a mirror of it, has a blob.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let endpoint = self.registry(repository);
        self.has(&endpoint, &format!("blobs/{digest}"), subject(repository, digest))
    }

    /// Whether the repository itself has a manifest, and with it all that the manifest refers to.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn has_manifest(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let endpoint = self.registry(repository);
        self.has(&endpoint, &format!("manifests/{digest}"), format!("manifest `{repository}@{digest}`"))
    }

    /// Makes a blob be in a repository.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn push_blob(&self, repository: &Repository, upload: &Upload) -> Result<Pushed, RegistryError> {
        let endpoint = self.registry(repository);
        let subject = subject(repository, &upload.digest);
        if self.has(&endpoint, &format!("blobs/{}", upload.digest), subject.clone())? {
            return Ok(Pushed::Existed);
        }
        let scope = Scope::push(&endpoint.repository, None);
        let exchange = self.exchange();
        let mut push =
            Push { exchange, endpoint: &endpoint, upload, scope, subject, session: None, reached: 0, piece: u64::MAX };
        for from in &upload.mount_from {
            if push.mount(from)? {
                return Ok(Pushed::Mounted);
            }
        }
        push.run()?;
        Ok(Pushed::Sent)
    }

    /// Puts a manifest or an index under the reference's tag, or under its own digest where it has none. All that it refers to must
    /// be there.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let endpoint = self.registry(reference.repository());
        let digest = Digest::of_bytes(bytes);
        let subject = format!("`{reference}`");
        let selector = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let content_type = HeaderValue::from_str(media_type.as_ref()).map_err(|_| RegistryError::Source {
            subject: subject.clone(),
            cause: "its media type cannot be sent".to_owned(),
        })?;
        let ask = Ask {
            method: Method::PUT,
            place: Place::Path(format!("{}/manifests/{selector}", endpoint.repository)),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
            body: Payload::Bytes(bytes.into()),
            scope: Scope::push(&endpoint.repository, None),
            subject,
        };
        let response = self.exchange().send(&endpoint, &ask)?;
        confirm(&response, digest, &ask.subject, &endpoint)?;
        Ok(digest)
    }

    fn registry(&self, repository: &Repository) -> Endpoint {
        hosts::registry(self.exchange().transport.config(), repository.registry(), repository.name().to_owned())
    }

    fn has(&self, endpoint: &Endpoint, path: &str, subject: String) -> Result<bool, RegistryError> {
        let accept = HeaderValue::from_static(crate::manifest::ACCEPT);
        let ask = Ask {
            method: Method::HEAD,
            place: Place::Path(format!("{}/{path}", endpoint.repository)),
            headers: HeaderMap::from_iter([(reqwest::header::ACCEPT, accept)]),
            body: Payload::Nothing,
            scope: Scope::push(&endpoint.repository, None),
            subject,
        };
        match self.exchange().send(endpoint, &ask) {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn subject(repository: &Repository, digest: &Digest) -> String {
    format!("blob `{digest}` of `{repository}`")
}

/// One blob on its way.
struct Push<'a> {
    exchange: &'a Exchange,
    endpoint: &'a Endpoint,
    upload: &'a Upload,
    scope: Scope,
    subject: String,
    /// The upload that the registry has open for it.
    session: Option<Session>,
    /// How many bytes the registry was last known to have.
    reached: u64,
    /// Most bytes of one request.
    piece: u64,
}

/// An upload that the registry has open.
struct Session {
    location: Url,
    /// How many bytes it has; unknown after something went wrong.
    offset: Option<u64>,
}

impl Push<'_> {
    /// Asks the registry to take the blob from another repository.
    fn mount(&mut self, from: &str) -> Result<bool, RegistryError> {
        let place = self.path(&format!("blobs/uploads/?mount={}&from={from}", self.upload.digest));
        let scope = Scope::push(&self.endpoint.repository, Some(from));
        let ask = Ask { scope, ..self.ask(Method::POST, place) };
        match self.exchange.send(self.endpoint, &ask) {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(true),
            Ok(response) => {
                self.session = Some(Session { location: self.location(&response)?, offset: Some(0) });
                Ok(false)
            }
            // Whoever may not read the other repository can still push to this one.
            Err(RegistryError::Unauthorized { .. } | RegistryError::Token { .. } | RegistryError::NotFound { .. }) => {
                Ok(false)
            }
            // Nor does every registry know how to.
            Err(RegistryError::Server { status: 400..=499, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn run(&mut self) -> Result<(), RegistryError> {
        let mut failed = 0;
        let mut failed_at = 0;
        loop {
            self.exchange.cancel.check(&self.endpoint.name)?;
            if self.upload.watch.is_stopped() {
                return Err(RegistryError::Cancelled { host: self.endpoint.name.clone() });
            }
            let trouble = match self.attempt() {
                Ok(()) => return Ok(()),
                Err(trouble) => self.judge(trouble)?,
            };
            if self.reached >= failed_at + PROGRESS {
                failed = 0;
                failed_at = self.reached;
            }
            self.exchange.bear(&self.endpoint.name, trouble, &mut failed)?;
        }
    }

    /// Goes on from where the upload stands, to its end.
    fn attempt(&mut self) -> Result<(), Trouble> {
        let Some((mut location, mut offset)) = self.open()? else { return Ok(()) };
        if offset > 0 || self.upload.size > SMALL.min(self.piece) {
            while offset < self.upload.size {
                (location, offset) = self.send_piece(location, offset)?;
                self.reach(&location, offset);
            }
        }
        self.complete(location, offset)
    }

    /// The open upload, and how many bytes it has; nothing if the blob has turned out to be there.
    fn open(&mut self) -> Result<Option<(Url, u64)>, Trouble> {
        match &self.session {
            Some(Session { location, offset: Some(offset) }) => return Ok(Some((location.clone(), *offset))),
            Some(Session { location, offset: None }) => {
                if let Some((location, offset)) = self.state(location.clone())? {
                    self.reach(&location, offset);
                    return Ok(Some((location, offset)));
                }
                self.session = None;
                // The answer may have been lost, and not the blob.
                let head = self.ask(Method::HEAD, self.path(&format!("blobs/{}", self.upload.digest)));
                match self.exchange.send(self.endpoint, &head) {
                    Ok(_) => return Ok(None),
                    Err(RegistryError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            None => {}
        }
        let response = self.exchange.send(self.endpoint, &self.ask(Method::POST, self.path("blobs/uploads/")))?;
        let location = self.location(&response)?;
        if let Some(least) = header(response.headers(), &CHUNK_MIN_LENGTH).and_then(|least| least.parse().ok()) {
            self.piece = self.piece.max(least);
        }
        self.reach(&location, 0);
        Ok(Some((location, 0)))
    }

    /// How an upload stands that something went wrong with; nothing if it is best started anew.
    fn state(&mut self, location: Url) -> Result<Option<(Url, u64)>, Trouble> {
        let response = match self.exchange.send(self.endpoint, &self.ask(Method::GET, Place::Url(location.clone()))) {
            Ok(response) => response,
            Err(error @ (RegistryError::Unreachable { .. } | RegistryError::Cancelled { .. })) => {
                return Err(error.into());
            }
            // It has forgotten the upload, or tells nobody how it stands. Distribution, the most common of registries, is so after
            // a request that broke off.
            Err(_) => {
                self.shorten();
                return Ok(None);
            }
        };
        let received = received(response.headers()).filter(|&received| received > 0 && received <= self.upload.size);
        if received.is_none() {
            self.shorten();
        }
        Ok(received.map(|received| (self.location(&response).unwrap_or(location), received)))
    }

    /// Sends as much as goes in one request; gives where to go on, and from which byte.
    fn send_piece(&mut self, location: Url, offset: u64) -> Result<(Url, u64), Trouble> {
        let end = self.upload.size.min(offset.saturating_add(self.piece));
        let mut ask = self.ask(Method::PATCH, Place::Url(location));
        ask.body = Payload::Part(self.upload.part(offset, end));
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if offset > 0 || end < self.upload.size {
            let range = format!("{offset}-{}", end - 1);
            ask.headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are valid in a header"));
        }
        self.doubt();
        let response = self.exchange.send_once(self.endpoint, &ask)?;
        let offset = received(response.headers()).filter(|&received| received <= end && received > 0).unwrap_or(end);
        Ok((self.location(&response)?, offset))
    }

    /// Says that all is there, with the bytes that are not yet.
    fn complete(&mut self, mut location: Url, offset: u64) -> Result<(), Trouble> {
        location.query_pairs_mut().append_pair("digest", &self.upload.digest.to_string());
        let mut ask = self.ask(Method::PUT, Place::Url(location));
        if offset < self.upload.size {
            ask.body = Payload::Part(self.upload.part(offset, self.upload.size));
        }
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if let Payload::Nothing = ask.body {
            ask.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.doubt();
        let response = self.exchange.send_once(self.endpoint, &ask)?;
        confirm(&response, self.upload.digest, &self.subject, self.endpoint)?;
        self.upload.watch.set(self.upload.size);
        Ok(())
    }

    fn reach(&mut self, location: &Url, offset: u64) {
        self.session = Some(Session { location: location.clone(), offset: Some(offset) });
        self.reached = offset;
    }

    /// From now until the answer, nobody knows how much the registry has.
    fn doubt(&mut self) {
        if let Some(session) = &mut self.session {
            session.offset = None;
        }
    }

    /// What to do about a failure.
    fn judge(&mut self, trouble: Trouble) -> Result<Trouble, RegistryError> {
        let error = match trouble {
            Trouble::Final(error) => error,
            transient => return Ok(transient),
        };
        let refused = matches!(*error, RegistryError::Server { status: 400 | 409 | 413 | 416, .. })
            || matches!(*error, RegistryError::NotFound { .. } | RegistryError::DigestMismatch { .. });
        if !refused {
            return Err(*error);
        }
        let unreadable =
            |cause: std::io::Error| RegistryError::Source { subject: self.subject.clone(), cause: cause.to_string() };
        let actual = self.upload.actual().map_err(unreadable)?;
        if actual != self.upload.digest {
            let cause = format!("its digest is `{actual}`");
            return Err(RegistryError::Source { subject: self.subject.clone(), cause });
        }
        self.session = None;
        self.shorten();
        Ok(Trouble::Transient { error, retry_after: None, attempts: REFUSALS })
    }

    /// Sends less at a time from now on.
    fn shorten(&mut self) {
        self.piece = if self.piece > PIECE { PIECE } else { (self.piece / 2).max(PIECE_MIN).min(self.piece) };
    }

    fn path(&self, rest: &str) -> Place {
        Place::Path(format!("{}/{rest}", self.endpoint.repository))
    }

    fn ask(&self, method: Method, place: Place) -> Ask {
        let (scope, subject) = (self.scope.clone(), self.subject.clone());
        Ask { method, place, headers: HeaderMap::new(), body: Payload::Nothing, scope, subject }
    }

    /// Where the registry wants the next request.
    fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let malformed = |what: &str| RegistryError::Server {
            subject: self.subject.clone(),
            host: self.endpoint.name.clone(),
            status: response.status().as_u16(),
            message: what.to_owned(),
            tried: Vec::new(),
        };
        let location = header(response.headers(), &LOCATION).ok_or_else(|| malformed("no place to upload to"))?;
        let base = response.url();
        let url = base.join(location).map_err(|_| malformed("a place to upload to that is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || (base.scheme() == "https" && url.scheme() != "https") {
            return Err(malformed("a place to upload to that is not reached over TLS"));
        }
        Ok(url)
    }
}

/// How many bytes of an upload have arrived, from `Range: 0-LAST`. One byte and none look the same, and count as none.
fn received(headers: &HeaderMap) -> Option<u64> {
    let range = header(headers, &RANGE)?;
    let last: u64 = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last.checked_add(1)? })
}

fn confirm(response: &Response, expected: Digest, subject: &str, endpoint: &Endpoint) -> Result<(), RegistryError> {
    match header(response.headers(), &CONTENT_DIGEST).and_then(|digest| digest.parse::<Digest>().ok()) {
        Some(actual) if actual != expected => Err(RegistryError::DigestMismatch {
            subject: subject.to_owned(),
            host: endpoint.name.clone(),
            expected,
            actual,
        }),
        _ => Ok(()),
    }
}
