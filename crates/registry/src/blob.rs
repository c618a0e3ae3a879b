//! Blobs as streams that mend themselves: what breaks off is resumed where it broke, on any host that has it.
//!
//! The reader hashes what it hands out. It reports the end only when size and digest are those of the descriptor; until then
//! the bytes are a promise, and must not be committed anywhere.

use crate::client::{Shared, first_of};
use crate::error::RegistryError;
use crate::exchange::{Ask, Place};
use crate::hosts::Endpoint;
use crate::reference::Repository;
use crate::token::Scope;
use crate::transport::{Payload, leaf, lock};
use kiln_digest::{Digest, DigestWriter};
use oci_spec::image::Descriptor;
use reqwest::blocking::Response;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// A connection that carried this much before it broke was worth having: the count of failures starts again.
const PROGRESS: u64 = 1024 * 1024;

/// Reads a blob, verifying it. Large buffers (64 KiB and more) are best.
///
/// Errors wrap a [`RegistryError`] ([`io::Error::downcast`] gives it back): [`io::ErrorKind::InvalidData`] when the bytes are wrong, which
/// shows at the end. Opening the blob again then asks another host first, if there is one. After an error, reading gives errors only.
pub struct BlobReader {
    shared: Arc<Shared>,
    subject: String,
    endpoints: Vec<Endpoint>,
    /// Which of them is being read from.
    current: usize,
    digest: Digest,
    size: u64,
    state: State,
    hasher: DigestWriter<io::Sink>,
    offset: u64,
    /// Breaks since the last [`PROGRESS`], and where the first of them was.
    breaks: u32,
    broke_at: u64,
}

#[derive(Debug)]
enum State {
    /// The response has this many bytes that were handed out already: its host ignores ranges.
    Open {
        response: Response,
        skip: u64,
    },
    /// The connection broke; why, as one line.
    Broken(String),
    /// All was read and verified.
    Done,
    Failed,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("subject", &self.subject)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(crate) fn open(
        shared: &Arc<Shared>,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Self, RegistryError> {
        let text = descriptor.digest().to_string();
        let subject = format!("blob `{text}` of `{repository}`");
        let digest: Digest =
            text.parse().map_err(|source| RegistryError::UnsupportedDigest { subject: subject.clone(), source })?;
        let mut reader = Self {
            shared: shared.clone(),
            subject,
            endpoints: shared.endpoints_for(repository, digest),
            current: 0,
            digest,
            size: descriptor.size(),
            state: State::Failed,
            hasher: DigestWriter::new(io::sink()),
            offset: 0,
            breaks: 0,
            broke_at: 0,
        };
        reader.reopen()?;
        Ok(reader)
    }

    /// The digest that the bytes must have.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size that they must have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The host being read from: the registry or one of its mirrors.
    pub fn host(&self) -> &str {
        &self.endpoints[self.current].name
    }

    /// Asks for what is still missing, the current host first.
    fn reopen(&mut self) -> Result<(), RegistryError> {
        let count = self.endpoints.len();
        let order = (0..count).map(|step| &self.endpoints[(self.current + step) % count]);
        let (state, endpoint) = first_of(order, |endpoint| Ok((self.request(endpoint)?, endpoint)))?;
        self.current = self.endpoints.iter().position(|other| other == endpoint).unwrap_or(0);
        self.state = state;
        Ok(())
    }

    fn request(&self, endpoint: &Endpoint) -> Result<State, RegistryError> {
        // A proxy that compresses on the way would make other bytes of it.
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        if self.offset > 0 {
            let range = format!("bytes={}-", self.offset);
            headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are valid in a header"));
        }
        let ask = Ask {
            method: Method::GET,
            place: Place::Path(format!("{}/blobs/{}", endpoint.repository, self.digest)),
            body: Payload::Nothing,
            headers,
            scope: Scope::pull(&endpoint.repository),
            subject: self.subject.clone(),
        };
        let response = self.shared.exchange.send(endpoint, &ask)?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let begins = if partial { range_start(response.headers()) } else { Some(0) };
        let length = response.content_length();
        match begins {
            Some(begins) if begins <= self.offset => {
                if let Some(actual) =
                    length.map(|length| begins.saturating_add(length)).filter(|&actual| actual != self.size)
                {
                    return Err(self.wrong_size(endpoint, actual));
                }
                Ok(State::Open { response, skip: self.offset - begins })
            }
            _ => Err(RegistryError::Server {
                subject: self.subject.clone(),
                host: endpoint.name.clone(),
                status: response.status().as_u16(),
                message: "another range than the one asked for".to_owned(),
                tried: Vec::new(),
            }),
        }
    }

    /// Waits a little and asks again, unless that has been of no use too often.
    fn mend(&mut self, cause: &str) -> Result<(), RegistryError> {
        if self.offset - self.broke_at >= PROGRESS {
            self.breaks = 0;
        }
        if self.breaks == 0 {
            self.broke_at = self.offset;
        }
        self.breaks += 1;
        let policy = &self.shared.exchange.policy;
        let unreachable = |host: &str| RegistryError::Unreachable {
            host: host.to_owned(),
            cause: format!("{} broke off at byte {}: {cause}", self.subject, self.offset),
            tried: Vec::new(),
        };
        if self.breaks >= policy.attempts {
            return Err(unreachable(self.host()));
        }
        if let Some(pause) = policy.pause_after(self.breaks, None) {
            self.shared.exchange.cancel.sleep(pause, self.host())?;
        }
        // Another host may be better than one that broke twice.
        if self.breaks > 1 {
            self.current = (self.current + 1) % self.endpoints.len();
        }
        self.reopen()
    }

    fn finish(&mut self) -> Result<(), RegistryError> {
        let hasher = std::mem::replace(&mut self.hasher, DigestWriter::new(io::sink()));
        let (_, actual, _) = hasher.finish();
        if actual != self.digest {
            let endpoint = &self.endpoints[self.current];
            lock(&self.shared.distrusted).insert((endpoint.address.clone(), self.digest));
            return Err(RegistryError::DigestMismatch {
                subject: self.subject.clone(),
                host: endpoint.name.clone(),
                expected: self.digest,
                actual,
            });
        }
        self.state = State::Done;
        Ok(())
    }

    fn wrong_size(&self, endpoint: &Endpoint, actual: u64) -> RegistryError {
        RegistryError::SizeMismatch {
            subject: self.subject.clone(),
            host: endpoint.name.clone(),
            expected: self.size,
            actual,
        }
    }

    fn read_on(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            self.shared.exchange.cancel.check(&self.endpoints[self.current].name)?;
            let left = self.size - self.offset;
            let outcome = match &mut self.state {
                State::Done => return Ok(0),
                State::Failed => {
                    return Err(RegistryError::Unreachable {
                        host: self.host().to_owned(),
                        cause: format!("{} has failed before", self.subject),
                        tried: Vec::new(),
                    });
                }
                _ if left == 0 => {
                    self.finish()?;
                    return Ok(0);
                }
                State::Open { response, skip } => {
                    let left = if *skip > 0 { *skip } else { left };
                    let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    match response.read(&mut buffer[..wanted]) {
                        Ok(read) if read > 0 && *skip > 0 => {
                            *skip -= read as u64;
                            continue;
                        }
                        outcome => outcome,
                    }
                }
                State::Broken(cause) => {
                    let cause = std::mem::take(cause);
                    self.mend(&cause)?;
                    continue;
                }
            };
            match outcome {
                Ok(0) => self.state = State::Broken("the connection was closed early".to_owned()),
                Ok(read) => {
                    self.hasher.write_all(&buffer[..read]).expect("hashing cannot fail");
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.state = State::Broken(leaf(&error)),
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_on(buffer).map_err(|error| {
            self.state = State::Failed;
            let kind = match error {
                RegistryError::DigestMismatch { .. } | RegistryError::SizeMismatch { .. } => io::ErrorKind::InvalidData,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })
    }
}

/// The first byte's position in `Content-Range: bytes FIRST-LAST/SIZE`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}
