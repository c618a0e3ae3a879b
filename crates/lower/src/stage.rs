//! One stage while its instructions are lowered: what they read and change.
//!
//! Every instruction gets a [`Step`]. It adds vertices on top of the stage's tree, changes the image config, and leaves one
//! history entry; nothing else outlives it.

use crate::contexts::Origin;
use crate::env::Env;
use crate::expand::{expand, expand_words};
use crate::images::Images;
use crate::label::{Progress, internal};
use crate::parameters::Parameters;
use crate::plan::{Base, Command, NodeId, NodeKind, Plan};
use crate::settings::Settings;
use crate::{History, ImageConfig, LowerError, Options};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::Word;
use kiln_graph::{
    Action, Copy, File, Graph, Image, Label, Local, Op, Platform, Port, Source, Unpack, VertexId, without_credentials,
};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// What all steps read.
pub(crate) struct Build<'a> {
    pub(crate) options: &'a Options,
    pub(crate) settings: &'a Settings,
    /// Arguments from before the first FROM.
    pub(crate) globals: &'a Env,
    /// The file's escape character.
    pub(crate) escape: char,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) images: &'a Images,
}

/// What all steps add to.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) graph: Graph,
    /// The files of the stages that are done; none at all for an empty `scratch`.
    pub(crate) heads: HashMap<NodeId, Option<VertexId>>,
    /// What stages have come to that others begin with, and how many more do. Kept no longer: each has a whole environment and config.
    bases: HashMap<NodeId, (StageState, usize)>,
    /// What the stages ask of whoever builds.
    pub(crate) parameters: Parameters,
    /// What VOLUME names, in any stage.
    pub(crate) volumes: Vec<String>,
    /// Where each RUN of the file begins, and what became of it.
    pub(crate) runs: Vec<(u32, VertexId)>,
    /// The trees of nodes that are no stages.
    outside: HashMap<NodeId, Tree>,
    /// The vertices of contexts, by name.
    locals: HashMap<String, VertexId>,
}

/// Files that can be copied from or mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// None.
    Empty,
    /// A directory of the user's.
    Local(VertexId),
    /// An image, or what a stage made.
    Built(VertexId),
}

/// What a stage has come to so far.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// Its files; none at all for an empty `scratch`.
    pub(crate) head: Option<VertexId>,
    /// The image's config, but for its history.
    pub(crate) config: ImageConfig,
    /// The image's history. Stages share the entries of their bases.
    pub(crate) history: Vec<Arc<History>>,
    /// What RUN and the words of instructions see: ENV and ARG, the later one wins.
    pub(crate) env: Env,
    /// The ARGs so far, those of base stages not among them.
    pub(crate) args: Vec<(String, Option<String>)>,
    pub(crate) platform: Platform,
    /// Whether this very stage had a CMD: only then does one survive an ENTRYPOINT.
    pub(crate) cmd_set: bool,
    pub(crate) progress: Progress,
}

/// One instruction being lowered.
pub(crate) struct Step<'s> {
    pub(crate) build: &'s Build<'s>,
    pub(crate) out: &'s mut Output,
    pub(crate) stage: &'s mut StageState,
    pub(crate) command: &'s Command<'s>,
    pub(crate) use_cache: bool,
}

impl Step<'_> {
    /// One word to one text, with the stage's environment.
    pub(crate) fn expand(&self, word: &Word) -> Result<String, LowerError> {
        expand(word, self.build.escape, &self.stage.env)
    }

    /// One word to any number of words.
    pub(crate) fn expand_words(&self, word: &Word) -> Result<Vec<String>, LowerError> {
        expand_words(word, self.build.escape, &self.stage.env)
    }

    /// The label of this step, `text` being what is shown of it.
    pub(crate) fn label(&mut self, text: &str) -> Label {
        let StageState { progress, platform, env, .. } = &mut *self.stage;
        let text: Cow<'_, str> = match self.command.onbuild {
            true => format!("ONBUILD {text}").into(),
            false => text.into(),
        };
        progress.next(&text, &self.command.instruction.original, self.command.span(), platform, env)
    }

    /// Adds a vertex on top of the stage's tree, which becomes the stage's tree. Its first input must be the tree so far.
    pub(crate) fn push(&mut self, op: Op, inputs: Ports, label: Label) {
        self.stage.head = Some(self.out.graph.add(op, inputs.vertices, label, self.use_cache));
    }

    /// Notes the instruction in the image's history.
    pub(crate) fn record(&mut self, entry: History) {
        self.stage.history.push(Arc::new(entry));
    }

    /// The absolute, clean working directory, which paths of instructions are joined to.
    pub(crate) fn workdir(&self) -> Cow<'_, str> {
        crate::paths::absolute("/", &self.stage.config.config.working_dir)
    }

    /// The working directory of a process. What `..` leads to is for the file system to say: there may be a link before it.
    pub(crate) fn process_directory(&self) -> String {
        let written = &self.stage.config.config.working_dir;
        match written.starts_with('/') && written.split('/').any(|part| part == "..") {
            true => written.clone(),
            false => self.workdir().into_owned(),
        }
    }

    /// The main build context.
    pub(crate) fn context(&mut self) -> Tree {
        let vertex = self.out.local("context", || "load build context".to_owned());
        if self.build.options.context_has_owners { Tree::Built(vertex) } else { Tree::Local(vertex) }
    }

    /// The files of a node that this instruction names.
    ///
    /// # Errors
    /// A stage that stands further down.
    pub(crate) fn tree(&mut self, node: NodeId, span: Span) -> Result<Tree, LowerError> {
        self.build.tree(self.out, node).ok_or_else(|| {
            let name = &self.build.plan.nodes[node.0].name;
            LowerError::new(format!("stage `{name}` is used before it is defined"), span)
                .hint(format!("move the stage `{name}` above this one"))
        })
    }

    /// The vertex of a tree; for no files at all, one that makes nothing.
    pub(crate) fn vertex(&mut self, tree: Tree) -> VertexId {
        match tree {
            Tree::Local(vertex) | Tree::Built(vertex) => vertex,
            Tree::Empty => self.out.empty(),
        }
    }
}

/// The inputs of a vertex in the making: each vertex once.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    vertices: Vec<VertexId>,
}

impl Ports {
    /// The port of an input, which is added if it isn't there.
    pub(crate) fn of(&mut self, vertex: VertexId) -> Port {
        let place = self.vertices.iter().position(|input| *input == vertex).unwrap_or_else(|| {
            self.vertices.push(vertex);
            self.vertices.len() - 1
        });
        Port(u32::try_from(place).expect("a Dockerfile is too short for 2³² inputs of one step"))
    }
}

impl Output {
    /// Keeps of a stage that is done what others need, of which `followers` begin with it.
    pub(crate) fn finish(&mut self, id: NodeId, stage: StageState, followers: usize) {
        self.heads.insert(id, stage.head);
        if followers > 0 {
            self.bases.insert(id, (stage, followers));
        }
    }

    /// What another stage begins with.
    fn base(&mut self, id: NodeId) -> StageState {
        let (stage, left) = self.bases.get_mut(&id).expect("it is kept for each that begins with it");
        *left -= 1;
        if *left > 0 {
            return stage.clone();
        }
        self.bases.remove(&id).expect("it was there just now").0
    }

    fn local(&mut self, name: &str, what: impl FnOnce() -> String) -> VertexId {
        if let Some(&vertex) = self.locals.get(name) {
            return vertex;
        }
        let op = Op::Source(Source::Local(Local { name: name.to_owned() }));
        let vertex = self.graph.add(op, Vec::new(), internal(&what(), &format!("context/{name}")), true);
        self.locals.insert(name.to_owned(), vertex);
        vertex
    }

    fn remote(&mut self, name: &str, source: &Source) -> VertexId {
        let what = match source {
            Source::Git(tree) => &tree.remote,
            Source::Http(file) => &file.url,
            Source::Image(image) => &image.reference,
            Source::Local(local) => &local.name,
        };
        let name = format!("[context {name}] {}", without_credentials(what));
        let label =
            Label { position: format!("context/{name}"), instruction: name.clone(), name, span: None, internal: false };
        self.graph.add(Op::Source(source.clone()), Vec::new(), label, true)
    }

    fn empty(&mut self) -> VertexId {
        let op = Op::File(File { base: None, actions: Vec::new() });
        self.graph.add(op, Vec::new(), internal("empty tree", "internal/empty"), true)
    }
}

impl Build<'_> {
    /// The files of a node; `None` for a stage that isn't lowered yet.
    fn tree(&self, out: &mut Output, node: NodeId) -> Option<Tree> {
        if let Some(head) = out.heads.get(&node) {
            return Some(head.map_or(Tree::Empty, Tree::Built));
        }
        if let Some(tree) = out.outside.get(&node) {
            return Some(*tree);
        }
        let place = &self.plan.nodes[node.0];
        let Base::Outside(name, Some(origin)) = &place.base else { return None };
        if place.kind == NodeKind::Stage {
            return None;
        }
        let tree = match origin {
            Origin::Scratch => Tree::Empty,
            Origin::Local(context) => Tree::Local(out.local(context, || format!("load build context {context}"))),
            Origin::Remote(context, source) => Tree::Built(out.remote(context, source)),
            Origin::Image(request) => {
                let Some(image) = self.images.get(request) else {
                    // It was passed over.
                    out.outside.insert(node, Tree::Empty);
                    return Some(Tree::Empty);
                };
                let text = format!("FROM {}", pinned(image));
                let label = Label {
                    name: text.clone(),
                    position: format!("image/{name}"),
                    span: Some((place.span.start, place.span.end)),
                    instruction: text,
                    internal: false,
                };
                self.image_tree(out, image, label)
            }
        };
        out.outside.insert(node, tree);
        Some(tree)
    }

    fn image_tree(&self, out: &mut Output, image: &crate::ResolvedImage, label: Label) -> Tree {
        // An image without layers is a name for nothing; some old ones list none but have a history of them.
        if image.config.rootfs.diff_ids.is_empty() && image.config.history.iter().all(|entry| entry.empty_layer) {
            return Tree::Empty;
        }
        let op = Op::Source(Source::Image(Image {
            reference: image.reference.clone(),
            digest: image.digest,
            platform: image.platform.clone(),
            location: image.location.clone(),
        }));
        Tree::Built(out.graph.add(op, Vec::new(), label, true))
    }

    /// Lowers a stage whose base, if that is a stage too, is done.
    ///
    /// # Errors
    /// The first that one of its instructions has.
    pub(crate) fn stage(&self, out: &mut Output, id: NodeId) -> Result<StageState, LowerError> {
        let node = &self.plan.nodes[id.0];
        let mut stage = self.begin(out, id);
        for command in &node.commands {
            let step = Step { build: self, out: &mut *out, stage: &mut stage, command, use_cache: node.use_cache };
            crate::instructions::lower(step).map_err(|error| match (command.place, error.span) {
                (Some(place), _) => error.at(place),
                (None, None) => error.at(command.instruction.span),
                (None, Some(_)) => error,
            })?;
        }
        Ok(stage)
    }

    /// What a stage starts with.
    fn begin(&self, out: &mut Output, id: NodeId) -> StageState {
        let node = &self.plan.nodes[id.0];
        let target = &self.options.platform;
        let mut progress = Progress {
            shown: if self.plan.shows_names() { node.name.clone() } else { String::new() },
            stage: node.name.clone(),
            total: node.steps(),
            index: 0,
            platform: self.settings.multi_platform,
        };
        let mut stage = match &node.base {
            Base::Node(base) => StageState { args: Vec::new(), cmd_set: false, progress, ..out.base(*base) },
            Base::Outside(_, origin) => {
                let wanted = node.platform.clone().unwrap_or_else(|| target.clone());
                let (tree, config, platform) = match origin {
                    None | Some(Origin::Scratch) => (Tree::Empty, ImageConfig::empty(target), target.clone()),
                    Some(Origin::Local(context)) => {
                        let local = out.local(context, || format!("load build context {context}"));
                        let label =
                            progress.next(&format!("FROM {context}"), "FROM", node.span, &wanted, &Env::default());
                        (copy_of_context(out, local, true, label), ImageConfig::empty(&wanted), wanted)
                    }
                    Some(Origin::Remote(context, source)) => {
                        let remote = out.remote(context, source);
                        let label =
                            progress.next(&format!("FROM {context}"), "FROM", node.span, &wanted, &Env::default());
                        (copy_of_context(out, remote, false, label), ImageConfig::empty(&wanted), wanted)
                    }
                    Some(Origin::Image(request)) => match self.images.get(request) {
                        Some(image) => {
                            let text = format!("FROM {}", pinned(image));
                            let label = progress.next(&text, &text, node.span, &wanted, &Env::default());
                            (self.image_tree(out, image, label), image.config.clone().derived(), wanted)
                        }
                        None => (Tree::Empty, ImageConfig::empty(&wanted), wanted),
                    },
                };
                StageState {
                    head: match tree {
                        Tree::Empty => None,
                        Tree::Local(vertex) | Tree::Built(vertex) => Some(vertex),
                    },
                    config,
                    history: Vec::new(),
                    env: Env::default(),
                    args: Vec::new(),
                    platform,
                    cmd_set: false,
                    progress,
                }
            }
        };
        stage.history.extend(std::mem::take(&mut stage.config.history).into_iter().map(Arc::new));
        // Its triggers are among the commands now, and belong to this stage alone.
        stage.config.config.on_build.clear();
        if stage.config.env("PATH").is_none() && stage.platform.os != "windows" && node.kind == NodeKind::Stage {
            stage.config.config.env.push(format!("PATH={}", crate::DEFAULT_PATH));
        }
        // An ARG of a base stage does not outlive that stage where the image has a variable of the same name.
        stage.env.set_all(stage.config.config.env.iter().map(|pair| pair.split_once('=').unwrap_or((pair, ""))));
        stage
    }
}

/// The reference with the digest that it was resolved to.
fn pinned(image: &crate::ResolvedImage) -> String {
    match image.reference.contains('@') {
        true => image.reference.clone(),
        false => format!("{}@{}", image.reference, image.digest),
    }
}

/// A context as a base: its files, copied into a layer.
fn copy_of_context(out: &mut Output, context: VertexId, from_context: bool, label: Label) -> Tree {
    let copy = Copy {
        from: Port(0),
        sources: vec![".".to_owned()],
        dest: "/".to_owned(),
        owner: None,
        mode: None,
        unpack: Unpack::No,
        parents: false,
        exclude: Vec::new(),
        link: false,
        from_context,
    };
    let op = Op::File(File { base: None, actions: vec![Action::Copy(copy)] });
    Tree::Built(out.graph.add(op, vec![context], label, true))
}
