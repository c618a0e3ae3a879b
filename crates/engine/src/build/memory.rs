//! What steps are remembered by from build to build, so that a miss can be explained and unchanged files be linked.

use super::platforms::Plan;
use kiln_digest::ContentDigest;
use kiln_graph::{Vertex, VertexId};

/// Tells the steps of this Dockerfile from those of others, and those of one platform from those of another.
pub(crate) struct Memory {
    /// One for each platform.
    projects: Vec<String>,
    /// For each vertex the place of its platform in `projects`.
    first: Vec<usize>,
}

impl Memory {
    pub(super) fn new(context: &str, dockerfile: &str, plan: &Plan) -> Self {
        let project = |platform| format!("{context}\n{dockerfile}\n{platform}");
        let projects = plan.platforms.iter().map(|planned| project(&planned.platform)).collect();
        Self { projects, first: plan.first.clone() }
    }

    /// Under what a step is remembered: what is written there, for a step that has moved, and where it stands, for one that was
    /// rewritten.
    ///
    /// Digests, since what is written there may hold what is nobody's business.
    pub(super) fn keys(&self, id: VertexId, vertex: &Vertex) -> [ContentDigest; 2] {
        let (project, label) = (&self.projects[self.first[id.index()]], &vertex.label);
        let stage = label.position.split('/').next().unwrap_or_default();
        [format!("{project}\n{stage}\n{}", label.instruction), format!("{project}\n{}", label.position)]
            .map(|place| ContentDigest::of_bytes(place.as_bytes()))
    }
}
