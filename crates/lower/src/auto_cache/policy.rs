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

use super::mentions::{Directories, Mask};
use super::shell::Command;
use super::step::{self, Step};
use super::tool::{Cache, Kind, Place, TOOLS, Tool, Use};
use crate::{AutoCacheMode, Options};
use kiln_graph::{
    Action, AutoCache, CachePurpose, Exec, File, Graph, Mount, MountKind, Network, Op, Port, Source, Vertex, VertexId,
};

/// Gives steps their caches. `exported` is the vertex of the image, whose steps keep what they make.
pub(crate) fn give(graph: &mut Graph, exported: Option<VertexId>, options: &Options, volumes: &[String]) {
    if options.auto_cache == AutoCacheMode::Off {
        return;
    }
    let proposals = proposals(graph, exported, options, volumes);
    for (id, caches) in proposals {
        graph.give_caches(id, caches);
    }
}

/// A step that is of interest: it, or one that it stands on, may get a cache.
struct Candidate<'a> {
    step: Step<'a>,
    /// What each of its commands is.
    uses: Vec<Option<(&'static Tool, Use)>>,
    /// What it may get, each with the directories that it covers.
    caches: Vec<(String, &'static str, Cache, Mask)>,
}

/// What comes after a vertex has to do with directories.
#[derive(Debug, Clone, Copy, Default)]
struct After {
    /// Steps must find there what this one left.
    blocked: Mask,
    /// Steps may look there, but could do without.
    wanted: Mask,
    /// Some step does something to the configuration that downloads take.
    configures: bool,
}

impl After {
    fn add(&mut self, other: Self) {
        self.blocked |= other.blocked;
        self.wanted |= other.wanted;
        self.configures |= other.configures;
    }
}

fn proposals(
    graph: &Graph,
    exported: Option<VertexId>,
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
    let in_image = chain(graph, exported);
    // Only steps on top of one that names a tool matter.
    let mut matters = named.clone();
    for (index, vertex) in vertices.iter().enumerate() {
        matters[index] |= root(vertex).is_some_and(|root| matters[root.index()]);
    }
    let platform = options.platform.to_string();
    let mut directories = Directories::default();
    let mut candidates: Vec<Option<Candidate<'_>>> = vertices
        .iter()
        .enumerate()
        .map(|(index, vertex)| match &vertex.op {
            Op::Exec(exec) if matters[index] => {
                Some(candidate(Step::new(graph, vertex, exec), bases[index], &platform, &mut directories))
            }
            _ => None,
        })
        .collect();
    if directories.mask(|_| true) == 0 {
        return Vec::new();
    }
    // What an earlier step of the stage left in its layer, because a later one looks at it, need not be kept a second time.
    let mut left: Vec<Mask> = Vec::with_capacity(vertices.len());
    for (index, vertex) in vertices.iter().enumerate() {
        let before = root(vertex).map_or(0, |root| left[root.index()]);
        let caches = candidates[index].iter_mut().flat_map(|candidate| &mut candidate.caches);
        let mut here = before;
        for (.., cache, mask) in caches {
            if cache.kind == Kind::Needed && cache.purpose == CachePurpose::Pure {
                here |= *mask;
                *mask = if *mask & before == 0 { *mask } else { 0 };
            }
        }
        left.push(here);
    }
    for candidate in candidates.iter_mut().flatten() {
        candidate.caches.retain(|(.., mask)| *mask != 0);
    }
    let everywhere = volumes.iter().fold(0, |mask, volume| mask | directories.in_or_at(volume));
    let mut after = vec![After { blocked: everywhere, ..After::default() }; vertices.len()];
    let mut given = Vec::new();
    for (index, vertex) in vertices.iter().enumerate().rev() {
        let mine = after[index];
        let mut below = mine;
        match &vertex.op {
            Op::Exec(exec) => {
                if let Some(candidate) = &mut candidates[index] {
                    let caches = candidate.decide(mine, in_image[index], options.auto_cache, &directories);
                    if !caches.is_empty() {
                        given.push((VertexId(index as u32), caches));
                    }
                    below.add(candidate.after(&directories));
                }
                for mount in &exec.mounts {
                    if let MountKind::Bind { from, source } | MountKind::Cache { from: Some(from), source, .. } =
                        &mount.kind
                    {
                        after[input(vertex, *from).index()].blocked |= directories.at(source);
                    }
                }
            }
            Op::File(file) => {
                below.blocked |= file_mentions(file, &directories);
                for action in &file.actions {
                    if let Action::Copy(copy) = action {
                        let sources = copy
                            .sources
                            .iter()
                            .fold(0, |mask, path| mask | directories.at(&format!("/{}", pathlike(path))));
                        after[input(vertex, copy.from).index()].blocked |= sources;
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

/// A source of a copy as a path from the root.
fn pathlike(source: &str) -> &str {
    match source {
        "." => "",
        source => source.trim_start_matches("./").trim_start_matches('/'),
    }
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

/// Which vertices the layers of an image come from.
fn chain(graph: &Graph, top: Option<VertexId>) -> Vec<bool> {
    let mut found = vec![false; graph.vertices().len()];
    let mut next = top;
    while let Some(id) = next {
        found[id.index()] = true;
        next = root(graph.vertex(id));
    }
    found
}

/// What each vertex's stage began with: an image's name without its digest, or the name of a context.
fn bases(graph: &Graph) -> Vec<&str> {
    let mut bases: Vec<&str> = Vec::with_capacity(graph.vertices().len());
    for vertex in graph.vertices() {
        bases.push(match (&vertex.op, root(vertex)) {
            (Op::Source(Source::Image(image)), _) => match image.reference.split_once('@') {
                // Without a tag the digest is all there is.
                Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
                _ => &image.reference,
            },
            (Op::Source(Source::Local(local)), _) => &local.name,
            (_, Some(root)) => bases[root.index()],
            (_, None) => "scratch",
        });
    }
    bases
}

fn candidate<'a>(step: Step<'a>, base: &str, platform: &str, directories: &mut Directories) -> Candidate<'a> {
    let root_user = is_root(step.exec);
    let place = Place { around: &step.around, base, platform };
    let mut uses = Vec::new();
    let mut caches: Vec<(String, &'static str, Cache, Mask)> = Vec::new();
    for command in step.commands.iter().flatten() {
        let recognised = TOOLS.iter().find_map(|tool| Some((*tool, (tool.recognise)(command, &place)?)));
        if let Some((tool, found)) = &recognised {
            for cache in &found.caches {
                if caches
                    .iter()
                    .any(|(.., known, _)| known.directory == cache.directory && known.purpose == cache.purpose)
                {
                    continue;
                }
                let mut mask = 0;
                for directory in cache.covers() {
                    mask |= directories.bit(directory, root_user, tool.name, cache.kind).unwrap_or_default();
                }
                if mask != 0 {
                    caches.push((found.label.clone(), tool.name, cache.clone(), mask));
                }
            }
        }
        uses.push(recognised);
    }
    Candidate { step, uses, caches }
}

fn is_root(exec: &Exec) -> bool {
    let user = exec.user.as_deref().unwrap_or_default();
    matches!(user.split(':').next(), None | Some("" | "root" | "0"))
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

impl Candidate<'_> {
    fn own(&self) -> Vec<Option<&'static str>> {
        self.uses.iter().map(|found| found.as_ref().map(|(tool, _)| tool.name)).collect()
    }

    fn commands(&self) -> impl Iterator<Item = (&Command, &Option<(&'static Tool, Use)>)> {
        self.step.commands.iter().flatten().zip(&self.uses)
    }

    /// What this step has to do with directories that steps before it may have left something in.
    fn after(&self, directories: &Directories) -> After {
        let mut after = After::default();
        let said = directories.mentions(&self.step, &self.own(), is_root(self.step.exec));
        after.blocked = said.reads;
        let downloads = |directory: &super::mentions::Directory| directory.kind != Kind::Made;
        let offline = self.step.exec.network == Network::None;
        for (command, recognised) in self.commands() {
            match recognised {
                Some((tool, found)) => {
                    let of_tool = directories.mask(|directory| directory.tool == tool.name);
                    if !found.caches.is_empty() || found.offline {
                        after.wanted |= of_tool;
                    }
                    if found.asks {
                        after.blocked |= of_tool;
                    }
                    if found.offline || offline {
                        after.blocked |=
                            directories.mask(|directory| directory.tool == tool.name && downloads(directory));
                    }
                }
                None if runs_nothing_else(command) => {}
                None => after.wanted = Mask::MAX,
            }
        }
        if self.step.commands.is_none() {
            after.wanted = Mask::MAX;
        }
        if offline && after.wanted == Mask::MAX {
            after.blocked |= directories.mask(downloads);
        }
        let known = |name: &str| TOOLS.iter().any(|tool| tool.variables.contains(&name));
        for (name, value) in &self.step.exec.env {
            if value.starts_with('/') && !known(name) {
                after.blocked |= directories.in_or_at(value);
            }
        }
        after.configures = CONFIGURATION.iter().any(|fragment| self.step.says(fragment));
        after
    }

    /// The caches that the step gets.
    fn decide(&self, after: After, in_image: bool, mode: AutoCacheMode, directories: &Directories) -> Vec<AutoCache> {
        if self.caches.is_empty() || (in_image && mode == AutoCacheMode::Safe) {
            return Vec::new();
        }
        let said = directories.mentions(&self.step, &self.own(), is_root(self.step.exec));
        let alone = after.configures || self.may_download_alone();
        let mut given: Vec<AutoCache> = Vec::new();
        for (label, tool, cache, mask) in &self.caches {
            let is_output = cache.purpose == CachePurpose::Output;
            let redirected = !cache.env.is_empty();
            // It would be a part of what seeds the output.
            let in_output = mode == AutoCacheMode::All && cache.kind == Kind::Needed && !in_image;
            let allowed = !in_output
                && match mode {
                    AutoCacheMode::Off => false,
                    AutoCacheMode::Safe => !is_output && !in_image,
                    AutoCacheMode::All => !in_image || (redirected && !is_output && mask & !said.removes == 0),
                };
            let named = said.reads | if redirected { 0 } else { said.removes | said.makes };
            let guarded = match cache.kind {
                Kind::Made => false,
                Kind::Downloaded => alone,
                Kind::Needed => true,
            };
            let missed = after.blocked | if guarded && !is_output { after.wanted } else { 0 };
            if allowed && mask & (named | missed) == 0 && !self.clears(tool) && !self.has_mount(cache) {
                given.push(AutoCache {
                    command: label.clone(),
                    directory: cache.directory.clone(),
                    id: cache.id.clone(),
                    sharing: cache.sharing,
                    purpose: cache.purpose,
                    env: cache.env.clone(),
                    files: cache.files.clone(),
                    requires: cache.requires.clone(),
                });
            }
        }
        given
    }

    /// Whether a command of the step empties the tool's caches, or tells what is in them.
    fn clears(&self, name: &str) -> bool {
        self.uses.iter().flatten().any(|(tool, found)| tool.name == name && (found.clears || found.asks))
    }

    /// Whether the step has a mount of its own there.
    fn has_mount(&self, cache: &Cache) -> bool {
        let root_user = is_root(self.step.exec);
        let overlaps = |mount: &Mount| {
            cache.covers().iter().chain([&cache.directory]).any(|directory| {
                let mut one = Directories::default();
                one.bit(directory, root_user, "", cache.kind);
                one.at(&mount.target) != 0
            })
        };
        self.step.exec.mounts.iter().any(overlaps)
    }

    /// Whether the step has something that downloads may take and later steps may lack.
    fn may_download_alone(&self) -> bool {
        let exec = self.step.exec;
        let lent = exec.mounts.iter().any(|mount| match &mount.kind {
            MountKind::Secret { .. } | MountKind::Ssh { .. } => true,
            MountKind::Bind { .. } => CONFIGURATION.iter().any(|fragment| mount.target.contains(fragment)),
            MountKind::Cache { .. } | MountKind::Tmpfs { .. } => false,
        });
        lent || exec.network == Network::Host
            || CONFIGURATION.iter().chain(SOURCES).any(|fragment| self.step.says(fragment))
    }
}

/// What files that hold credentials or registries are called, and what writes them.
const CONFIGURATION: &[&str] = &[
    ".npmrc",
    ".yarnrc",
    ".netrc",
    "pip.conf",
    ".pypirc",
    ".git-credentials",
    "git config",
    "insteadOf",
    "auth.json",
    "settings.xml",
    "credentials",
    "uget.",
    "bunfig",
    "config set",
    " login",
    "apt.conf",
    "sources.list",
    "bundle config",
    "gradle.properties",
];
/// What names a registry or a token for one command.
const SOURCES: &[&str] = &[
    "TOKEN",
    "PASSW",
    "SECRET",
    "_AUTH",
    "_KEY",
    "INDEX_URL",
    "REGISTR",
    "GOPROXY",
    "GOPRIVATE",
    "--registry",
    "index-url",
    "--token",
    " -i http",
];

/// Whether a program only does what it is asked, and never runs a tool on its own.
fn runs_nothing_else(command: &Command) -> bool {
    matches!(
        command.name(),
        Some(
            "echo"
                | "printf"
                | "cd"
                | "pushd"
                | "popd"
                | "test"
                | "["
                | "true"
                | "false"
                | ":"
                | "mkdir"
                | "rmdir"
                | "rm"
                | "cp"
                | "mv"
                | "ln"
                | "cat"
                | "head"
                | "tail"
                | "touch"
                | "chown"
                | "chmod"
                | "chgrp"
                | "ls"
                | "grep"
                | "sed"
                | "tar"
                | "gzip"
                | "gunzip"
                | "unzip"
                | "useradd"
                | "adduser"
                | "groupadd"
                | "addgroup"
                | "usermod"
                | "id"
                | "whoami"
                | "uname"
                | "nproc"
                | "which"
                | "type"
                | "command"
                | "curl"
                | "wget"
                | "sha256sum"
                | "md5sum"
                | "strip"
                | "upx"
                | "du"
                | "df"
                | "date"
                | "sleep"
                | "tee"
                | "sort"
                | "tr"
                | "cut"
                | "wc"
                | "file"
                | "ldd"
                | "stat"
                | "dirname"
                | "basename"
                | "realpath"
                | "readlink"
                | "env"
                | "install"
                | "dpkg"
                | "update-ca-certificates"
                | "ldconfig"
                | "base64"
                | "xxd"
                | "jq"
                | "diff"
                | "cmp"
                | "."
                | "source"
        )
    )
}
