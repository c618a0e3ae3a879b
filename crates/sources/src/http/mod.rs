//! Files from http(s) URLs (`ADD https://…`, remote contexts).
//!
//! A file is known by the digest of its bytes. To learn it, the server is asked whether what an earlier build got is still what it
//! has (`If-None-Match`, `If-Modified-Since`); only a file that is new is fetched. One whose digest the user gives (`--checksum`) is
//! not asked for at all before its bytes are needed.
//!
//! In the store a file is a layer of that one file (mode 0600, owned by root, last changed when the server says so), under a record
//! of its digest and name. What a server last said of a URL is a memo; losing it costs one more fetch.

mod exchange;

use crate::patience::{Pieces, Stopped, unless};
use crate::progress::Progress;
use exchange::{Exchange, Question};
use kiln_digest::{CacheKey, ContentDigest, Digest, DigestReader, Hasher};
use kiln_graph::{HttpFile, without_credentials};
use kiln_layer::{BuildError, Builder, Meta, Time};
use kiln_store::{LayerId, LockError, NewLayer, RecordError, StepLock, Store};
use reqwest::blocking::Response;
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// Memos of what servers said of URLs.
const MEMO: &str = "http";
/// A larger file is not what anybody means to add to an image.
const MAX_SIZE: u64 = 64 << 30;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is malformed.
    #[error("`{url}` is not an address: {reason}")]
    BadUrl {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is no connection, or it broke.
    #[error("failed to fetch `{url}`: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The certificate isn't trusted, or the server doesn't speak TLS.
    #[error("failed to fetch `{url}` over TLS: {reason}")]
    Tls {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server refuses.
    #[error("failed to fetch `{url}`: the server answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// Code and text.
        status: String,
    },
    /// A redirect that cannot be followed.
    #[error("failed to fetch `{url}`: {reason}")]
    Redirect {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The file broke off.
    #[error("failed to read `{url}`")]
    Read {
        /// The URL.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than any may be.
    #[error("`{url}` is larger than {} GiB", MAX_SIZE >> 30)]
    TooLarge {
        /// The URL.
        url: String,
    },
    /// The bytes are not those of the checksum.
    #[error("`{url}` has the digest `{actual}`, but `{expected}` is expected")]
    Checksum {
        /// The URL.
        url: String,
        /// The digest wanted.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The server sent other bytes than it had announced before.
    #[error("`{url}` changed while the build ran\nhint: build again")]
    Changed {
        /// The URL.
        url: String,
    },
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The layer could not be written.
    #[error("failed to store `{url}`")]
    Write {
        /// The URL.
        url: String,
        /// The cause.
        source: BuildError,
    },
    /// The layer was removed meanwhile.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

impl From<Stopped> for HttpError {
    fn from(Stopped: Stopped) -> Self {
        Self::Cancelled
    }
}

impl From<LockError> for HttpError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Cancelled => Self::Cancelled,
            LockError::Store(error) => Self::Store(error),
        }
    }
}

/// Finds files and fetches them. Cheap to clone.
#[derive(Clone)]
pub struct HttpFiles {
    store: Store,
    exchange: Arc<Exchange>,
}

/// A file whose digest is known, and which may not be here yet.
#[derive(Clone)]
pub struct HttpSource {
    files: HttpFiles,
    file: HttpFile,
    digest: Digest,
    authorization: Option<HeaderValue>,
}

/// What a server last said of a URL.
#[derive(Serialize, Deserialize)]
struct Known {
    digest: Digest,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl HttpFiles {
    /// Asks no server yet.
    pub fn new(store: Store) -> Self {
        Self { store, exchange: Arc::default() }
    }

    /// Learns the digest of a file, fetching it if it changed. `authorization` is the value of that header for the URL's server.
    ///
    /// # Errors
    /// See [`HttpError`]; a file that is fetched is verified.
    pub fn resolve(
        &self,
        file: &HttpFile,
        authorization: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<HttpSource, HttpError> {
        let authorization = authorization.map(|value| secret_header(&file.url, value)).transpose()?;
        let source = |digest| {
            let authorization = authorization.clone();
            HttpSource { files: self.clone(), file: file.clone(), digest, authorization }
        };
        if let Some(digest) = file.checksum {
            return Ok(source(digest));
        }
        let _lock = self.lock(&file.url, progress)?;
        let known: Option<Known> = self.known(&file.url)?;
        let mut headers = HeaderMap::new();
        let mut ask = |name: HeaderName, value: Option<&String>| {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        };
        if let Some(known) = &known {
            ask(IF_NONE_MATCH, known.etag.as_ref());
            ask(IF_MODIFIED_SINCE, known.last_modified.as_ref());
        }
        let response = self.ask(&file.url, headers, authorization.clone(), progress)?;
        if let Some(known) = known.filter(|known| is_same(known, &response)) {
            return Ok(source(known.digest));
        }
        let digest = self.take(file, response, progress)?.0;
        Ok(source(digest))
    }

    /// Of several processes that want the same file one fetches it; the others wait.
    fn lock(&self, url: &str, progress: &dyn Progress) -> Result<StepLock, HttpError> {
        let key = Hasher::new("kiln http url v1").field(url.as_bytes()).key();
        Ok(self.store.lock_step(&key, || !progress.is_cancelled())?)
    }

    fn known(&self, url: &str) -> Result<Option<Known>, HttpError> {
        let bytes = self.store.memo(MEMO, url.as_bytes())?;
        Ok(bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()))
    }

    fn ask(
        &self,
        url: &str,
        headers: HeaderMap,
        authorization: Option<HeaderValue>,
        progress: &dyn Progress,
    ) -> Result<Response, HttpError> {
        let exchange = Arc::clone(&self.exchange);
        let question = Question { url: url.to_owned(), headers, authorization };
        unless(&|| progress.is_cancelled(), move || exchange.get(&question))?
    }

    /// Stores the body of an answer as a layer, and what the server said of it.
    fn take(
        &self,
        file: &HttpFile,
        response: Response,
        progress: &dyn Progress,
    ) -> Result<(Digest, LayerId), HttpError> {
        let url = || without_credentials(&file.url);
        let said =
            |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (etag, last_modified) = (said(ETAG), said(LAST_MODIFIED));
        let total = response.content_length();
        if total.is_some_and(|total| total > MAX_SIZE) {
            return Err(HttpError::TooLarge { url: url() });
        }
        let temporary = self.store.temp_dir()?;
        let fs = temporary.path().join("fs");
        let name = PathBuf::from(&file.filename);
        let meta = Meta { mtime: last_modified.as_deref().and_then(http_date).unwrap_or_default(), ..Meta::new(0o600) };
        let write = |source| HttpError::Write { url: url(), source };
        let builder = Builder::new(fs.clone(), None).map_err(write)?;
        let stop = || progress.is_cancelled();
        let body = Counted { inner: Pieces::of(response, &stop), count: 0, total, progress, item: &file.filename };
        let mut body = DigestReader::new(body);
        let written = builder.file(&name, &meta, &mut body);
        let (Counted { count, .. }, actual, _) = body.finish();
        match written {
            Ok(_) => {}
            Err(_) if progress.is_cancelled() => return Err(HttpError::Cancelled),
            Err(_) if count > MAX_SIZE => return Err(HttpError::TooLarge { url: url() }),
            Err(BuildError::Source { source, .. }) => return Err(HttpError::Read { url: url(), source }),
            Err(error) => return Err(write(error)),
        }
        let diff = builder.finish().map_err(write)?.diff;
        if let Some(expected) = file.checksum.filter(|expected| *expected != actual) {
            return Err(HttpError::Checksum { url: url(), expected, actual });
        }
        progress.bytes(&file.filename, count, Some(count), true);
        let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
        let layer = self.store.commit_layer(&fs, new)?.id;
        self.store.put_record(&layer_key(&actual, &file.filename), &[], Some(layer))?;
        let known = Known { digest: actual, etag, last_modified };
        let value = postcard::to_stdvec(&known).expect("a memo is plain data");
        self.store.put_memo(MEMO, file.url.as_bytes(), &value)?;
        Ok((actual, layer))
    }
}

impl HttpSource {
    /// The digest of the file's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the tree with the file is, times left out.
    pub fn content(&self) -> ContentDigest {
        Hasher::new("kiln http tree v1").field(self.digest.as_bytes()).field(self.file.filename.as_bytes()).content()
    }

    /// The layer, if it is in the store.
    ///
    /// # Errors
    /// The store's.
    pub fn layer_if_here(&self) -> Result<Option<LayerId>, kiln_store::Error> {
        Ok(self.files.store.record(&layer_key(&self.digest, &self.file.filename))?.and_then(|record| record.layer))
    }

    /// The layer, fetched if need be.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn layer(&self, progress: &dyn Progress) -> Result<LayerId, HttpError> {
        if let Some(layer) = self.layer_if_here()? {
            return Ok(layer);
        }
        let _lock = self.files.lock(&self.file.url, progress)?;
        if let Some(layer) = self.layer_if_here()? {
            return Ok(layer);
        }
        let response = self.files.ask(&self.file.url, HeaderMap::new(), self.authorization.clone(), progress)?;
        let (digest, layer) = self.files.take(&self.file, response, progress)?;
        if digest != self.digest {
            return Err(HttpError::Changed { url: without_credentials(&self.file.url) });
        }
        Ok(layer)
    }
}

fn layer_key(digest: &Digest, filename: &str) -> CacheKey {
    Hasher::new("kiln http file v1").field(digest.as_bytes()).field(filename.as_bytes()).key()
}

fn secret_header(url: &str, value: &str) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| HttpError::BadUrl {
        url: without_credentials(url),
        reason: "the secret for its server is not the value of a header".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the server says that it has what it had. Some servers answer with all of the file to a condition, but the same tag.
fn is_same(known: &Known, response: &Response) -> bool {
    if response.status().as_u16() == 304 {
        return true;
    }
    let strong = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let tag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(strong);
    tag.is_some() && tag == known.etag.as_deref().map(strong)
}

/// RFC 9110, 5.6.7: an IMF-fixdate, which is a date of RFC 5322. The obsolete forms count as none.
fn http_date(text: &str) -> Option<Time> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Time { secs: time.as_second(), nanos: 0 })
}

/// Counts what is read, tells of it, and ends what is too large.
struct Counted<'a, R> {
    inner: R,
    count: u64,
    total: Option<u64>,
    progress: &'a dyn Progress,
    item: &'a str,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        if self.count > MAX_SIZE {
            return Err(io::Error::other("too large"));
        }
        self.progress.bytes(self.item, self.count, self.total, false);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_servers() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(|time| time.secs), Some(784_111_777));
        for text in ["", "yesterday", "Sunday, 06-Nov-94 08:49:37 GMT"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
