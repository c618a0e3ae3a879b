//! One build: from the request to the graph, through the solver, to the outputs.

mod base;
pub(crate) mod contexts;
pub(crate) mod dockerfile;
pub(crate) mod main_context;
mod materialize;
mod memory;
pub(crate) mod platforms;
mod record;
mod remote;
pub(crate) mod resolver;
mod selections;
mod step;
mod worker;

pub(crate) use record::StepRecord;
pub(crate) use remote::RepositoryAccess;
pub(crate) use selections::{Selections, keep_selections, stored_selections};
pub(crate) use step::{EarlierRun, Made, Ran, StepContext};

use crate::attest::Attestor;
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, EventSink, ImageLayer, StepId};
use crate::export;
use crate::history::Redaction;
use crate::lint;
use crate::outcome::BuildOutcome;
use crate::remote_cache::{self, RemoteCaches, RemoteMounts};
use crate::request::{BuildRequest, SecretSource};
use crate::snapshot::{Output, OwnLayer, Snapshot};
use contexts::Contexts;
use kiln_digest::CacheKey;
use kiln_graph::{Graph, VertexId};
use kiln_remote::INLINE_KEY;
use kiln_store::{CacheMountKey, LayerId, Store};
use main_context::Loading;
use memory::Memory;
use platforms::PlannedPlatform;
use selections::SelectionCache;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};
use step::Steps;

/// Everything that the parts of one build share.
pub(crate) struct Build<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) events: &'a dyn EventSink,
    /// Cancelled by the user, or when a step fails.
    pub(crate) cancel: CancelToken,
    pub(crate) graph: &'a Graph,
    pub(crate) contexts: &'a Contexts,
    pub(crate) dockerfile: &'a dockerfile::Dockerfile,
    /// Where the Dockerfile's lines end, once somebody asks.
    pub(crate) line_ends: OnceLock<Vec<u32>>,
    pub(crate) steps: Steps,
    pub(crate) selections: SelectionCache,
    /// Steps whose result was there, to be marked as used.
    pub(crate) found: Mutex<Vec<(CacheKey, LayerId)>>,
    /// The results of all steps so far.
    pub(crate) results: Mutex<BTreeMap<VertexId, StepResult>>,
    pub(crate) remote_caches: &'a RemoteCaches,
    pub(crate) remote_mounts: RemoteMounts,
    /// The number of steps that belong to no vertex, besides outputs.
    internal_steps: AtomicU32,
    pub(crate) secrets: &'a BTreeMap<String, SecretSource>,
    /// Told of the secrets that steps use.
    pub(crate) redaction: &'a Redaction,
    /// The cache mounts that were cleared, if those that steps use are to be.
    pub(crate) cleared_mounts: Option<Mutex<HashSet<CacheMountKey>>>,
    pub(crate) ssh: &'a BTreeMap<String, Arc<kiln_ssh::Agent>>,
    pub(crate) memory: Memory,
    /// The archive of an output, as far as it could be begun.
    pub(crate) ahead: export::Ahead,
    /// When the build began.
    pub(crate) started: SystemTime,
    /// The commit of a context that is a git repository.
    pub(crate) context_commit: Option<String>,
    /// What files from URLs and trees of repositories turned out to be: SHA-256 digests and commits.
    materials: Mutex<HashMap<VertexId, String>>,
}

/// What a step made, now or earlier, here or elsewhere.
#[derive(Clone)]
pub(crate) struct StepResult {
    pub(crate) key: CacheKey,
    pub(crate) layer: OwnLayer,
}

/// Runs a build.
pub(crate) fn run(
    engine: &Engine,
    request: &BuildRequest,
    events: &dyn EventSink,
    redaction: &Redaction,
    cancel: &CancelToken,
) -> Result<BuildOutcome, EngineError> {
    let warn = |message: String| events.event(Event::Warning { message, span: None });
    let remote_caches = RemoteCaches::begin(engine, &request.cache_from, cancel, &warn);
    let numbers = Arc::default();
    let mut attempts = 0;
    loop {
        attempts += 1;
        match build(engine, request, events, redaction, cancel, &remote_caches, &numbers) {
            Ok(outcome) => return Ok(outcome),
            // Once cancelled, what fails does so because of that.
            Err(_) if cancel.is_cancelled() => return Err(EngineError::cancelled()),
            // What a cached step has made is leased when somebody needs it, and may have been pruned by then. What is made
            // again stays.
            Err(error) if error.is_pruned() && attempts < ATTEMPTS => {
                warn("another process pruned the store meanwhile; building again".to_owned());
            }
            // People were told. Each time there is one layer less to count on.
            Err(error) if error.is_lost() => attempts = 0,
            Err(error) => return Err(error.explain_full_disk(engine.store().root())),
        }
    }
}

/// How often a build is begun if others prune the store all the time.
const ATTEMPTS: u32 = 5;

fn build(
    engine: &Engine,
    request: &BuildRequest,
    events: &dyn EventSink,
    redaction: &Redaction,
    cancel: &CancelToken,
    remote_caches: &RemoteCaches,
    numbers: &Arc<AtomicU32>,
) -> Result<BuildOutcome, EngineError> {
    let (started, began) = (Instant::now(), SystemTime::now());
    let inner = CancelToken::new();
    let to_cancel = inner.clone();
    let _forward = cancel.on_cancel(move || to_cancel.cancel());
    let loading = Loading { engine, events, redaction, cancel: inner.clone(), numbers };
    let defined = |dockerfile: String| {
        let (context, target) = (request.context.to_string(), request.target.clone());
        events.event(Event::BuildDefined { context, dockerfile, target });
    };
    let loaded = main_context::load(request, &loading).and_then(|main| {
        let dockerfile = dockerfile::read(request, &main, &loading)?;
        Ok((main, dockerfile))
    });
    // What cannot be read is known by the name that it was asked for by.
    let (main, dockerfile) = loaded.inspect_err(|_| defined(dockerfile::requested(request)))?;
    defined(dockerfile.name.clone());
    let context_commit = main.commit();
    let contexts = contexts::open(engine, request, main, &dockerfile)?;
    let names = export::names(&request.tags)?;
    export::check(&request.outputs, &names)?;
    if request.attestations.needs_index() {
        export::check_attested(&request.outputs)?;
    }
    remote_cache::check(&request.cache_to, &remote_caches.access)?;
    let resolver = resolver::Resolver::new(engine, request.pull, inner.clone());
    let parsed = dockerfile.parse()?;
    let plan = platforms::plan(request, &dockerfile, &parsed, &resolver)?;
    if plan.multi_platform {
        export::check_multi_platform(&request.outputs)?;
    } else {
        export::check_single_platform(&request.outputs)?;
    }
    let told = lint::Told {
        rules: lint::Rules::BuildKit,
        build_args: &request.build_args,
        stages: &plan.facts,
        steps: &[],
        contexts: &contexts,
    };
    let lints = lint::run(&dockerfile, &parsed, &told)?.tell(events)?;
    for warning in &plan.warnings {
        let span = warning.span.map(|span| (span.start, span.end));
        events.event(Event::Warning { message: warning.message.clone(), span });
    }
    let ahead = export::Ahead::of(&plan, &request.outputs, &inner);
    let build = Build {
        engine,
        events,
        cancel: inner,
        graph: &plan.graph,
        contexts: &contexts,
        dockerfile: &dockerfile,
        line_ends: OnceLock::new(),
        steps: Steps::numbered_by(Arc::clone(numbers)),
        selections: SelectionCache::default(),
        found: Mutex::default(),
        results: Mutex::default(),
        remote_caches,
        remote_mounts: RemoteMounts::default(),
        internal_steps: AtomicU32::new(0),
        secrets: &request.secrets,
        redaction,
        cleared_mounts: request.no_cache_mounts.then(Mutex::default),
        ssh: &request.ssh,
        memory: Memory::new(contexts.main_name(), &dockerfile.name, &plan),
        ahead,
        started: began,
        context_commit,
        materials: Mutex::default(),
    };
    let targets: Vec<_> = plan.platforms.iter().filter_map(|platform| platform.target).collect();
    build.plan(&targets);
    let solved = kiln_solver::solve(&plan.graph, &targets, &build);
    // What was learnt about files is true whether or not the build succeeded.
    contexts.save_digests(engine.store());
    let mut solved = solved?.into_iter();
    let (keys, layers): (Vec<_>, Vec<_>) = lock(&build.found).drain(..).unzip();
    // Only what is pruned first depends on it.
    let _ = engine.store().touch(&keys, &layers);
    let inline = remote_cache::inline(&build, &request.cache_to, &targets)?;
    if inline.is_some() && !request.outputs.is_empty() && !request.outputs.iter().any(|output| output.image().is_some())
    {
        let message = "the inline cache is nowhere, since no output is an image".to_owned();
        events.event(Event::Warning { message, span: None });
    }
    let image = |planned: &PlannedPlatform| {
        let snapshot = match planned.target.and_then(|_| solved.next()) {
            Some(Output::Snapshot(snapshot)) => snapshot,
            _ => Snapshot::empty(),
        };
        let (mut config, platform) = (planned.config.clone(), planned.platform.clone());
        // That of the base is about the base's layers.
        config.extra.remove(INLINE_KEY);
        config.extra.extend(inline.clone().map(|cache| (INLINE_KEY.to_owned(), cache)));
        let (target, source_date_epoch) = (planned.target, planned.source_date_epoch);
        export::Image { target, snapshot, config, platform, source_date_epoch }
    };
    let images: Vec<_> = plan.platforms.iter().map(image).collect();
    for image in &images {
        let (platform, layers) = (image.platform.to_string(), image_layers(engine.store(), &image.snapshot)?);
        events.event(Event::ImageMade { platform, layers });
    }
    let attestor = Attestor::new(&build, request);
    let built = export::Built { images, multi_platform: plan.multi_platform, names, attestor };
    let exported = export::run(&build, built, &request.outputs)?;
    remote_cache::export(&build, &request.cache_to, &targets, &exported.pushed)?;
    Ok(BuildOutcome {
        config: exported.config,
        manifest: exported.manifest,
        names: exported.names,
        provenance: exported.provenance,
        steps: build.steps.counts(),
        duration: started.elapsed(),
        lints,
    })
}

impl Build<'_> {
    /// Notes what a source turned out to be.
    fn add_material(&self, vertex: VertexId, digest: String) {
        lock(&self.materials).insert(vertex, digest);
    }

    /// What sources turned out to be.
    pub(crate) fn materials(&self) -> HashMap<VertexId, String> {
        lock(&self.materials).clone()
    }

    /// The number of a step that belongs to no vertex and to no output.
    pub(crate) fn next_internal_id(&self) -> StepId {
        self.steps.internal_id(OUTPUTS + self.internal_steps.fetch_add(1, Ordering::Relaxed))
    }
}

/// No build has more outputs.
const OUTPUTS: u32 = 1 << 16;

/// The layers of an image, for people. Nothing is pulled for that.
fn image_layers(store: &Store, snapshot: &Snapshot) -> Result<Vec<ImageLayer>, EngineError> {
    let known = |layer: LayerId, base: bool| {
        let found = store.layer(layer).map_err(EngineError::store)?;
        Ok(ImageLayer { id: layer.to_string(), size: found.map(|layer| layer.size), base })
    };
    let mut layers = Vec::new();
    if let Some(base) = snapshot.base() {
        match base.layers_if_here().map_err(EngineError::store)? {
            Some(here) => layers = here.into_iter().map(|layer| known(layer, true)).collect::<Result<_, _>>()?,
            None => layers.extend(base.diff_ids().iter().map(|diff_id| ImageLayer {
                id: diff_id.to_string(),
                size: None,
                base: true,
            })),
        }
    }
    for layer in snapshot.own_layers() {
        layers.push(match layer {
            OwnLayer::Here(layer) => known(*layer, false)?,
            OwnLayer::Away(away) => ImageLayer { id: away.step().diff_id.to_string(), size: None, base: false },
        });
    }
    Ok(layers)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
