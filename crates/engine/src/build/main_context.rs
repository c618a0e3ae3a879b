//! The main context: a directory, which is read where it is, or files from elsewhere. Those are fetched before anything else, since the
//! Dockerfile may be among them; the graph then sees them as what they became in the store.

use super::dockerfile::absolute;
use super::remote::{http_authorization, repository_access};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink, StepId, Stream};
use crate::history::Redaction;
use crate::request::{BuildRequest, ContextSource};
use crate::snapshot::{OwnLayer, Realized, Snapshot};
use kiln_digest::{CacheKey, ContentDigest, Hasher};
use kiln_graph::{GitTree, HttpFile, without_credentials};
use kiln_layer::{Tree, TreeError};
use kiln_sources::Progress;
use kiln_sources::archive::{self, ArchiveError, HEADER_LENGTH};
use kiln_sources::git::GitSource;
use kiln_store::LayerId;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The name of a context that is one file.
const ONE_FILE: &str = "context";

/// Where the files of the main context are.
pub(crate) enum MainContext {
    /// In a directory of the user's.
    Directory(PathBuf),
    /// In the store.
    Tree(Box<ContextTree>),
}

/// A context that came from elsewhere.
pub(crate) struct ContextTree {
    /// Its address, for people and to be remembered by.
    pub(crate) name: String,
    pub(crate) snapshot: Snapshot,
    /// Its layer; an empty context has none.
    pub(crate) layer: Option<LayerId>,
    /// What the Dockerfile is called in it, if nobody says otherwise.
    pub(crate) dockerfile: &'static str,
    /// The commit of a repository.
    commit: Option<String>,
    /// Keeps its files from being pruned until the build ends, once they are there.
    held: Option<Realized>,
}

impl MainContext {
    /// The commit of a context that is a repository.
    pub(crate) fn commit(&self) -> Option<String> {
        match self {
            Self::Tree(tree) => tree.commit.clone(),
            Self::Directory(_) => None,
        }
    }
}

/// What may be used of the build while its context is loaded.
pub(crate) struct Loading<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) events: &'a dyn EventSink,
    /// Told of the secrets that reaching it takes.
    pub(crate) redaction: &'a Redaction,
    pub(crate) cancel: CancelToken,
    /// The last number of a step.
    pub(crate) numbers: &'a AtomicU32,
}

/// Finds the main context of a request, and fetches it if it is elsewhere.
pub(crate) fn load(request: &BuildRequest, loading: &Loading<'_>) -> Result<MainContext, EngineError> {
    let mut tree = match &request.context {
        ContextSource::Directory(directory) => return self::directory(directory).map(MainContext::Directory),
        ContextSource::Empty => {
            let snapshot = Snapshot::empty();
            ContextTree {
                name: "-".to_owned(),
                snapshot,
                layer: None,
                dockerfile: "Dockerfile",
                commit: None,
                held: None,
            }
        }
        ContextSource::Git(tree) => loading.git(tree, request)?,
        ContextSource::Http(url) => loading.http(url, request)?,
        ContextSource::Archive(piped) => {
            let unpack = |progress: &dyn Progress| {
                piped.unpacked(|reader| archive::unpack(loading.engine.store(), reader, "archive", progress))
            };
            let (layer, content) = loading.step("[internal] load build context from standard input", unpack)?;
            tree("-", layer, content)
        }
    };
    tree.held = Some(Realized::new(loading.engine.store(), tree.layer.into_iter().collect())?);
    Ok(MainContext::Tree(Box::new(tree)))
}

fn directory(directory: &Path) -> Result<PathBuf, EngineError> {
    if !directory.is_dir() {
        let what = if directory.exists() { "is not a directory" } else { "does not exist" };
        return Err(EngineError::new(ErrorKind::User, format!("the build context `{}` {what}", directory.display())));
    }
    Ok(absolute(directory))
}

fn tree(name: &str, layer: LayerId, content: ContentDigest) -> ContextTree {
    let snapshot = Snapshot::empty().with_layer(OwnLayer::Here(layer), content);
    let name = without_credentials(name);
    ContextTree { name, snapshot, layer: Some(layer), dockerfile: "Dockerfile", commit: None, held: None }
}

impl Loading<'_> {
    fn git(&self, address: &GitTree, request: &BuildRequest) -> Result<ContextTree, EngineError> {
        let mut address = address.clone();
        let keeps = request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
        address.keep_git_dir |= matches!(keeps, Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
        let access =
            repository_access(&address.remote, &request.secrets, self.redaction, &request.ssh, self.engine.store())?;
        let name = format!("[internal] load git source {}", without_credentials(&address.remote));
        let load = |progress: &dyn Progress| {
            let source = GitSource::resolve(self.engine.store(), &address, &access.git, progress)?;
            Ok((source.layer(progress)?, source.content(), source.commit().to_owned()))
        };
        let (layer, content, commit) = self.step(&name, |progress| load(progress).map_err(EngineError::from_git))?;
        let part =
            |mark: &str, part: &Option<String>| part.iter().map(|part| format!("{mark}{part}")).collect::<String>();
        let (reference, subdir) = (part("#", &address.reference), part(":", &address.subdir));
        let name = format!("{}{reference}{subdir}", address.remote);
        Ok(ContextTree { commit: Some(commit), ..tree(&name, layer, content) })
    }

    /// An archive, or the Dockerfile itself.
    fn http(&self, url: &str, request: &BuildRequest) -> Result<ContextTree, EngineError> {
        let (layer, content) = self.download(url, ONE_FILE, "[internal] load remote build context", request)?;
        let store = self.engine.store();
        let key: CacheKey = Hasher::new("kiln context archive v1").field(content.as_bytes()).key();
        if let Some(layer) = store.record(&key).map_err(EngineError::store)?.and_then(|record| record.layer) {
            return Ok(tree(url, layer, unpacked(&content)));
        }
        let realized = Realized::new(store, vec![layer])?;
        let (file, header) =
            begin(realized.tree.as_ref()).map_err(EngineError::internal("failed to read the context"))?;
        if !archive::is_archive(&header) {
            return Ok(ContextTree { dockerfile: ONE_FILE, ..tree(url, layer, content) });
        }
        let (layer, _) = self.step("[internal] unpack remote build context", |progress| {
            archive::unpack(store, file, ONE_FILE, progress).map_err(EngineError::from_archive)
        })?;
        store.put_record(&key, &[], Some(layer)).map_err(EngineError::store)?;
        Ok(tree(url, layer, unpacked(&content)))
    }

    /// The layer of a file from a URL, and what that is.
    pub(super) fn download(
        &self,
        url: &str,
        filename: &str,
        step: &str,
        request: &BuildRequest,
    ) -> Result<(LayerId, ContentDigest), EngineError> {
        let file = HttpFile { url: url.to_owned(), checksum: None, filename: filename.to_owned() };
        let authorization = http_authorization(url, &request.secrets, self.redaction)?;
        let load = |progress: &dyn Progress| {
            let source = self.engine.http().resolve(&file, authorization.as_deref(), progress)?;
            Ok((source.layer(progress)?, source.content()))
        };
        self.step(step, |progress| load(progress).map_err(EngineError::from_http))
    }

    /// Loads something, which becomes a step when there is something to tell.
    fn step<T>(
        &self,
        name: &str,
        load: impl FnOnce(&dyn Progress) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let step = StepId(self.numbers.fetch_add(1, Ordering::Relaxed) + 1);
        let told = Told { loading: self, step, name, started: Once::new() };
        let since = Instant::now();
        let loaded = load(&told);
        let error = loaded.as_ref().err().map(ToString::to_string);
        if told.started.is_completed() {
            self.events.event(Event::StepFinished { step, duration: since.elapsed(), error });
        }
        if self.cancel.is_cancelled() { Err(EngineError::cancelled()) } else { loaded }
    }
}

/// What an unpacked archive is.
fn unpacked(archive: &ContentDigest) -> ContentDigest {
    Hasher::new("kiln unpacked archive v1").field(archive.as_bytes()).content()
}

/// The one file of a context, and its first bytes.
fn begin(tree: &dyn Tree) -> Result<(std::fs::File, Vec<u8>), TreeError> {
    let path = Path::new(ONE_FILE);
    let unreadable = |source| TreeError::Io { action: "read", path: path.to_owned(), source };
    let mut file = tree.open(path)?;
    let mut header = Vec::new();
    file.by_ref().take(HEADER_LENGTH as u64).read_to_end(&mut header).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    Ok((file, header))
}

struct Told<'a> {
    loading: &'a Loading<'a>,
    step: StepId,
    name: &'a str,
    started: Once,
}

impl Told<'_> {
    fn start(&self) -> StepId {
        self.started.call_once(|| {
            let name = self.name.to_owned();
            self.loading.events.event(Event::StepStarted { step: self.step, name, stage: None });
        });
        self.step
    }
}

impl Progress for Told<'_> {
    fn bytes(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        let step = self.start();
        self.loading.events.event(Event::StepProgress { step, item: item.to_owned(), current, total, done });
    }

    fn log(&self, text: &str) {
        let step = self.start();
        let data = format!("{text}\n").into_bytes();
        self.loading.events.event(Event::StepLog { step, stream: Stream::Stderr, data });
    }

    fn is_cancelled(&self) -> bool {
        self.loading.cancel.is_cancelled()
    }
}

impl EngineError {
    pub(crate) fn from_archive(error: ArchiveError) -> Self {
        let kind = match &error {
            ArchiveError::Cancelled => return Self::cancelled(),
            ArchiveError::Tree(_) | ArchiveError::Store(_) => ErrorKind::Internal,
            ArchiveError::Read(_) | ArchiveError::Unpack(_) => ErrorKind::User,
        };
        Self::of(kind, error)
    }
}
