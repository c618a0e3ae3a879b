//! What the lints are told of steps: what they run, and the cache mounts that a Dockerfile could ask for in the place of their automatic
//! caches.
//!
//! A mount is only told where it would change nothing that a later step finds. Whether an image would lack what a step leaves in it is
//! told beside it ([`StepFacts::in_image`]), since the answer to that is another Dockerfile, and no mount.

use super::candidate::is_root;
use super::policy::{chains, proposals};
use super::step::Step;
use super::tool::{Place, TOOLS};
use super::{AutoCacheMode, apt};
use crate::Options;
use kiln_dockerfile::rules::{CacheFacts, CommandFacts, StepFacts};
use kiln_graph::{AutoCache, CacheDirectory, CachePurpose, CacheSharing, Exec, Graph, Op, VertexId};
use std::collections::HashMap;

/// The facts of steps, given where each RUN stands and what became of it. `images` are the vertices of all images that the Dockerfile may
/// be for.
pub(crate) fn steps(
    graph: &Graph,
    runs: &[(u32, VertexId)],
    images: &[VertexId],
    options: &Options,
    volumes: &[String],
) -> Vec<StepFacts> {
    let in_image = chains(graph, images);
    // As if no image held what steps leave behind: what an image would lack is told of, too.
    let caches: HashMap<VertexId, Vec<AutoCache>> =
        proposals(graph, &[], AutoCacheMode::Safe, options, volumes).into_iter().collect();
    let facts = |&(at, id): &(u32, VertexId)| {
        let vertex = graph.vertex(id);
        let Op::Exec(exec) = &vertex.op else { return None };
        let given = caches.get(&id).map(Vec::as_slice).unwrap_or_default();
        Some(StepFacts {
            at,
            commands: commands(&Step::new(graph, vertex, exec)),
            caches: given.iter().flat_map(|cache| mounts(exec, cache)).collect(),
            in_image: in_image[id.index()],
            is_root: is_root(exec),
            cwd: exec.cwd.clone(),
            env: exec.env.to_vec(),
        })
    };
    runs.iter().filter_map(facts).collect()
}

/// The commands of a step; none if it cannot be read with certainty.
fn commands(step: &Step<'_>) -> Vec<CommandFacts> {
    // Which caches a rule proposes does not matter here.
    let place = Place { around: &step.around, base: "", platform: "", system: "", is_root: is_root(step.exec) };
    let facts = |command: &super::shell::Command| CommandFacts {
        words: command.words.iter().map(|word| word.get().map(str::to_owned)).collect(),
        does: TOOLS
            .iter()
            .filter_map(|tool| (tool.recognise)(command, &place))
            .map(|found| found.label)
            .find(|label| !label.is_empty()),
    };
    step.commands.iter().flatten().map(facts).collect()
}

fn mounts(exec: &Exec, cache: &AutoCache) -> Vec<CacheFacts> {
    // A cache mount is root's: nobody else could write there.
    if cache.purpose != CachePurpose::Pure || !is_root(exec) {
        return Vec::new();
    }
    let path = absolute(exec, &cache.directory);
    let targets =
        apt::own_directories(&path).map_or_else(|| vec![path], |own| own.iter().map(|&own| own.to_owned()).collect());
    let mount = |target: String| CacheFacts {
        command: cache.command.clone(),
        id: of_system(&cache.id).map(|(tool, base)| {
            let last = target.rsplit('/').next().unwrap_or_default();
            let what = if last == tool { tool.to_owned() } else { format!("{tool}-{last}") };
            format!("{what}-{}", base.replace(':', "-"))
        }),
        locked: cache.sharing == CacheSharing::Locked,
        variable: (cache.id.starts_with("go/build/")).then_some("GOCACHE"),
        target,
    };
    targets.into_iter().map(mount).collect()
}

/// The package manager and the image's own name in an id of a cache of system packages.
fn of_system(id: &str) -> Option<(&str, &str)> {
    let (tool, rest) = id.split_once('/')?;
    if !matches!(tool, "apt" | "apk" | "dnf") {
        return None;
    }
    // The platform is the last two parts or three.
    rest.split('/').find(|part| part.contains(':')).map(|base| (tool, base))
}

/// The directory as a step of root's sees it.
fn absolute(exec: &Exec, directory: &CacheDirectory) -> String {
    match directory {
        CacheDirectory::Absolute(path) => path.clone(),
        CacheDirectory::Home(below) => {
            let home = exec.env.iter().find(|(name, _)| name == "HOME").map_or("/root", |(_, home)| home.as_str());
            format!("{}/{below}", home.trim_end_matches('/'))
        }
    }
}
