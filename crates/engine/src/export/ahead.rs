//! An output's archive is begun as soon as the base of its image is known, beside the steps: most of its bytes are often the base's.

use crate::build::platforms::Plan;
use crate::cancel::{CancelToken, HookGuard};
use crate::output::{Destination, Output};
use kiln_digest::Digest;
use kiln_exporters::HeadStart;
use kiln_graph::{Graph, Op, Source, Vertex, VertexId};
use kiln_sources::image::BaseImage;
use kiln_store::Store;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Larger bases wait until the steps are done: a failed build has written them for nothing.
const MOST_BYTES: u64 = 1 << 30;

/// The archive that may be begun, and whoever does so.
#[derive(Default)]
pub(crate) struct Ahead {
    /// The vertex of the base image, and where the archive is to be.
    wanted: Option<(VertexId, PathBuf)>,
    stop: Arc<AtomicBool>,
    _stopped: Option<HookGuard>,
    writer: Mutex<Option<JoinHandle<Option<HeadStart>>>>,
}

impl Ahead {
    /// Picks the first output that is an archive with the base's blobs as they are.
    pub(crate) fn of(plan: &Plan, outputs: &[Output], cancel: &CancelToken) -> Self {
        let [platform] = &plan.platforms[..] else { return Self::default() };
        let base = platform.target.and_then(|target| bottom(&plan.graph, target));
        let dest = outputs.iter().find_map(|output| match output {
            Output::Oci { dest: Destination::File(path), image }
            | Output::Docker { dest: Destination::File(path), image } => (!image.force_compression).then_some(path),
            _ => None,
        });
        let mut ahead = Self::default();
        ahead.wanted = base.zip(dest.cloned());
        if ahead.wanted.is_some() {
            let stop = Arc::clone(&ahead.stop);
            ahead._stopped = Some(cancel.on_cancel(move || stop.store(true, Ordering::Relaxed)));
        }
        ahead
    }

    /// Begins the archive if it is this image that it is built on.
    pub(crate) fn image_known(&self, store: &Store, vertex: VertexId, image: &BaseImage) {
        let Some((_, to)) = self.wanted.as_ref().filter(|(base, _)| *base == vertex) else { return };
        let layers =
            image.resolution.manifest.as_ref().map(|manifest| manifest.layers().as_slice()).unwrap_or_default();
        let size = layers.iter().fold(0, |size: u64, layer| size.saturating_add(layer.size()));
        let blobs: Option<Vec<Digest>> = layers.iter().map(|layer| layer.digest().to_string().parse().ok()).collect();
        let Some(blobs) = blobs.filter(|blobs| !blobs.is_empty() && size <= MOST_BYTES) else { return };
        let (store, to, stop) = (store.clone(), to.clone(), Arc::clone(&self.stop));
        // Blobs that are not here yet, a full disk: whatever it is, the export meets it again, and says so.
        let write = move || HeadStart::begin(&store, &to, &blobs, &stop).ok().flatten();
        let spawned = std::thread::Builder::new().name("ahead".to_owned()).spawn(write);
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = spawned.ok();
    }

    /// What was begun for an archive at this place.
    pub(super) fn take(&self, dest: &Destination) -> Option<HeadStart> {
        let Destination::File(path) = dest else { return None };
        self.wanted.as_ref().filter(|(_, to)| path == to)?;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        writer.join().ok().flatten()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take() {
            let _ = writer.join();
        }
    }
}

/// The image that a vertex's files are built on, if it is one.
fn bottom(graph: &Graph, mut vertex: VertexId) -> Option<VertexId> {
    loop {
        let Vertex { op, inputs, .. } = graph.vertex(vertex);
        let port = match op {
            Op::Source(Source::Image(_)) => return Some(vertex),
            Op::Source(_) => return None,
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.base,
        };
        vertex = inputs[port?.0 as usize];
    }
}
