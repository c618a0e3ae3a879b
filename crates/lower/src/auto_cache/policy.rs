//! Which of the caches that rules propose a step gets.
//!
//! All steps of a build are looked at together, once its graph is whole: a cache may only be given to a step if nothing that is
//! built upon it could miss what the step then leaves out of its layer. From the last vertex to the first, each vertex learns of
//! the directories that are of interest to what comes after it ([`After`]).
//!
//! A step does not get a cache
//! - in `safe`: if it is part of the exported image, or if the cache is an output. In `all` a step of the exported image gets caches
//!   that leave no trace: those that the tool uses in the place of its own directories, which the step itself empties.
//! - if a mount of its own is at, above or below the directory;
//! - if it names the directory itself (`du`, `cp`), makes it, removes it, or empties the cache with the tool's own command;
//! - if what is built upon it names the directory or one above it: another command, COPY, a bind mount, WORKDIR, a variable, VOLUME;
//! - for downloads: if a later step must find them, because it has no network or is told not to use it;
//! - for downloads: if only this step may have what it takes to download them (a secret, an agent, a registry or a token of its own, a
//!   configuration that is there for this step alone), and a later step could want them;
//! - for what a tool looks at whenever it runs (Go's module files): if any later step could run the tool.
//!
//! A later step that runs a script nobody can read (`make`, `./build.sh`) keeps none of the other caches away: should it run the
//! tool, the tool makes or downloads again what it misses, with the same network and the same configuration as the first time.

use super::candidate::Candidate;
use super::mentions::{Directories, Mask};
use super::step::{self, Step};
use crate::{AutoCacheMode, Options, paths};
use kiln_graph::{Action, AutoCache, File, Graph, ImageLocation, MountKind, Op, Port, Source, Vertex, VertexId};
use std::borrow::Cow;

/// Gives steps their caches. `exported` is the vertex of the image, whose steps keep what they make.
pub(crate) fn give(graph: &mut Graph, exported: Option<VertexId>, options: &Options, volumes: &[String]) {
    if options.auto_cache == AutoCacheMode::Off {
        return;
    }
    let heads: Vec<VertexId> = exported.into_iter().collect();
    let proposals = proposals(graph, &heads, options.auto_cache, options, volumes);
    for (id, caches) in proposals {
        graph.give_caches(id, caches);
    }
}

/// What comes after a vertex has to do with directories.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct After {
    /// Steps must find there what this one left.
    pub(super) blocked: Mask,
    /// All that is there, or whatever is, is taken from there.
    pub(super) taken: Mask,
    /// Steps may look there, but could do without.
    pub(super) wanted: Mask,
    /// Some step does something to the configuration that downloads take.
    pub(super) configures: bool,
}

impl After {
    /// A path of the tree is copied, or mounted.
    fn copied(&mut self, path: &str, directories: &Directories) {
        self.blocked |= directories.at(path);
        self.taken |= directories.whole(path);
    }

    fn add(&mut self, other: Self) {
        self.blocked |= other.blocked;
        self.taken |= other.taken;
        self.wanted |= other.wanted;
        self.configures |= other.configures;
    }
}

/// The caches that steps would get. `exported` are the vertices of images.
pub(super) fn proposals(
    graph: &Graph,
    exported: &[VertexId],
    mode: AutoCacheMode,
    options: &Options,
    volumes: &[String],
) -> Vec<(VertexId, Vec<AutoCache>)> {
    let vertices = graph.vertices();
    let named: Vec<bool> = vertices
        .iter()
        .map(|vertex| matches!(&vertex.op, Op::Exec(exec) if step::names_a_tool(graph, vertex, exec)))
        .collect();
    if !named.contains(&true) {
        return Vec::new();
    }
    let bases = bases(graph);
    let in_image = chains(graph, exported);
    // Only steps on top of one that names a tool matter, and those that may give a directory another name before.
    let mut matters = named.clone();
    for (matters, vertex) in matters.iter_mut().zip(vertices) {
        *matters |= matches!(&vertex.op, Op::Exec(exec) if step::makes_links(graph, vertex, exec));
    }
    for (index, vertex) in vertices.iter().enumerate() {
        matters[index] |= root(vertex).is_some_and(|root| matters[root.index()]);
    }
    if mode == AutoCacheMode::Safe && matters.iter().zip(&in_image).all(|(matters, image)| !matters || *image) {
        return Vec::new();
    }
    let platform = options.platform.to_string();
    let mut directories = Directories::default();
    let mut candidates: Vec<Option<Candidate<'_>>> = Vec::with_capacity(vertices.len());
    let mut systems: Vec<Option<u64>> = Vec::with_capacity(vertices.len());
    for (index, vertex) in vertices.iter().enumerate() {
        let mut system = root(vertex).and_then(|root| systems[root.index()]);
        candidates.push(match &vertex.op {
            Op::Exec(exec) if matters[index] => {
                let step = Step::new(graph, vertex, exec);
                Some(Candidate::new(step, &bases[index], &platform, &mut system, &mut directories))
            }
            _ => None,
        });
        systems.push(system);
    }
    if directories.mask(|_| true) == 0 {
        return Vec::new();
    }
    let mut left: Vec<Mask> = Vec::with_capacity(vertices.len());
    let mut linked: Vec<Mask> = Vec::with_capacity(vertices.len());
    for (index, vertex) in vertices.iter().enumerate() {
        let mut mask = root(vertex).map_or(0, |root| left[root.index()]);
        let mut links = root(vertex).map_or(0, |root| linked[root.index()]);
        if let Some(candidate) = &mut candidates[index] {
            candidate.listen(&directories);
            candidate.heed_links(&mut links);
            candidate.leave_to_earlier(&mut mask);
        }
        left.push(mask);
        linked.push(links);
    }
    let everywhere = volumes.iter().fold(0, |mask, volume| mask | directories.in_or_at(volume));
    let mut after = vec![After { blocked: everywhere, taken: everywhere, ..After::default() }; vertices.len()];
    let mut given = Vec::new();
    for (index, vertex) in vertices.iter().enumerate().rev() {
        let mine = after[index];
        let mut below = mine;
        match &vertex.op {
            Op::Exec(exec) => {
                if let Some(candidate) = &candidates[index] {
                    let caches = candidate.decide(mine, in_image[index], mode, &directories);
                    if !caches.is_empty() {
                        given.push((VertexId(index as u32), caches));
                    }
                    below.add(candidate.after(&directories));
                }
                for mount in &exec.mounts {
                    if let MountKind::Bind { from, source } | MountKind::Cache { from: Some(from), source, .. } =
                        &mount.kind
                    {
                        after[input(vertex, *from).index()].copied(source, &directories);
                    }
                }
            }
            Op::File(file) => {
                below.blocked |= file_mentions(file, &directories);
                for action in &file.actions {
                    if let Action::Copy(copy) = action {
                        let from = &mut after[input(vertex, copy.from).index()];
                        copy.sources.iter().for_each(|path| from.copied(&paths::absolute("/", path), &directories));
                    }
                }
            }
            Op::Source(_) => {}
        }
        if let Some(root) = root(vertex) {
            after[root.index()].add(below);
        }
    }
    given
}

fn input(vertex: &Vertex, port: Port) -> VertexId {
    vertex.inputs[port.0 as usize]
}

/// The vertex whose tree this one's is made on top of.
fn root(vertex: &Vertex) -> Option<VertexId> {
    let port = match &vertex.op {
        Op::Exec(exec) => exec.root,
        Op::File(file) => file.base,
        Op::Source(_) => None,
    };
    port.map(|port| input(vertex, port))
}

/// Which vertices the layers of images come from.
pub(super) fn chains(graph: &Graph, tops: &[VertexId]) -> Vec<bool> {
    let mut found = vec![false; graph.vertices().len()];
    for top in tops {
        let mut next = Some(*top);
        while let Some(id) = next.filter(|id| !found[id.index()]) {
            found[id.index()] = true;
            next = root(graph.vertex(id));
        }
    }
    found
}

/// What each vertex's stage began with: an image's name without its digest, or the name of a context. The same on every machine.
fn bases(graph: &Graph) -> Vec<Cow<'_, str>> {
    let mut bases: Vec<Cow<'_, str>> = Vec::with_capacity(graph.vertices().len());
    for vertex in graph.vertices() {
        bases.push(match (&vertex.op, root(vertex)) {
            (Op::Source(Source::Image(image)), _) => match image.reference.split_once('@') {
                // A layout is somewhere else on every machine.
                _ if matches!(image.location, ImageLocation::Layout(_)) => image.digest.to_string().into(),
                // Without a tag the digest is all there is.
                Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name.into(),
                _ => image.reference.as_str().into(),
            },
            (Op::Source(Source::Local(local)), _) => local.name.as_str().into(),
            (_, Some(root)) => bases[root.index()].clone(),
            (_, None) => "scratch".into(),
        });
    }
    bases
}

/// What a layer's files say of directories: those made for WORKDIR and by heredocs.
fn file_mentions(file: &File, directories: &Directories) -> Mask {
    file.actions.iter().fold(0, |mask, action| {
        mask | match action {
            Action::Mkdir(mkdir) => directories.in_or_at(&mkdir.path),
            Action::Mkfile(_) | Action::Copy(_) => 0,
        }
    })
}
