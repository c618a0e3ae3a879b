//! Base images: the question asked of the outside world, and its answer.

use crate::{ErrorKind, ImageConfig, LowerError};
use kiln_digest::Digest;
use kiln_dockerfile::Span;
use kiln_graph::{ImageLocation, Platform};
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Finds images. The only way in which lowering learns of anything but its arguments.
///
/// It is asked for each image once, from several threads at the same time.
pub trait ImageResolver: Sync {
    /// Finds the manifest and the config of an image for one platform.
    ///
    /// # Errors
    /// Whatever went wrong; shown to people with the place in the Dockerfile that named the image.
    fn resolve(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError>;
}

/// Why an image could not be resolved: whatever the resolver says.
pub type ResolveError = Box<dyn Error + Send + Sync>;

/// Which image is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRequest {
    /// The canonical name, with registry and with tag or digest: `docker.io/library/golang:1.25`, `example.org/a/b@sha256:…`.
    /// For an image of a layout, the name of the context.
    pub reference: String,
    /// The platform wanted.
    pub platform: Platform,
    /// The layout to look in, instead of registries.
    pub layout: Option<LayoutRequest>,
}

/// An image of an OCI image layout on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutRequest {
    /// The layout's directory.
    pub path: String,
    /// The tag or digest in it; its only image if absent.
    pub reference: Option<String>,
}

/// An image that was found.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The canonical name: `docker.io/library/golang:1.25`.
    pub reference: String,
    /// Digest of the manifest for the platform.
    pub digest: Digest,
    /// The platform of that manifest.
    pub platform: Platform,
    /// Where it was found.
    pub location: ImageLocation,
    /// Its config.
    pub config: ImageConfig,
}

/// Images that were resolved, by request.
#[derive(Debug, Default)]
pub(crate) struct Images {
    found: HashMap<ImageRequest, ResolvedImage>,
    /// Those that could not be resolved and are passed over.
    missing: HashSet<ImageRequest>,
    /// Why the first of these could not be.
    unresolved: Option<LowerError>,
}

/// An image that somebody needs.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) request: ImageRequest,
    /// The name as written, for messages.
    pub(crate) written: String,
    /// Where it was written.
    pub(crate) span: Span,
}

/// More at once than this gain nothing, since registries answer a question in one or two round trips.
const AT_ONCE: usize = 8;

impl Images {
    /// Resolves those that are not resolved yet, each once, several at a time.
    ///
    /// # Errors
    /// That of the first, in the given order, that cannot be resolved, unless such are passed over.
    pub(crate) fn resolve(
        &mut self,
        wanted: Vec<Wanted>,
        resolver: &dyn ImageResolver,
        passes_over: bool,
    ) -> Result<(), LowerError> {
        let mut seen = self.missing.clone();
        let missing: Vec<Wanted> = wanted
            .into_iter()
            .filter(|want| !self.found.contains_key(&want.request) && seen.insert(want.request.clone()))
            .collect();
        let answers: Vec<_> = if let [only] = &missing[..] {
            vec![resolver.resolve(&only.request)]
        } else {
            let next = AtomicUsize::new(0);
            let slots: Vec<OnceLock<_>> = missing.iter().map(|_| OnceLock::new()).collect();
            std::thread::scope(|scope| {
                for _ in 0..missing.len().min(AT_ONCE) {
                    scope.spawn(|| {
                        while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < slots.len())
                        {
                            // Each index is taken by one thread, so the slot is empty.
                            let _ = slots[index].set(resolver.resolve(&missing[index].request));
                        }
                    });
                }
            });
            slots.into_iter().filter_map(OnceLock::into_inner).collect()
        };
        for (want, answer) in missing.into_iter().zip(answers) {
            let answer = answer.map_err(|source| LowerError {
                kind: ErrorKind::Image,
                source: Some(source),
                ..LowerError::new(format!("cannot resolve image `{}`", want.written), want.span)
            });
            match answer {
                Ok(image) => drop(self.found.insert(want.request, image)),
                Err(error) if passes_over => {
                    self.missing.insert(want.request);
                    self.unresolved.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Why the first of the images that were passed over could not be resolved; it is told once.
    pub(crate) fn take_unresolved(&mut self) -> Option<LowerError> {
        self.unresolved.take()
    }

    /// An image that [`resolve`](Self::resolve) was asked for.
    pub(crate) fn get(&self, request: &ImageRequest) -> Option<&ResolvedImage> {
        self.found.get(request)
    }
}
