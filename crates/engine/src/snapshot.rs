//! What vertices yield: trees that are made real only when a step or an output needs their files.

use crate::build::RepositoryAccess;
use crate::error::{EngineError, ErrorKind};
use crate::remote_cache::AwayLayer;
use kiln_digest::ContentDigest;
use kiln_graph::VertexId;
use kiln_layer::{Stack, Tree};
use kiln_sources::Progress;
use kiln_sources::git::GitSource;
use kiln_sources::http::HttpSource;
use kiln_sources::image::BaseImage;
use kiln_sources::local::LocalContext;
use kiln_store::{LayerId, Lease, Store};
use std::path::PathBuf;
use std::sync::Arc;

/// The result of a vertex.
#[derive(Clone)]
pub(crate) enum Output {
    /// A stack of layers.
    Snapshot(Snapshot),
    /// A directory of the user's. It has no content as a whole: each step depends on the files that it selects.
    Context(Arc<LocalContext>),
}

/// A stack of layers: those of a base image and those that steps made on top. Neither need be here yet.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// What it is.
    pub(crate) content: ContentDigest,
    bottom: Bottom,
    own: Arc<Vec<OwnLayer>>,
}

/// A layer that a step made.
#[derive(Clone)]
pub(crate) enum OwnLayer {
    /// In the store.
    Here(LayerId),
    /// In a remote cache, from where it is fetched when somebody needs its files.
    Away(Arc<AwayLayer>),
}

/// What is below the layers that steps made, and the vertex that brought it in.
#[derive(Clone)]
pub(crate) enum Bottom {
    /// Nothing.
    Empty,
    /// The layers of an image.
    Image(Arc<BaseImage>, VertexId),
    /// A file from a URL, or the files of a repository. Nothing is ever built on it: whoever wants its files copies them.
    Remote(Remote, VertexId),
}

/// Files from elsewhere that are no image.
#[derive(Clone)]
pub(crate) enum Remote {
    /// A file from a URL.
    Http(Arc<HttpSource>),
    /// A tree of a repository, and what reaching it takes.
    Git(Arc<(GitSource, RepositoryAccess)>),
}

/// A snapshot whose layers are all here, and stay here while this lives.
pub(crate) struct Realized {
    /// The bottom one first.
    pub(crate) layers: Vec<LayerId>,
    /// The overlay lower directories, the bottom one first.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) tree: Arc<dyn Tree>,
    _lease: Lease,
}

impl Snapshot {
    /// The files of an image.
    pub(crate) fn of_image(image: Arc<BaseImage>, vertex: VertexId) -> Self {
        Self { content: image.content(), bottom: Bottom::Image(image, vertex), own: Arc::default() }
    }

    /// Files from elsewhere.
    pub(crate) fn of_remote(remote: Remote, vertex: VertexId) -> Self {
        Self { content: remote.content(), bottom: Bottom::Remote(remote, vertex), own: Arc::default() }
    }

    /// No files at all.
    pub(crate) fn empty() -> Self {
        Self { content: ContentDigest::of_bytes(b""), bottom: Bottom::Empty, own: Arc::default() }
    }

    /// This snapshot with one more layer, which makes it `content`.
    pub(crate) fn with_layer(&self, layer: OwnLayer, content: ContentDigest) -> Self {
        let own = self.own.iter().cloned().chain([layer]).collect();
        Self { content, bottom: self.bottom.clone(), own: Arc::new(own) }
    }

    /// What is below the layers that steps made.
    pub(crate) fn bottom(&self) -> &Bottom {
        &self.bottom
    }

    /// The image at the bottom.
    pub(crate) fn base(&self) -> Option<&Arc<BaseImage>> {
        match &self.bottom {
            Bottom::Image(image, _) => Some(image),
            Bottom::Empty | Bottom::Remote(..) => None,
        }
    }

    /// The layers that steps made.
    pub(crate) fn own_layers(&self) -> &[OwnLayer] {
        &self.own
    }
}

impl Remote {
    /// What its files are.
    pub(crate) fn content(&self) -> ContentDigest {
        match self {
            Self::Http(source) => source.content(),
            Self::Git(source) => source.0.content(),
        }
    }

    /// Its layer, if it is in the store.
    pub(crate) fn layer_if_here(&self) -> Result<Option<LayerId>, kiln_store::Error> {
        match self {
            Self::Http(source) => source.layer_if_here(),
            Self::Git(source) => source.0.layer_if_here(),
        }
    }

    /// Its layer, fetched if need be.
    pub(crate) fn layer(&self, progress: &dyn Progress) -> Result<LayerId, EngineError> {
        match self {
            Self::Http(source) => source.layer(progress).map_err(EngineError::from_http),
            Self::Git(source) => source.0.layer(progress).map_err(EngineError::from_git),
        }
    }
}

impl Realized {
    /// Keeps layers from being pruned and opens them.
    pub(crate) fn new(store: &Store, layers: Vec<LayerId>) -> Result<Self, EngineError> {
        let lease = store.lease(&layers).map_err(|error| {
            EngineError::new(ErrorKind::Internal, "a layer that the build needs was removed meanwhile")
                .with_hint("another process pruned the store; build again")
                .with_source(error)
        })?;
        let paths: Vec<PathBuf> = topmost(&layers).map(|layer| store.layer_path(layer)).collect();
        let tree = Stack::new(paths.clone()).map_err(|error| {
            EngineError::new(ErrorKind::Internal, "failed to open the layers")
                .with_hint("if somebody removed files of the store, `kiln prune` forgets what needed them")
                .with_source(error)
        })?;
        let tree = Arc::new(tree);
        Ok(Self { layers, paths, tree, _lease: lease })
    }
}

/// The layers without those that come again further up: overlayfs refuses a directory that is there twice, and the upper one
/// makes every change of the lower one again.
fn topmost(layers: &[LayerId]) -> impl Iterator<Item = LayerId> {
    layers.iter().enumerate().filter(|(at, layer)| !layers[at + 1..].contains(layer)).map(|(_, layer)| *layer)
}
