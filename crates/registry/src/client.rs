//! The client: each operation as a walk over the hosts that may serve it, mirrors first.

use crate::blob::BlobReader;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::{Attempt, RegistryError};
use crate::exchange::{Ask, Exchange, Place};
use crate::hosts::{self, Endpoint};
use crate::manifest::{self, FetchedManifest, MANIFEST_MAX, Manifest};
use crate::reference::{Reference, Repository};
use crate::retry::{Cancel, Policy};
use crate::token::Scope;
use crate::transport::{Payload, Transport, lock};
use kiln_digest::Digest;
use oci_spec::image::{Descriptor, MediaType};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Most bytes of a list of tags.
const TAGS_MAX: u64 = 1024 * 1024;

/// Most bytes of what a registry says about itself.
const ANSWER_MAX: u64 = 64 * 1024;

/// How many tags a hint names.
const SIMILAR_TAGS: usize = 5;

/// A client for all registries. Clones share connections, tokens and what was learnt about hosts; any thread may use one.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

/// What a client and the readers that it handed out share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) exchange: Exchange,
    /// Hosts that served wrong bytes, and for which digest: asked last from then on.
    pub(crate) distrusted: Mutex<HashSet<(String, Digest)>>,
}

/// What a reference means at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Media type, digest and size of the manifest or index.
    pub descriptor: Descriptor,
    /// Its digest.
    pub digest: Digest,
    /// The host that said so: the registry or one of its mirrors.
    pub host: String,
}

impl Client {
    /// A client with the default [`Policy`]. Reads no file and opens no connection yet.
    pub fn new(config: impl Into<Config>, credentials: Credentials) -> Self {
        Self::with_policy(config, credentials, Policy::default(), Arc::default())
    }

    /// A client with limits of its own. Once `cancel` is true, requests, pauses and readers end with
    /// [`RegistryError::Cancelled`]; a read that waits for the network notices when it returns.
    pub fn with_policy(
        config: impl Into<Config>,
        credentials: Credentials,
        policy: Policy,
        cancel: Arc<AtomicBool>,
    ) -> Self {
        let transport = Transport::new(config.into(), policy.clone());
        let exchange = Exchange::new(transport, policy, Cancel(cancel), credentials);
        Self(Arc::new(Shared { exchange, distrusted: Mutex::default() }))
    }

    /// A client like this one, but for which anybody's certificate will do at `registry`, or none at all. It has
    /// this one's limits, and shares nothing else with it.
    pub fn insecure_at(&self, registry: &str) -> Self {
        let exchange = &self.0.exchange;
        let mut config = exchange.transport.config().clone();
        let settings = config.registry.entry(registry.to_owned()).or_default();
        settings.insecure = true;
        settings.ca.clear();
        let Cancel(cancel) = &exchange.cancel;
        Self::with_policy(config, exchange.logins.credentials().clone(), exchange.policy.clone(), Arc::clone(cancel))
    }

    /// Finds out which manifest a reference means, without fetching it where the registry can tell.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        self.with_similar_tags(reference, |endpoint| {
            let subject = subject(reference);
            let ask = manifest_ask(Method::HEAD, endpoint, reference, &subject);
            match self.0.exchange.send(endpoint, &ask) {
                Ok(response) => {
                    if let Some(descriptor) = described(response.headers()) {
                        let (descriptor, digest) = descriptor;
                        check(reference.digest(), digest, &subject, endpoint)?;
                        return Ok(Resolved { descriptor, digest, host: endpoint.name.clone() });
                    }
                }
                // Some hosts don't know HEAD here, or say nothing useful in answer to it.
                Err(RegistryError::Server { .. }) => {}
                Err(error) => return Err(error),
            }
            let fetched = self.manifest_at(endpoint, reference, &subject)?;
            Ok(Resolved {
                digest: Digest::of_bytes(&fetched.bytes),
                descriptor: fetched.descriptor,
                host: fetched.host,
            })
        })
    }

    /// Fetches the manifest or index that a reference means, at most 4 MiB. Its digest is that of the reference, if that has one.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn manifest(&self, reference: &Reference) -> Result<FetchedManifest, RegistryError> {
        let subject = subject(reference);
        self.with_similar_tags(reference, |endpoint| self.manifest_at(endpoint, reference, &subject))
    }

    /// Opens a blob: a layer or a config. Its bytes are verified by the time that the reader reports the end, and not before.
    ///
    /// # Errors
    /// See [`RegistryError`]; the reader's own errors wrap it as well.
    pub fn blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<BlobReader, RegistryError> {
        BlobReader::open(&self.0, repository, descriptor)
    }

    /// The first thousand or so tags of a repository, as the registry orders them.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn tags(&self, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        first_of(&self.endpoints(repository), |endpoint| {
            let ask = tags_ask(endpoint, repository);
            let (_, body) = self.0.exchange.fetch(endpoint, &ask, TAGS_MAX)?;
            read_tags(&body).ok_or_else(|| RegistryError::Server {
                subject: ask.subject,
                host: endpoint.name.clone(),
                status: 200,
                message: "malformed list".to_owned(),
                tried: Vec::new(),
            })
        })
    }

    /// Finds out whether a registry, as it is written in references, lets us in with the credentials that there are.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn log_in(&self, registry: &str) -> Result<(), RegistryError> {
        let endpoint = hosts::registry(self.0.exchange.transport.config(), registry, String::new());
        let ask = Ask {
            method: Method::GET,
            place: Place::Path(String::new()),
            headers: HeaderMap::new(),
            body: Payload::Nothing,
            scope: Scope::none(),
            subject: format!("registry `{registry}`"),
        };
        self.0.exchange.fetch(&endpoint, &ask, ANSWER_MAX).map(drop)
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.0.exchange
    }

    fn manifest_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        subject: &str,
    ) -> Result<FetchedManifest, RegistryError> {
        let ask = manifest_ask(Method::GET, endpoint, reference, subject);
        let (headers, bytes) = self.0.exchange.fetch(endpoint, &ask, MANIFEST_MAX)?;
        let actual = Digest::of_bytes(&bytes);
        check(
            reference.digest().or_else(|| header(&headers, &CONTENT_DIGEST)?.parse().ok()),
            actual,
            subject,
            endpoint,
        )?;
        let (manifest, media_type) = Manifest::parse(&bytes, header(&headers, &CONTENT_TYPE)).map_err(|problem| {
            RegistryError::Manifest { subject: subject.to_owned(), host: endpoint.name.clone(), problem }
        })?;
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, oci_digest(actual));
        Ok(FetchedManifest { descriptor, digest: actual, bytes, manifest, host: endpoint.name.clone() })
    }

    /// Asks host after host; if none has what a tag means, says which tags there are.
    fn with_similar_tags<T>(
        &self,
        reference: &Reference,
        ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let endpoints = self.endpoints(reference.repository());
        let error = match first_of(&endpoints, ask) {
            Err(RegistryError::NotFound { subject, host, tried, .. }) => (subject, host, tried),
            outcome => return outcome,
        };
        let (subject, host, tried) = error;
        let mut tags = Vec::new();
        if let (Some(tag), Some(registry)) = (reference.tag(), endpoints.last()) {
            // Only for the hint: one attempt, and whatever goes wrong with it doesn't matter.
            let ask = tags_ask(registry, reference.repository());
            let list = self.0.exchange.fetch_once(registry, &ask, TAGS_MAX);
            tags = list.ok().and_then(|(_, body)| read_tags(&body)).map(|tags| similar(tags, tag)).unwrap_or_default();
        }
        Err(RegistryError::NotFound { subject, host, similar: tags, tried })
    }

    fn endpoints(&self, repository: &Repository) -> Vec<Endpoint> {
        hosts::endpoints(self.0.exchange.transport.config(), repository)
    }
}

fn tags_ask(endpoint: &Endpoint, repository: &Repository) -> Ask {
    Ask {
        method: Method::GET,
        place: Place::Path(format!("{}/tags/list?n=1000", endpoint.repository)),
        body: Payload::Nothing,
        headers: HeaderMap::new(),
        scope: Scope::pull(&endpoint.repository),
        subject: format!("tags of `{repository}`"),
    }
}

fn read_tags(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Tags {
        tags: Option<Vec<String>>,
    }
    let tags: Tags = serde_json::from_slice(body).ok()?;
    Some(tags.tags.unwrap_or_default())
}

/// The first success of several hosts, or the last one's error, which then tells of the others.
pub(crate) fn first_of<'a, T>(
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
    mut ask: impl FnMut(&'a Endpoint) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let mut tried = Vec::new();
    let mut endpoints = endpoints.into_iter().peekable();
    while let Some(endpoint) = endpoints.next() {
        match ask(endpoint) {
            Ok(value) => return Ok(value),
            Err(error) if endpoints.peek().is_none() || matches!(error, RegistryError::Cancelled { .. }) => {
                return Err(error.after(tried));
            }
            Err(error) => tried.push(Attempt { host: endpoint.name.clone(), cause: error.cause() }),
        }
    }
    unreachable!("a repository is always served by its registry")
}

fn subject(reference: &Reference) -> String {
    format!("`{reference}`")
}

fn manifest_ask(method: Method, endpoint: &Endpoint, reference: &Reference, subject: &str) -> Ask {
    Ask {
        method,
        place: Place::Path(format!("{}/manifests/{}", endpoint.repository, reference.selector())),
        body: Payload::Nothing,
        headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(manifest::ACCEPT))]),
        scope: Scope::pull(&endpoint.repository),
        subject: subject.to_owned(),
    }
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What the answer to a HEAD request describes, if that is all there.
fn described(headers: &HeaderMap) -> Option<(Descriptor, Digest)> {
    let digest: Digest = header(headers, &CONTENT_DIGEST)?.parse().ok()?;
    let size: u64 = header(headers, &CONTENT_LENGTH)?.parse().ok().filter(|&size| size > 0 && size <= MANIFEST_MAX)?;
    let media_type = header(headers, &CONTENT_TYPE).filter(|media_type| manifest::is_known(media_type))?;
    Some((Descriptor::new(MediaType::from(media_type), size, oci_digest(digest)), digest))
}

fn check(expected: Option<Digest>, actual: Digest, subject: &str, endpoint: &Endpoint) -> Result<(), RegistryError> {
    match expected {
        Some(expected) if expected != actual => Err(RegistryError::DigestMismatch {
            subject: subject.to_owned(),
            host: endpoint.name.clone(),
            expected,
            actual,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn oci_digest(digest: Digest) -> oci_spec::image::Sha256Digest {
    use std::str::FromStr;
    oci_spec::image::Sha256Digest::from_str(&digest.hex()).expect("64 lower-case hexadecimal digits")
}

/// Those tags that begin most like the one asked for.
fn similar(mut tags: Vec<String>, wanted: &str) -> Vec<String> {
    let common = |tag: &str| tag.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    tags.retain(|tag| wanted.len() < 128 && crate::redact::text(tag) == *tag);
    tags.sort_by_cached_key(|tag| (std::cmp::Reverse(common(tag)), tag.len().abs_diff(wanted.len()), tag.clone()));
    tags.truncate(SIMILAR_TAGS);
    tags
}

impl Shared {
    /// The hosts for a blob, those last that served other bytes for it before.
    pub(crate) fn endpoints_for(&self, repository: &Repository, digest: Digest) -> Vec<Endpoint> {
        let mut endpoints = hosts::endpoints(self.exchange.transport.config(), repository);
        let distrusted = lock(&self.distrusted);
        endpoints.sort_by_key(|endpoint| distrusted.contains(&(endpoint.address.clone(), digest)));
        endpoints
    }
}
