//! Errors of a build as its caller sees them: a kind, which maps once to an exit status and once to a gRPC code, a message,
//! and where it happened.

use crate::lint::Lints;
use crate::ops::exec::NotGiven;
use crate::ops::file::SelectError;
use crate::ops::users::UserError;
use crate::remote_cache::LayerLost;
use kiln_exporters::ExportError;
use kiln_registry::RegistryError;
use kiln_sources::image::FetchError;
use kiln_store::{BlobError, ImageError, LayerError, LeaseError, RecordError};
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request or the Dockerfile is wrong.
    User,
    /// A step failed.
    BuildFailed,
    /// A registry or another server could not be reached, or refused.
    Network,
    /// Something that kiln, or this machine, cannot do.
    Unsupported,
    /// A full disk, a broken store, or a mistake in kiln.
    Internal,
    /// The user cancelled.
    Cancelled,
}

/// An error of the engine.
#[derive(Debug)]
pub struct EngineError {
    /// What kind it is.
    pub kind: ErrorKind,
    /// A lowercase fragment; may be followed by `hint:` lines.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the Dockerfile.
    pub place: Option<Box<Place>>,
    /// The end of the failing step's log.
    pub log_tail: Vec<String>,
    /// What the lints found, where that is the error.
    pub lints: Option<Box<Lints>>,
    cause: Option<Cause>,
}

/// What caused an error.
#[derive(Debug)]
enum Cause {
    /// Another error, to be shown below this one.
    Other(Box<dyn StdError + Send + Sync>),
    /// The error whose message this one repeats: only its own causes are new.
    Same(Box<dyn StdError + Send + Sync>),
}

/// A place in a Dockerfile, with the text that an excerpt is cut from.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// The whole text.
    pub text: String,
    /// Byte range.
    pub span: (u32, u32),
    /// What is wrong there, shown beside the caret.
    pub label: String,
}

/// What a cancelled build or step says.
pub(crate) const CANCELLED: &str = "cancelled";

impl EngineError {
    /// An error without place, hint or source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, place: None, log_tail: Vec::new(), lints: None, cause: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(Cause::Other(source.into()));
        self
    }

    /// The word of the instruction that the error is about, where it is narrower than all of it.
    pub(crate) fn word(&self) -> Option<&str> {
        let Some(Cause::Same(error)) = &self.cause else { return None };
        match error.downcast_ref() {
            Some(SelectError::NotFound { path, .. }) => return Some(path),
            Some(SelectError::Pattern(bad)) => return Some(bad.pattern()),
            _ => {}
        }
        if let Some(NotGiven::Secret(id) | NotGiven::Agent(id, _)) = error.downcast_ref() {
            return Some(id);
        }
        match error.downcast_ref() {
            Some(UserError::UnknownUser(name) | UserError::UnknownGroup(name)) => Some(name),
            _ => None,
        }
    }

    /// The user cancelled.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, CANCELLED)
    }

    /// An error with the message, the hint and the causes of another one.
    pub(crate) fn of(kind: ErrorKind, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let text = error.to_string();
        let (message, hint) = match text.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (text, None),
        };
        Self { hint, cause: Some(Cause::Same(error)), ..Self::new(kind, message) }
    }

    /// A mistake of the user's that another crate found.
    pub(crate) fn user(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of(ErrorKind::User, error)
    }

    /// An error of the store: a full disk, or something worse.
    pub(crate) fn store(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of(ErrorKind::Internal, error)
    }

    /// Something that should not fail, with what was tried.
    pub(crate) fn internal<E: Into<Box<dyn StdError + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::new(ErrorKind::Internal, what).with_source(error)
    }

    /// Says what to do about a full disk, where that is what the error comes from. A step that runs into it only fails, so after
    /// one that failed the disk of the store is looked at.
    pub(crate) fn explain_full_disk(mut self, store: &Path) -> Self {
        let outside = self.any_cause(&|error| {
            matches!(error.downcast_ref(), Some(ExportError::Write { .. } | ExportError::Stdout(_)))
        });
        if self.is_full_disk() {
            self.kind = ErrorKind::Internal;
            let hint = if outside { "make room where the output goes, or write it elsewhere" } else { PRUNE };
            self.hint.get_or_insert_with(|| hint.to_owned());
        } else if self.kind == ErrorKind::BuildFailed
            && rustix::fs::statvfs(store).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < SPACE_TO_WORK)
        {
            self.hint.get_or_insert_with(|| format!("the disk of the store `{}` is full; {PRUNE}", store.display()));
        }
        self
    }

    /// Whether a full disk is what it comes from.
    pub(crate) fn is_full_disk(&self) -> bool {
        self.any_cause(&is_full)
    }

    /// Whether a layer of a remote cache cannot be had that the build relied on.
    pub(crate) fn is_lost(&self) -> bool {
        self.any_cause(&|error| error.is::<LayerLost>())
    }

    /// Whether something of the store is gone that was there when the build began.
    pub(crate) fn is_pruned(&self) -> bool {
        self.any_cause(&|error| {
            matches!(error.downcast_ref(), Some(LeaseError::Missing(_)))
                || matches!(error.downcast_ref(), Some(LayerError::Missing(_)))
                || matches!(error.downcast_ref(), Some(RecordError::Missing(_)))
                || matches!(error.downcast_ref(), Some(ImageError::MissingBlob(_) | ImageError::MissingLayer(_)))
                || error.downcast_ref::<Box<BlobError>>().is_some_and(|e| matches!(**e, BlobError::Missing(_)))
        })
    }

    fn any_cause(&self, is: &dyn Fn(&(dyn StdError + 'static)) -> bool) -> bool {
        let mut next: Option<&(dyn StdError + 'static)> = match self.cause.as_ref() {
            Some(Cause::Other(error) | Cause::Same(error)) => Some(error.as_ref()),
            None => None,
        };
        while let Some(error) = next {
            // An I/O error passes over the error that it was made of.
            let within = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
            if is(error) || within.is_some_and(|error| is(error)) {
                return true;
            }
            next = match error.downcast_ref::<Self>() {
                Some(error) if error.any_cause(is) => return true,
                _ => error.source(),
            };
        }
        false
    }

    /// What the system refused, with the path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            Self::new(ErrorKind::Internal, format!("failed to {action} `{}`", path.display())).with_source(error)
        }
    }
}

/// As [`registry_hint`], if it was a registry that was asked.
pub(crate) fn network_hint(fetch: &FetchError) -> Option<String> {
    if let FetchError::Registry(error) = fetch { registry_hint(error) } else { None }
}

/// What to do about a registry that cannot be reached.
pub(crate) fn registry_hint(error: &RegistryError) -> Option<String> {
    let unreachable = matches!(error, RegistryError::Unreachable { .. });
    let hint = "check the name and the network; `config.toml` can name mirrors for each registry";
    unreachable.then(|| hint.to_owned())
}

/// What frees space in the store.
const PRUNE: &str = "`kiln prune` frees what no image needs, and `kiln prune --all` cache mounts as well";
/// A disk with less space than this is full.
const SPACE_TO_WORK: u64 = 256 << 10;

fn is_full(error: &(dyn StdError + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        // Wrappers that are transparent hide the store's error, but for what it says.
        || error.to_string().starts_with("no space is left for ")
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for EngineError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.cause.as_ref()? {
            Cause::Other(error) => Some(error.as_ref()),
            Cause::Same(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    #[test]
    fn a_full_disk_is_recognized_however_deep() {
        let store = Path::new("/");
        let deep = io::Error::other(EngineError::io("write", store)(full()));
        for error in [
            EngineError::io("write", store)(full()),
            EngineError::of(ErrorKind::User, full()),
            EngineError::new(ErrorKind::Network, "failed to read").with_source(deep),
        ] {
            let explained = error.explain_full_disk(store);
            assert_eq!(explained.kind, ErrorKind::Internal);
            assert!(explained.hint.unwrap().contains("kiln prune"));
        }
        let in_store = || kiln_store::Error::Full { path: "meta.db".into(), source: "database is full".into() };
        let blob = BlobError::Store(in_store());
        let pull = EngineError::new(ErrorKind::User, "failed to store").with_source(Box::new(blob));
        for error in [EngineError::store(in_store()), pull, EngineError::store(LeaseError::Store(in_store()))] {
            assert_eq!(error.explain_full_disk(store).kind, ErrorKind::Internal);
        }
        let output = ExportError::Write { path: "out.tar".into(), source: full() };
        let explained = EngineError::of(ErrorKind::User, output).explain_full_disk(store);
        assert!(explained.hint.unwrap().contains("where the output goes"));
        let other = EngineError::io("write", store)(io::ErrorKind::PermissionDenied.into()).explain_full_disk(store);
        assert_eq!((other.kind, other.hint), (ErrorKind::Internal, None));
        let hinted = EngineError::of(ErrorKind::User, full()).with_hint("better").explain_full_disk(store);
        assert_eq!(hinted.hint.as_deref(), Some("better"));
    }
}
