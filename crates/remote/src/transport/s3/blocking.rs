//! Objects of a bucket for threads that wait. The client of object stores is asynchronous; all of that is in this file.
//!
//! Nothing waits for ever: each request has a limit, retries are counted, and whoever waits looks every now and then whether somebody
//! said stop.

use super::profile;
use crate::error::{ManifestProblem, RemoteError};
use crate::location::S3Location;
use futures_util::TryStreamExt;
use futures_util::stream;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How often somebody who waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// An object is read in pieces of this size.
const PIECE: u64 = 2 << 20;
/// As many pieces are asked for before they are needed.
const AHEAD: usize = 3;
/// Parts of a larger object are of this size, unless it would have too many of them.
const PART: u64 = 8 << 20;
/// An object has at most this many parts (10,000 by the protocol).
const PARTS_MAX: u64 = 9000;
/// Most bytes of a server's complaint that are quoted.
const QUOTED_MAX: usize = 300;

/// The objects of a bucket. Clones share connections.
#[derive(Clone)]
pub(super) struct Objects {
    store: Arc<AmazonS3>,
    runtime: Arc<Runtime>,
    stop: Arc<AtomicBool>,
    /// The cache, for messages.
    place: String,
    parallelism: usize,
}

/// What is known of an object without reading it.
pub(super) struct Known {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) written: SystemTime,
    /// What changes with its bytes, where the server says so.
    pub(super) tag: Option<String>,
}

impl From<ObjectMeta> for Known {
    fn from(meta: ObjectMeta) -> Self {
        Self { key: meta.location.to_string(), size: meta.size, written: meta.last_modified.into(), tag: meta.e_tag }
    }
}

impl Objects {
    pub(super) fn new(location: &S3Location, place: String, stop: Arc<AtomicBool>) -> Result<Self, RemoteError> {
        // Fails if the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |cause: String| RemoteError::Store { place: place.clone(), action: "reach it", cause };
        let store = builder(location).build().map_err(|error| failed(shown(&error)))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("objects").enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let parallelism = location.upload_parallelism;
        Ok(Self { store: Arc::new(store), runtime: Arc::new(runtime), stop, place, parallelism })
    }

    /// What is known of an object; nothing if it is not there.
    pub(super) fn head(&self, key: &str) -> Result<Option<Known>, RemoteError> {
        let path = Path::from(key);
        match self.wait("look for an object", self.store.head(&path)) {
            Ok(meta) => Ok(Some(meta.into())),
            Err(Failed::NotThere) => Ok(None),
            Err(Failed::Final(error)) => Err(error),
        }
    }

    /// All objects whose keys begin so.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Known>, RemoteError> {
        // The client knows directories only.
        let directory = prefix.rsplit_once('/').map(|(directory, _)| Path::from(directory));
        let all = self.store.list(directory.as_ref()).try_collect::<Vec<_>>();
        let all = self.wait("list objects", all).map_err(|failed| failed.fatal(&self.place))?;
        Ok(all.into_iter().map(Known::from).filter(|known| known.key.starts_with(prefix)).collect())
    }

    /// The bytes of an object of at most `limit`, all of them of one version; nothing if it is not there.
    pub(super) fn document(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let path = Path::from(key);
        let get = async {
            let found = self.store.get(&path).await?;
            match found.meta.size {
                size if size > limit => Ok(Err(ManifestProblem::TooLarge { size, limit })),
                _ => Ok(Ok(found.bytes().await?)),
            }
        };
        match self.wait("read an object", get) {
            Ok(Ok(bytes)) => Ok(Some(bytes.into())),
            Ok(Err(problem)) => Err(RemoteError::Manifest { place: self.place.clone(), problem }),
            Err(Failed::NotThere) => Ok(None),
            Err(Failed::Final(error)) => Err(error),
        }
    }

    /// Opens an object of this size; nothing if it is not there. Fewer bytes are an error of the reader.
    pub(super) fn read(&self, key: &str, size: u64) -> Result<Option<Pieces>, RemoteError> {
        let mut pieces = Pieces {
            objects: self.clone(),
            path: Path::from(key),
            size,
            asked: 0,
            coming: VecDeque::new(),
            current: io::Cursor::default(),
        };
        match pieces.advance() {
            Ok(()) => Ok(Some(pieces)),
            Err(Failed::NotThere) => Ok(None),
            Err(Failed::Final(error)) => Err(error),
        }
    }

    /// Writes an object of `size` bytes, whole or not at all; nothing if the content cannot be read to its end.
    pub(super) fn write(&self, key: &str, size: u64, content: &mut dyn Read) -> Result<(), RemoteError> {
        let path = Path::from(key);
        let part = PART.max(size.div_ceil(PARTS_MAX));
        if size <= part {
            let bytes = self.part(content, u64::MAX)?;
            let put = self.store.put(&path, PutPayload::from(bytes));
            return self.wait("write an object", put).map(drop).map_err(|failed| failed.fatal(&self.place));
        }
        let started = self.wait("begin an upload", self.store.put_multipart(&path));
        let mut upload = started.map_err(|failed| failed.fatal(&self.place))?;
        let sent = self.send(upload.as_mut(), part, content);
        let ended = sent.and_then(|()| {
            self.wait("complete an upload", upload.complete()).map(drop).map_err(|failed| failed.fatal(&self.place))
        });
        if ended.is_err() {
            // What cannot be given up now, the bucket's own rules delete some day.
            let _ = self.runtime.block_on(tokio::time::timeout(Duration::from_secs(5), upload.abort()));
        }
        ended
    }

    fn send(&self, upload: &mut dyn MultipartUpload, part: u64, content: &mut dyn Read) -> Result<(), RemoteError> {
        let mut running = Running(VecDeque::new());
        loop {
            let bytes = self.part(content, part)?;
            let last = bytes.is_empty();
            while !running.0.is_empty() && (last || running.0.len() >= self.parallelism) {
                let first = running.0.pop_front().expect("looked above");
                self.wait_for_task("send a part", first).map_err(|failed| failed.fatal(&self.place))?;
            }
            if last {
                return Ok(());
            }
            running.0.push_back(self.runtime.spawn(upload.put_part(PutPayload::from(bytes))));
        }
    }

    /// Up to `most` bytes.
    fn part(&self, content: &mut dyn Read, most: u64) -> Result<Vec<u8>, RemoteError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(RemoteError::Cancelled);
        }
        let mut bytes = Vec::new();
        let read = content.take(most).read_to_end(&mut bytes);
        read.map_err(|error| RemoteError::Store {
            place: self.place.clone(),
            action: "read what is to be sent",
            cause: error.to_string(),
        })?;
        Ok(bytes)
    }

    /// Makes an object one that was written just now, and says whether it was there. A copy onto itself is refused, so it goes there
    /// and back.
    pub(super) fn touch(&self, key: &str) -> Result<bool, RemoteError> {
        let (path, aside) = (Path::from(key), Path::from(format!("{key}.touch")));
        let touch = async {
            self.store.copy(&path, &aside).await?;
            self.store.copy(&aside, &path).await?;
            self.store.delete(&aside).await
        };
        match self.wait("copy an object", touch) {
            Ok(()) => Ok(true),
            // Somebody deleted it meanwhile; or what was aside, having written it anew as well.
            Err(Failed::NotThere) => Ok(false),
            Err(Failed::Final(error)) => Err(error),
        }
    }

    /// Deletes objects.
    pub(super) fn delete(&self, keys: &[String]) -> Result<(), RemoteError> {
        let paths: Vec<_> = keys.iter().map(|key| Ok(Path::from(key.as_str()))).collect();
        let deleted = self.store.delete_stream(Box::pin(stream::iter(paths))).try_collect::<Vec<_>>();
        match self.wait("delete objects", deleted) {
            // Somebody else was faster.
            Ok(_) | Err(Failed::NotThere) => Ok(()),
            Err(Failed::Final(error)) => Err(error),
        }
    }

    fn wait_for_task<T: Send + 'static>(
        &self,
        action: &'static str,
        task: JoinHandle<Result<T, Error>>,
    ) -> Result<T, Failed> {
        self.wait(action, async { task.await.map_err(|source| Error::JoinError { source }).and_then(|done| done) })
    }

    fn wait<T>(&self, action: &'static str, future: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
        let outcome = self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                match tokio::time::timeout(LOOK, &mut future).await {
                    Ok(outcome) => return Some(outcome),
                    Err(_) if self.stop.load(Ordering::Relaxed) => return None,
                    Err(_) => {}
                }
            }
        });
        match outcome {
            None => Err(Failed::Final(RemoteError::Cancelled)),
            Some(Ok(value)) => Ok(value),
            Some(Err(Error::NotFound { .. })) => Err(Failed::NotThere),
            Some(Err(error)) => {
                Err(Failed::Final(RemoteError::Store { place: self.place.clone(), action, cause: shown(&error) }))
            }
        }
    }
}

/// A request without a result.
enum Failed {
    /// There is no such object, or no such bucket.
    NotThere,
    Final(RemoteError),
}

impl Failed {
    /// Where nothing is looked for, it is the bucket that is not there.
    fn fatal(self, place: &str) -> RemoteError {
        match self {
            Self::Final(error) => error,
            Self::NotThere => RemoteError::Store {
                place: place.to_owned(),
                action: "find it",
                cause: "there is no such bucket, or it hides from these credentials".to_owned(),
            },
        }
    }
}

/// Requests that end with whoever made them.
struct Running<T>(VecDeque<JoinHandle<Result<T, Error>>>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Reads an object, the next pieces being on their way meanwhile. Each piece is asked for again by itself when it breaks off.
pub(super) struct Pieces {
    objects: Objects,
    path: Path,
    size: u64,
    /// Up to where pieces were asked for.
    asked: u64,
    coming: VecDeque<JoinHandle<Result<Vec<u8>, Error>>>,
    current: io::Cursor<Vec<u8>>,
}

impl Pieces {
    /// Makes the next piece the current one; an empty one at the end.
    fn advance(&mut self) -> Result<(), Failed> {
        while self.asked < self.size && self.coming.len() < AHEAD {
            let range = self.asked..self.size.min(self.asked + PIECE);
            self.asked = range.end;
            let (store, path) = (Arc::clone(&self.objects.store), self.path.clone());
            let piece = async move { store.get_range(&path, range).await.map(Vec::from) };
            self.coming.push_back(self.objects.runtime.spawn(piece));
        }
        let piece = match self.coming.pop_front() {
            Some(piece) => self.objects.wait_for_task("read an object", piece)?,
            None => Vec::new(),
        };
        self.current = io::Cursor::new(piece);
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.current.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.advance().map_err(|failed| io::Error::other(failed.fatal(&self.objects.place)))?;
        self.current.read(buffer)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.coming.iter().for_each(JoinHandle::abort);
    }
}

fn builder(location: &S3Location) -> AmazonS3Builder {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        ..BackoffConfig::default()
    };
    let retry = RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(60) };
    // The limit is for one piece or part; over HTTP/2 all of them would share one connection's window.
    let client = ClientOptions::new()
        .with_timeout(Duration::from_secs(60))
        .with_connect_timeout(Duration::from_secs(10))
        .with_http1_only()
        .with_allow_http(location.endpoint_url.as_ref().is_some_and(|url| url.starts_with("http://")));
    let builder = match location.credentials.clone().or_else(profile::find) {
        Some(credentials) => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(credentials.access_key_id)
                .with_secret_access_key(credentials.secret_access_key);
            match credentials.session_token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        // The roles that the environment names.
        None => AmazonS3Builder::from_env(),
    };
    let builder = builder
        .with_bucket_name(&location.bucket)
        .with_region(&location.region)
        .with_virtual_hosted_style_request(!location.use_path_style)
        .with_client_options(client)
        .with_retry(retry);
    match &location.endpoint_url {
        None => builder,
        Some(url) if location.use_path_style => builder.with_endpoint(url),
        // The client takes such an address as that of the bucket itself.
        Some(url) => match url.split_once("://") {
            Some((scheme, host)) => builder.with_endpoint(format!("{scheme}://{}.{host}", location.bucket)),
            None => builder.with_endpoint(url),
        },
    }
}

/// A complaint as one short line of printable characters.
fn shown(error: &Error) -> String {
    let text = error.to_string();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED_MAX) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}
