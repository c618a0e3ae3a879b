//! Resolves the images that a Dockerfile names.

use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind, network_hint};
use kiln_lower::{ImageRequest, ImageResolver, ResolveError, ResolvedImage};
use kiln_sources::image::{FetchError, ImageError};
use std::path::Path;

/// Asks the engine's images.
pub(crate) struct Resolver<'a> {
    engine: &'a Engine,
    pull: bool,
    cancel: CancelToken,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(engine: &'a Engine, pull: bool, cancel: CancelToken) -> Self {
        Self { engine, pull, cancel }
    }
}

impl ImageResolver for Resolver<'_> {
    fn resolve(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let images = self.engine.registry();
        let found = match &request.layout {
            None => images.resolve(&request.reference, &request.platform, self.pull, &|| self.cancel.is_cancelled()),
            Some(layout) => {
                images.resolve_layout(Path::new(&layout.path), layout.reference.as_deref(), &request.platform)
            }
        };
        let found = found.map_err(EngineError::from_image)?;
        self.engine.keep_resolved(&found);
        Ok(ResolvedImage {
            reference: found.reference,
            digest: found.digest,
            platform: found.platform,
            location: found.location,
            config: found.config,
        })
    }
}

impl EngineError {
    pub(crate) fn from_image(error: ImageError) -> Self {
        let kind = match &error {
            ImageError::Fetch(FetchError::Layout(_)) => ErrorKind::User,
            ImageError::Fetch(_) | ImageError::Read { .. } | ImageError::WrongConfig { .. } => ErrorKind::Network,
            ImageError::Store(_) => ErrorKind::Internal,
            _ => ErrorKind::User,
        };
        let hint = if let ImageError::Fetch(fetch) = &error { network_hint(fetch) } else { None };
        let mut wrong = Self::of(kind, error);
        wrong.hint = wrong.hint.or(hint);
        wrong
    }
}
