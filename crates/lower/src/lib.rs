//! Lowering: a Dockerfile and options to a build graph and an image config.
//!
//! [`lower`] takes what [`kiln_dockerfile::parse`] gives and yields a [`Lowered`]: a [`kiln_graph::Graph`] whose `target` vertex
//! is the image's root filesystem, and the [`ImageConfig`] that goes with it. It follows what BuildKit's Dockerfile frontend
//! does, so that both builders make the same image of one Dockerfile.
//!
//! Invariants: nothing here does I/O, but for the questions asked of an [`ImageResolver`]; the same input gives the same graph,
//! vertex by vertex; only stages that the target needs are lowered; what is not supported is a [`LowerError`] with its place.
//!
//! Left to others: the times of history entries and the digests of layers (`engine`, once they are known), the lints (`dockerfile`).

mod args;
mod auto_cache;
mod contexts;
mod env;
mod error;
mod expand;
mod facts;
mod frontend;
mod history;
mod image_config;
mod images;
mod instructions;
mod label;
mod mounts;
mod onbuild;
mod options;
mod parameters;
mod paths;
mod plan;
mod reference;
mod settings;
mod stage;
mod target;

pub use auto_cache::{AutoCacheMode, AutoCacheRule, Documented, rules as auto_cache_rules};
pub use error::{ErrorKind, LowerError, Warning};
pub use image_config::{ContainerConfig, DEFAULT_PATH, Empty, HealthConfig, History, ImageConfig, RootFs};
pub use images::{ImageRequest, ImageResolver, LayoutRequest, ResolveError, ResolvedImage};
pub use label::without_credentials_in;
pub use options::{NamedContext, NoCache, Options};
pub use parameters::{Argument, MountUse, Parameters, description};

use contexts::Contexts;
use images::Images;
use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::rules::{StageFacts, StepFacts};
use kiln_graph::{Graph, Platform, VertexId};
use plan::{NodeId, Plan, sections};
use settings::Settings;
use stage::{Build, Output};

/// What a Dockerfile comes to.
#[derive(Debug)]
pub struct Lowered {
    /// The build graph.
    pub graph: Graph,
    /// The vertex that is the image's root filesystem; `None` for `scratch` without any layer.
    pub target: Option<VertexId>,
    /// The image's config. Layers (`rootfs.diff_ids`) are those of the base; history entries made here have no time yet.
    pub config: ImageConfig,
    /// `SOURCE_DATE_EPOCH` in seconds, from the options, a build argument or a global `ARG`: the time of all that is made.
    pub source_date_epoch: Option<i64>,
    /// The platform of the target stage.
    pub platform: Platform,
    /// Whether the result is an index, or a directory for each platform, as the options or `BUILDKIT_MULTI_PLATFORM` say.
    pub multi_platform: bool,
    /// The stages that were lowered, in the order of the file; the target is the last one.
    pub stages: Vec<LoweredStage>,
    /// What people should be told.
    pub warnings: Vec<Warning>,
    /// The target's place among all stages of the file.
    pub target_stage: usize,
    /// What the stages that were lowered ask of whoever builds.
    pub parameters: Parameters,
    /// What the lints can know of the stages: all of the file's, in order.
    pub facts: Vec<StageFacts>,
    /// What they can know of the steps, if [`Options::advice`] asks for it.
    pub steps: Vec<StepFacts>,
    /// The first image that could not be resolved, if [`Options::pass_over_images`] lets that be: this cannot be built.
    pub unresolved: Option<LowerError>,
}

/// A stage that takes part in the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoweredStage {
    /// Its name in lower case, or `stage-N` without one.
    pub name: String,
    /// What it is built for.
    pub platform: Platform,
}

/// Lowers the target stage of a Dockerfile and all that it needs.
///
/// # Errors
/// The first thing that is wrong: with the arguments before the first FROM, then with the names and bases of all stages, then
/// with images that cannot be resolved, then, in the order of the file, with the instructions of the stages that are needed.
pub fn lower(dockerfile: &Dockerfile, options: &Options, resolver: &dyn ImageResolver) -> Result<Lowered, LowerError> {
    let mut images = Images::default();
    let lowered = lower_with(dockerfile, options, resolver, &mut images);
    let Some(error) = images.take_unresolved() else { return lowered };
    match lowered {
        Ok(lowered) => Ok(Lowered { unresolved: Some(error), ..lowered }),
        // What is wrong with the instructions may come from the image that is missing.
        Err(_) => Err(error),
    }
}

fn lower_with(
    dockerfile: &Dockerfile,
    options: &Options,
    resolver: &dyn ImageResolver,
    images: &mut Images,
) -> Result<Lowered, LowerError> {
    frontend::check(&dockerfile.directives, options)?;
    let settings = Settings::new(options)?;
    let escape = dockerfile.directives.escape;
    let (global, sections) = sections(&dockerfile.instructions)?;
    let mut globals = args::automatic(options, target::name(options, &sections).as_deref());
    for args in global {
        args::add_global(&mut globals, args, options, escape)?;
    }
    let source_date_epoch = args::source_date_epoch(options, &globals)?;

    let contexts = Contexts::new(options);
    let mut plan = Plan::new(&sections, options, &globals, escape, &contexts)?;
    let target = plan.target(options.target.as_deref())?;
    plan.link()?;
    // Triggers of an image may need further images, whose triggers do not count: two or three rounds at most.
    let reached = loop {
        let reached = if options.all_stages { plan.reachable_from_all() } else { plan.reachable(target) };
        images.resolve(plan.outside(&reached, &contexts, options)?, resolver, options.pass_over_images)?;
        if !plan.trigger(&reached, images)? {
            break reached;
        }
    };

    let build = Build { options, settings: &settings, globals: &globals, escape, plan: &plan, images };
    let mut out = Output::default();
    let mut stages = Vec::new();
    let mut done = None;
    let followers = plan.followers(&reached);
    for node in (0..plan.stages).filter(|index| reached[*index]).map(NodeId) {
        let stage = build.stage(&mut out, node)?;
        stages.push(LoweredStage { name: plan.nodes[node.0].name.clone(), platform: stage.platform.clone() });
        if node == target {
            done = Some(stage.clone());
        }
        out.finish(node, stage, followers[node.0]);
    }
    let done = done.unwrap_or_else(|| unreachable!("the target is reachable from itself"));
    let mut parameters = std::mem::take(&mut out.parameters);
    parameters.complete(dockerfile, &sections, &reached, &globals);
    let steps = if options.advice {
        let heads = plan.images(target, &reached).filter_map(|node| out.heads[&node]).collect::<Vec<_>>();
        let mut steps = auto_cache::steps(&out.graph, &out.runs, &heads, options, &out.volumes);
        facts::forget_caches(&mut steps, &plan, images);
        steps
    } else {
        Vec::new()
    };
    auto_cache::give(&mut out.graph, done.head, options, &out.volumes);
    Ok(Lowered {
        graph: out.graph,
        target: done.head,
        config: target::finish(done.config, done.history, options, source_date_epoch),
        source_date_epoch,
        platform: done.platform,
        multi_platform: settings.multi_platform,
        stages,
        warnings: args::unused(dockerfile, options).into_iter().chain(plan.unknown_filters(options)).collect(),
        target_stage: target.0,
        parameters,
        facts: facts::of_stages(&plan, &reached, images),
        steps,
        unresolved: None,
    })
}
