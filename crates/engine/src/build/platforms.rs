//! The platforms of a build: the Dockerfile is lowered for each, and all graphs become one, so that what platforms share is made
//! once.

use super::dockerfile::{self, Dockerfile};
use super::resolver::Resolver;
use crate::error::EngineError;
use crate::request::BuildRequest;
use kiln_dockerfile::ast;
use kiln_dockerfile::rules::StageFacts;
use kiln_graph::{Graph, Platform, VertexId};
use kiln_lower::{ImageConfig, Lowered, Warning};

/// A Dockerfile lowered for all platforms.
pub(crate) struct Plan {
    pub(crate) graph: Graph,
    /// In the order that was asked for.
    pub(crate) platforms: Vec<PlannedPlatform>,
    /// For each vertex the place in `platforms` of the first that needs it.
    pub(crate) first: Vec<usize>,
    pub(crate) multi_platform: bool,
    /// Of the first platform, as those of the others would say the same.
    pub(crate) warnings: Vec<Warning>,
    /// Of all platforms.
    pub(crate) facts: Vec<StageFacts>,
}

/// What is to be made for one platform.
pub(crate) struct PlannedPlatform {
    pub(crate) platform: Platform,
    /// The root filesystem; none for an empty image.
    pub(crate) target: Option<VertexId>,
    pub(crate) config: ImageConfig,
    pub(crate) source_date_epoch: Option<i64>,
}

/// The platforms that a request asks for, each once.
pub(crate) fn wanted(request: &BuildRequest) -> Vec<Platform> {
    let mut wanted: Vec<Platform> = Vec::new();
    for platform in &request.platforms {
        if !wanted.contains(platform) {
            wanted.push(platform.clone());
        }
    }
    if wanted.is_empty() {
        wanted.push(Platform::host());
    }
    wanted
}

/// Lowers the Dockerfile for each platform of the request.
pub(crate) fn plan(
    request: &BuildRequest,
    dockerfile: &Dockerfile,
    parsed: &ast::Dockerfile,
    resolver: &Resolver<'_>,
) -> Result<Plan, EngineError> {
    let wanted = wanted(request);
    let mut plan = Plan {
        graph: Graph::new(),
        platforms: Vec::with_capacity(wanted.len()),
        first: Vec::new(),
        multi_platform: false,
        warnings: Vec::new(),
        facts: Vec::new(),
    };
    let several = wanted.len() > 1;
    for (place, platform) in wanted.into_iter().enumerate() {
        let mut options = dockerfile::options(request, &platform);
        options.multi_platform |= several;
        let Lowered { graph, target, config, source_date_epoch, multi_platform, warnings, facts, .. } =
            dockerfile.lower(parsed, &options, resolver)?;
        let target = if place == 0 {
            (plan.multi_platform, plan.warnings, plan.facts) = (multi_platform, warnings, facts);
            plan.graph = graph;
            target
        } else {
            add_facts(&mut plan.facts, facts);
            let places = plan.graph.absorb(graph);
            target.map(|target| places[target.index()])
        };
        plan.first.resize(plan.graph.vertices().len(), place);
        plan.platforms.push(PlannedPlatform { platform, target, config, source_date_epoch });
    }
    Ok(plan)
}

/// Adds the facts of another platform, stage by stage.
pub(crate) fn add_facts(stages: &mut [StageFacts], others: Vec<StageFacts>) {
    for (stage, other) in stages.iter_mut().zip(others) {
        stage.add_platform(other);
    }
}
