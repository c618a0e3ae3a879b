//! What a build leaves in a remote cache once it has succeeded: the records of its steps, their layers, what was selected of them, and
//! the cache mounts that were asked for.

use super::document::{Document, RemoteStep};
use super::export::{self, Asked, CacheExportError, Contents, Source};
use super::mounts::ids;
use crate::build::{Build, StepRecord, StepResult};
use crate::error::{EngineError, ErrorKind};
use crate::ops::exec::cache_key;
use crate::snapshot::OwnLayer;
use kiln_digest::Digest;
use kiln_graph::{Op, VertexId};
use kiln_registry::Repository;
use kiln_remote::{Access, CacheExport, CacheLocation, ExportOptions, Mode, Mounts, connect, inline_member};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Refuses places that cannot get a cache, before anything is built.
pub(crate) fn check(exports: &[CacheExport], access: &Access) -> Result<(), EngineError> {
    for export in exports {
        if export.location == CacheLocation::Inline {
            check_inline(&export.options)?;
            continue;
        }
        connect(&export.location, access).map_err(|error| EngineError::from_cache_export(error.into()))?;
    }
    Ok(())
}

/// A config has no place but for records, and an image no layers but its own.
fn check_inline(options: &ExportOptions) -> Result<(), EngineError> {
    let what = match (options.mode, &options.mounts, options.compression) {
        (Mode::Max, ..) => "`mode=max`",
        (_, Mounts::All | Mounts::Ids(_), _) => "a cache mount",
        (.., Some(_)) => "a compression of its own",
        _ if options.force_compression => "a compression of its own",
        _ => return Ok(()),
    };
    Err(EngineError::new(ErrorKind::User, format!("an inline cache cannot have {what}")).with_hint(
        "it is the steps of the image's layers; `type=registry,ref=NAME:TAG` keeps a cache beside the image",
    ))
}

/// The member [`kiln_remote::INLINE_KEY`] of the images' configs, where an inline cache is asked for: the steps of their layers. It
/// follows from these alone, so that the same steps give the same image.
pub(crate) fn inline(
    build: &Build<'_>,
    exports: &[CacheExport],
    targets: &[VertexId],
) -> Result<Option<Value>, EngineError> {
    if exports.iter().all(|export| export.location != CacheLocation::Inline) {
        return Ok(None);
    }
    let (steps, _) = steps(build, Mode::Min, targets).map_err(EngineError::from_cache_export)?;
    let steps: Vec<RemoteStep> = steps.into_iter().map(|step| step.used_at(step.created())).collect();
    let created = steps.iter().map(RemoteStep::created).max().unwrap_or(UNIX_EPOCH);
    let created = created.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let document = Document::new(steps, build.selections.of_snapshots());
    Ok(Some(inline_member(created, &document.to_json())))
}

/// Leaves what the build made in all caches that were asked for. Its image is in the repositories `pushed` by now.
pub(crate) fn export(
    build: &Build<'_>,
    exports: &[CacheExport],
    targets: &[VertexId],
    pushed: &[Repository],
) -> Result<(), EngineError> {
    build.remote_mounts.broken().iter().for_each(|blob| build.remote_caches.lose(blob));
    let access = build.remote_caches.access_to_export(pushed);
    for export in exports.iter().filter(|export| export.location != CacheLocation::Inline) {
        let asked = Asked {
            store: build.engine.store(),
            events: build.events,
            cancel: &build.cancel,
            access: &access,
            step: build.next_internal_id(),
        };
        export::export(asked, export, || contents(build, export, targets))?;
    }
    Ok(())
}

fn contents(build: &Build<'_>, export: &CacheExport, targets: &[VertexId]) -> Result<Contents, CacheExportError> {
    let (steps, sources) = steps(build, export.options.mode, targets)?;
    let imports = build.remote_caches.imports.iter();
    let other_mounts = imports.filter_map(|import| Some((Arc::clone(import), build.known_holdings(import)?))).collect();
    let selections = build.selections.of_snapshots();
    let wants_mount = wants_mount(build, &export.options.mounts, targets);
    Ok(Contents { steps, sources, selections, wants_mount, other_mounts })
}

/// The steps that travel, and where the layer of each diff id is.
fn steps(
    build: &Build<'_>,
    mode: Mode,
    targets: &[VertexId],
) -> Result<(Vec<RemoteStep>, BTreeMap<Digest, Source>), CacheExportError> {
    let results = build.results.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let in_image = in_image(build, targets);
    let (mut steps, mut sources) = (Vec::new(), BTreeMap::new());
    for (vertex, result) in results {
        if mode == Mode::Min && !in_image.contains(&vertex) {
            continue;
        }
        let Some((step, source)) = outgoing(build, &result)? else { continue };
        sources.entry(step.diff_id).or_insert(source);
        steps.push(step);
    }
    Ok((steps, sources))
}

/// What travels of a step; nothing if it was pruned meanwhile.
fn outgoing(build: &Build<'_>, result: &StepResult) -> Result<Option<(RemoteStep, Source)>, CacheExportError> {
    if let OwnLayer::Away(away) = &result.layer {
        let source = Source::Import(away.cached.clone(), Arc::clone(&away.import));
        return Ok(Some((away.step.used_at(SystemTime::now()), source)));
    }
    let store = build.engine.store();
    let Some((layer, record)) = StepRecord::find(store, &result.key)? else { return Ok(None) };
    let Some(known) = store.layer(layer)? else { return Ok(None) };
    let diff_id = kiln_exporters::diff_id(store, layer, &build.cancel.flag())?;
    let step = RemoteStep::new(result.key, &record, diff_id, known.created).used_at(SystemTime::now());
    Ok(Some((step, Source::Store(layer))))
}

/// Which keys of cache mounts are asked for.
fn wants_mount(build: &Build<'_>, mounts: &Mounts, targets: &[VertexId]) -> Box<dyn Fn(&str) -> bool> {
    match mounts {
        Mounts::None => Box::new(|_| false),
        Mounts::All => Box::new(|_| true),
        Mounts::Ids(given) => with_ids(given.clone()),
        Mounts::Used => {
            let graph = build.graph;
            let steps = graph.reachable(targets).into_iter().filter_map(|id| match &graph.vertex(id).op {
                Op::Exec(exec) => Some(exec),
                Op::File(_) | Op::Source(_) => None,
            });
            let ids: Vec<String> = steps.flat_map(|exec| ids(exec)).collect();
            Box::new(move |key| ids.iter().any(|id| cache_key::is_of(key, id)))
        }
    }
}

/// Keys of cache mounts with one of these ids.
pub(super) fn with_ids(given: Vec<String>) -> Box<dyn Fn(&str) -> bool> {
    let is = |key: &str, id: &String| key == id || cache_key::is_of(key, &cache_key::explicit(id));
    Box::new(move |key| given.iter().any(|id| is(key, id) || cache_key::is_of(key, id)))
}

/// The vertices whose layers the images have.
fn in_image(build: &Build<'_>, targets: &[VertexId]) -> BTreeSet<VertexId> {
    let mut found = BTreeSet::new();
    let mut left = targets.to_vec();
    while let Some(id) = left.pop() {
        let vertex = build.graph.vertex(id);
        let port = match &vertex.op {
            Op::Exec(exec) => exec.root,
            Op::File(file) => file.base,
            Op::Source(_) => None,
        };
        if found.insert(id) {
            left.extend(port.map(|port| vertex.inputs[port.0 as usize]));
        }
    }
    found
}
