//! The stages of a Dockerfile and what they need of each other, known before anything is lowered.
//!
//! A [`Plan`] is a list of nodes: the stages in the order of the file, then the images that `COPY --from` and mounts name. Bases
//! always stand before their users; other references are checked for circles here, and for order when they are lowered.

use crate::contexts::{Contexts, Origin};
use crate::env::Env;
use crate::expand::{expand, expand_all};
use crate::images::{Images, Wanted};
use crate::{LowerError, NoCache, Options, Warning};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::{Arg, From, Instruction, InstructionKind, Run, Word};
use kiln_graph::Platform;
use std::borrow::Cow;
use std::collections::HashMap;

/// A stage as it stands in the file.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) from: &'a From,
    pub(crate) body: &'a [Instruction],
}

/// Splits a file at its FROMs; what stands before the first can only be ARGs.
///
/// # Errors
/// A file without FROM, or another instruction before it.
pub(crate) fn sections(instructions: &[Instruction]) -> Result<(Vec<&[Arg]>, Vec<Section<'_>>), LowerError> {
    let mut global = Vec::new();
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut rest = instructions;
    while let [first, tail @ ..] = rest {
        match &first.kind {
            InstructionKind::From(from) => {
                let length = tail.iter().take_while(|i| !matches!(i.kind, InstructionKind::From(_))).count();
                sections.push(Section { from, body: &tail[..length] });
                rest = &tail[length..];
                continue;
            }
            InstructionKind::Arg(args) => global.push(&args[..]),
            other => {
                let message = format!("{} stands before the first FROM", other.name());
                return Err(LowerError::new(message, first.span).hint("only ARG may stand there"));
            }
        }
        rest = tail;
    }
    if sections.is_empty() {
        return Err(LowerError::new("the Dockerfile has no FROM", None).hint("begin with `FROM image`"));
    }
    Ok((global, sections))
}

/// The most ONBUILD instructions that all stages of a file take over from their bases. Many stages of one base with many of them multiply.
const MAX_TRIGGERS: usize = 100_000;

/// The place of a node in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// All nodes.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    /// How many of them are stages of the file.
    pub(crate) stages: usize,
    names: HashMap<String, NodeId>,
    images: HashMap<String, NodeId>,
    /// How many commands are triggers of bases.
    triggers: usize,
    /// Whether some RUN has a mount: BuildKit then counts one node more, and so names the only stage.
    mounts: bool,
}

/// A stage, or an image that is only copied from or mounted.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) kind: NodeKind,
    /// The stage's name in lower case, `stage-N` without one; the name of an image.
    pub(crate) name: String,
    pub(crate) base: Base,
    /// What it is for, if `--platform` says so.
    pub(crate) platform: Option<Platform>,
    /// Where its base is named.
    pub(crate) span: Span,
    pub(crate) commands: Vec<Command<'a>>,
    pub(crate) use_cache: bool,
    /// Whether the triggers of its base were put before its commands.
    triggered: bool,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// A stage that is built.
    Stage,
    /// A stage in whose place a named context is taken.
    Replaced,
    /// Not a stage.
    Image,
}

/// What a node starts from.
#[derive(Debug)]
pub(crate) enum Base {
    /// A stage further up.
    Node(NodeId),
    /// Something from outside, by the name that the file has for it; what that is becomes known when it is needed.
    Outside(String, Option<Origin>),
}

/// An instruction of a stage.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    pub(crate) instruction: Cow<'a, Instruction>,
    /// The node that `COPY --from` names, or that the `from` of each mount names.
    pub(crate) sources: Vec<Option<NodeId>>,
    /// Whether it is a trigger of the base.
    pub(crate) onbuild: bool,
    /// What to point at, where that is not the instruction itself: the FROM that brought a trigger in.
    pub(crate) place: Option<Span>,
}

impl Node<'_> {
    /// How many steps progress counts.
    pub(crate) fn steps(&self) -> usize {
        let from = matches!(&self.base, Base::Outside(name, _) if name != "scratch");
        let makes_layer = |command: &&Command<'_>| {
            use InstructionKind::{Add, Copy, Run, Workdir};
            matches!(command.instruction.kind, Add(_) | Copy(_) | Run(_) | Workdir(_))
        };
        usize::from(from) + self.commands.iter().filter(makes_layer).count()
    }
}

impl<'a> Plan<'a> {
    /// Reads the stages: names, bases and platforms, with the global arguments put in.
    ///
    /// # Errors
    /// A base or a platform that cannot be expanded or comes out empty or malformed.
    pub(crate) fn new(
        sections: &[Section<'a>],
        options: &Options,
        globals: &Env,
        escape: char,
        contexts: &Contexts<'_>,
    ) -> Result<Self, LowerError> {
        let mut plan = Self {
            nodes: Vec::new(),
            stages: sections.len(),
            names: HashMap::new(),
            images: HashMap::new(),
            triggers: 0,
            mounts: false,
        };
        for (index, Section { from, body }) in sections.iter().enumerate() {
            let name = base_name(from, globals, escape)?;
            let platform = from.platform.as_ref().map(|word| platform(word, globals, escape)).transpose()?;
            let alias = from.stage_name();
            let shown = alias.clone().unwrap_or_else(|| format!("stage-{index}"));
            let mut node = Node {
                kind: NodeKind::Stage,
                base: match plan.names.get(&name.to_lowercase()) {
                    Some(&node) => Base::Node(node),
                    None => Base::Outside(name, None),
                },
                use_cache: match &options.no_cache {
                    NoCache::No => true,
                    NoCache::All => false,
                    NoCache::Stages(names) => !names.iter().any(|name| name.eq_ignore_ascii_case(&shown)),
                },
                name: shown,
                platform,
                span: from.image.span,
                commands: body.iter().map(|i| Command::of(Cow::Borrowed(i))).collect(),
                triggered: false,
            };
            if let Some(alias) = alias {
                let for_platform = node.platform.as_ref().unwrap_or(&options.platform);
                if let Some(origin) = contexts.find(&alias, for_platform)? {
                    node.kind = NodeKind::Replaced;
                    node.base = Base::Outside(alias.clone(), Some(origin));
                    node.commands.clear();
                }
                plan.names.insert(alias, NodeId(index));
            }
            plan.nodes.push(node);
        }
        Ok(plan)
    }

    /// Stages that are to run again and that don't exist, of which BuildKit says nothing.
    pub(crate) fn unknown_filters(&self, options: &Options) -> Option<Warning> {
        let NoCache::Stages(names) = &options.no_cache else { return None };
        let known = |name: &String| self.nodes[..self.stages].iter().any(|node| node.name.eq_ignore_ascii_case(name));
        let unknown: Vec<_> = names.iter().filter(|name| !known(name)).map(|name| format!("`{name}`")).collect();
        (!unknown.is_empty()).then(|| Warning {
            message: format!("there is no stage {} to run again", unknown.join(" or ")),
            span: None,
        })
    }

    /// The stage to build.
    ///
    /// # Errors
    /// A name that no stage has.
    pub(crate) fn target(&self, name: Option<&str>) -> Result<NodeId, LowerError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(NodeId(self.stages - 1)) };
        if let Some(&node) = self.names.get(&name.to_lowercase()) {
            return Ok(node);
        }
        if let Some(index) = name.parse().ok().filter(|index| *index < self.stages) {
            return Ok(NodeId(index));
        }
        let error = LowerError::new(format!("target stage `{name}` is not in the Dockerfile"), None);
        let names: Vec<&str> = self.stage_names().collect();
        let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(error.hint(format!("its stages are {list}")).suggest(name, names))
    }

    /// The names of all stages, `stage-N` for those without one.
    pub(crate) fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.nodes[..self.stages].iter().map(|node| node.name.as_str())
    }

    /// Whether progress names stages: not when there is only one.
    pub(crate) fn shows_names(&self) -> bool {
        self.nodes.len() > 1 || self.mounts
    }

    /// Finds what `COPY --from` and mounts name.
    ///
    /// # Errors
    /// A variable in such a name, a number that no stage has, or stages that need each other in a circle.
    pub(crate) fn link(&mut self) -> Result<(), LowerError> {
        for index in 0..self.stages {
            let mut commands = std::mem::take(&mut self.nodes[index].commands);
            let linked = commands.iter_mut().try_for_each(|command| self.link_command(command));
            self.nodes[index].commands = commands;
            linked?;
        }
        self.refuse_circles()
    }

    fn link_command(&mut self, command: &mut Command<'_>) -> Result<(), LowerError> {
        match &command.instruction.kind {
            InstructionKind::Copy(copy) => {
                if let Some(from) = &copy.from {
                    command.sources = vec![Some(self.copy_source(from)?)];
                }
            }
            InstructionKind::Run(run) => {
                self.mounts |= !run.mounts.is_empty();
                command.sources = self.mount_sources(run)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn copy_source(&mut self, from: &Word) -> Result<NodeId, LowerError> {
        refuse_variables(from, "--from")?;
        match from.text.parse::<i64>() {
            Ok(number) => {
                usize::try_from(number).ok().filter(|index| *index < self.stages).map(NodeId).ok_or_else(|| {
                    LowerError::new(format!("there is no stage {number}"), from.span)
                        .hint(format!("stages are counted from 0; the last one is {}", self.stages - 1))
                })
            }
            Err(_) => Ok(self.named(from)),
        }
    }

    fn mount_sources(&mut self, run: &Run) -> Result<Vec<Option<NodeId>>, LowerError> {
        let mut sources = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            let from = mount.fields.iter().rev().find(|(key, _)| key.value == "from");
            let word = from.and_then(|(_, value)| value.as_ref()).filter(|word| !word.text.is_empty());
            sources.push(match word {
                Some(word) => {
                    refuse_variables(word, "from")?;
                    Some(self.named(word))
                }
                None => None,
            });
        }
        Ok(sources)
    }

    /// The stage of a name, or a node for the image or context of that name.
    fn named(&mut self, word: &Word) -> NodeId {
        if let Some(&node) = self.names.get(&word.text.to_lowercase()) {
            return node;
        }
        if let Some(&node) = self.images.get(&word.text) {
            return node;
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            kind: NodeKind::Image,
            name: word.text.clone(),
            base: Base::Outside(word.text.clone(), None),
            platform: None,
            span: word.span,
            commands: Vec::new(),
            use_cache: true,
            triggered: true,
        });
        self.images.insert(word.text.clone(), id);
        id
    }

    /// The nodes that a node needs, with the instruction that says so (none for its base).
    fn needs(&self, node: NodeId) -> impl Iterator<Item = (NodeId, Option<&Command<'a>>)> {
        let node = &self.nodes[node.0];
        let base = match node.base {
            Base::Node(base) => Some((base, None)),
            Base::Outside(..) => None,
        };
        let sources = node
            .commands
            .iter()
            .flat_map(|command| command.sources.iter().flatten().map(move |source| (*source, Some(command))));
        base.into_iter().chain(sources)
    }

    fn refuse_circles(&self) -> Result<(), LowerError> {
        for index in 0..self.stages {
            let node = NodeId(index);
            for (source, command) in self.needs(node) {
                // A circle holds at least one step that does not lead up the file.
                let Some(command) = command.filter(|_| source >= node && source.0 < self.stages) else { continue };
                if !self.reachable(source)[index] {
                    continue;
                }
                let (name, other) = (&self.nodes[index].name, &self.nodes[source.0].name);
                let message = if source == node {
                    format!("stage `{name}` needs itself")
                } else {
                    format!("stages `{name}` and `{other}` need each other")
                };
                return Err(
                    LowerError::new(message, command.span()).hint("a stage can only use stages that stand before it")
                );
            }
        }
        Ok(())
    }

    /// Which nodes a node needs, itself included.
    pub(crate) fn reachable(&self, target: NodeId) -> Vec<bool> {
        self.reachable_from(vec![target])
    }

    /// How many of the stages `reached` begin with each node.
    pub(crate) fn followers(&self, reached: &[bool]) -> Vec<usize> {
        let mut followers = vec![0; self.nodes.len()];
        for (node, _) in self.nodes.iter().zip(reached).filter(|(_, reached)| **reached) {
            if let Base::Node(base) = node.base {
                followers[base.0] += 1;
            }
        }
        followers
    }

    /// The stages that are images people may build: the target, and those that no other stage uses. One that ends by
    /// running something on top of another stage, without a program to start, is a test of that, and no image.
    pub(crate) fn images(&self, target: NodeId, reached: &[bool]) -> impl Iterator<Item = NodeId> {
        let mut used = vec![false; self.nodes.len()];
        let stages = (0..self.stages).filter(|index| reached[*index]).map(NodeId);
        for (need, _) in stages.clone().flat_map(|node| self.needs(node)) {
            used[need.0] = true;
        }
        stages.filter(move |&node| node == target || (!used[node.0] && !self.is_check(node)))
    }

    fn is_check(&self, node: NodeId) -> bool {
        use InstructionKind::{Cmd, Entrypoint, Run};
        let node = &self.nodes[node.0];
        let starts = |command: &Command<'_>| matches!(command.instruction.kind, Cmd(_) | Entrypoint(_));
        // A program to start may come from any stage below.
        let mut below = node;
        while let Base::Node(base) = below.base {
            below = &self.nodes[base.0];
            if below.commands.iter().any(starts) {
                return false;
            }
        }
        let runs = |command: &Command<'_>| matches!(command.instruction.kind, Run(_));
        matches!(node.base, Base::Node(_))
            && node.commands.last().is_some_and(runs)
            && !node.commands.iter().any(starts)
    }

    /// Which nodes the stages of the file need, themselves included.
    pub(crate) fn reachable_from_all(&self) -> Vec<bool> {
        self.reachable_from((0..self.stages).map(NodeId).collect())
    }

    fn reachable_from(&self, mut open: Vec<NodeId>) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        for node in &open {
            reached[node.0] = true;
        }
        while let Some(node) = open.pop() {
            for (need, _) in self.needs(node) {
                if !std::mem::replace(&mut reached[need.0], true) {
                    open.push(need);
                }
            }
        }
        reached
    }

    /// Finds out what the reachable nodes start from, and which images that takes.
    ///
    /// # Errors
    /// A name that is neither a stage's, nor a context's, nor an image's.
    pub(crate) fn outside(
        &mut self,
        reached: &[bool],
        contexts: &Contexts<'_>,
        options: &Options,
    ) -> Result<Vec<Wanted>, LowerError> {
        let names: Vec<String> = self.stage_names().map(str::to_owned).collect();
        let mut wanted = Vec::new();
        for (node, _) in self.nodes.iter_mut().zip(reached).filter(|(_, reached)| **reached) {
            let Base::Outside(name, origin) = &mut node.base else { continue };
            if origin.is_none() {
                let platform = node.platform.as_ref().unwrap_or(&options.platform);
                let names = names.iter().map(String::as_str);
                *origin = Some(contexts.origin(name, platform, node.span, names)?);
            }
            if let Some(Origin::Image(request)) = origin {
                wanted.push(Wanted { request: request.clone(), written: name.clone(), span: node.span });
            }
        }
        Ok(wanted)
    }

    /// Puts the triggers of bases before the commands of the stages that use them; says whether there were any.
    ///
    /// # Errors
    /// A trigger of an image that is not one instruction, or one that may not be a trigger; more triggers than anybody means.
    pub(crate) fn trigger(&mut self, reached: &[bool], images: &Images) -> Result<bool, LowerError> {
        let mut any = false;
        let stages = reached.iter().enumerate().take(self.stages).filter(|(_, reached)| **reached);
        for (index, _) in stages {
            let node = &self.nodes[index];
            if node.triggered || node.kind != NodeKind::Stage {
                continue;
            }
            let mut commands = match &node.base {
                Base::Node(base) => crate::onbuild::of_stage(&self.nodes[base.0].commands, node.span)?,
                Base::Outside(_, Some(Origin::Image(request))) => match images.get(request) {
                    Some(image) => crate::onbuild::of_image(&image.config.config.on_build, node.span)?,
                    None => Vec::new(),
                },
                Base::Outside(..) => Vec::new(),
            };
            any |= !commands.is_empty();
            self.triggers += commands.len();
            if self.triggers > MAX_TRIGGERS {
                let message = format!("the triggers of all base images come to more than {MAX_TRIGGERS} instructions");
                return Err(LowerError::new(message, node.span));
            }
            for command in &mut commands {
                let place = command.place;
                self.link_command(command).map_err(|error| match place {
                    Some(place) => error.at(place),
                    None => error,
                })?;
            }
            let node = &mut self.nodes[index];
            node.triggered = true;
            commands.append(&mut node.commands);
            node.commands = commands;
        }
        if any {
            self.refuse_circles()?;
        }
        Ok(any)
    }
}

impl<'a> Command<'a> {
    pub(crate) fn of(instruction: Cow<'a, Instruction>) -> Self {
        Self { instruction, sources: Vec::new(), onbuild: false, place: None }
    }

    /// What to point at when something is wrong with it.
    pub(crate) fn span(&self) -> Span {
        self.place.unwrap_or(self.instruction.span)
    }
}

fn base_name(from: &From, globals: &Env, escape: char) -> Result<String, LowerError> {
    let expanded = expand_all(&from.image, escape, globals)?;
    if !expanded.text.is_empty() {
        return Ok(expanded.text);
    }
    let error = LowerError::new(format!("the base image `{}` is empty", from.image.text), from.image.span);
    Err(match expanded.unset.first() {
        Some(unset) => unset_hint(error, &unset.name, globals),
        None => error,
    })
}

fn platform(word: &Word, globals: &Env, escape: char) -> Result<Platform, LowerError> {
    let expanded = expand_all(word, escape, globals)?;
    let fail = |message: String| {
        let error = LowerError::new(message, word.span);
        match expanded.unset.first() {
            Some(unset) => unset_hint(error, &unset.name, globals),
            None => error.hint("a platform is `os/architecture[/variant]`, for example `linux/arm64`"),
        }
    };
    if expanded.text.is_empty() {
        return Err(fail(format!("the platform `{}` is empty", word.text)));
    }
    match expanded.text.parse() {
        // For the command line, `local` is this machine; in a Dockerfile it names nothing, as in BuildKit.
        Ok(platform) if !expanded.text.eq_ignore_ascii_case("local") => Ok(platform),
        _ => Err(fail(format!("`{}` is not a platform", expanded.text))),
    }
}

fn unset_hint(error: LowerError, name: &str, globals: &Env) -> LowerError {
    let hint =
        format!("`{name}` is not set; FROM sees only the ARGs before the first FROM, and `--build-arg` for these");
    error.hint(hint).suggest(name, globals.names())
}

/// Names of sources are not expanded: which stages are needed must be known before any stage is.
fn refuse_variables(word: &Word, what: &str) -> Result<(), LowerError> {
    let expanded = expand(word, '\\', &Env::default());
    if expanded.is_ok_and(|text| text == word.text) {
        return Ok(());
    }
    Err(LowerError::new(format!("variables are not expanded in `{what}`"), word.span)
        .hint("give the image a stage of its own, with an ARG before the first FROM: `FROM $IMAGE AS name`"))
}
