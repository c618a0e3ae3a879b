//! Stages, and the variables that each of their instructions sees, for the rules.
//!
//! It follows `ARG` and `ENV` through the stages as a build would, as far as the Dockerfile and the facts tell. Values are cut at
//! a few hundred bytes: rules look at names, paths and ports.

use super::facts::{BaseFacts, Facts};
use crate::ast::{Directives, Dockerfile, From, Heredoc, Instruction, InstructionKind, Word};
use crate::words::{self, ExpandError, Expanded};
use std::collections::HashMap;
use std::rc::Rc;

/// The arguments that every `FROM` may use, with values that they could have.
const PLATFORM_ARGS: &[(&str, &str)] = &[
    ("BUILDPLATFORM", "linux/amd64"),
    ("BUILDOS", "linux"),
    ("BUILDOSVERSION", ""),
    ("BUILDARCH", "amd64"),
    ("BUILDVARIANT", ""),
    ("TARGETPLATFORM", "linux/amd64"),
    ("TARGETOS", "linux"),
    ("TARGETOSVERSION", ""),
    ("TARGETARCH", "amd64"),
    ("TARGETVARIANT", ""),
    ("TARGETSTAGE", "default"),
];

const MAX_VALUE: usize = 256;

/// The variables over the course of a stage: for each name the values it takes, and from which instruction on.
#[derive(Default)]
struct Variables {
    values: HashMap<String, Vec<(usize, Option<String>)>>,
}

impl Variables {
    fn set(&mut self, from: usize, name: &str, value: Option<String>) {
        let value = value.map(|mut value| {
            value.truncate(value.floor_char_boundary(MAX_VALUE));
            value
        });
        self.values.entry(name.to_owned()).or_default().push((from, value));
    }

    /// The value before the instruction at `at`; the outer `None` when the name was never declared.
    fn get(&self, at: usize, name: &str) -> Option<Option<&str>> {
        let values = self.values.get(name)?;
        let index = values.partition_point(|(from, _)| *from <= at);
        Some(values.get(index.checked_sub(1)?)?.1.as_deref())
    }
}

/// A Dockerfile's stages.
pub(super) struct Scope<'a> {
    pub(super) facts: &'a Facts<'a>,
    /// All instructions, those before the first `FROM` too.
    pub(super) instructions: &'a [Instruction],
    pub(super) stages: Vec<Stage<'a>>,
    pub(super) directives: &'a Directives,
    /// The arguments before the first `FROM`.
    global: Variables,
    /// The same, as if no build argument were given.
    global_defaults: Variables,
    /// The last stage of each name.
    by_name: HashMap<String, usize>,
    /// The variables of base images, by the address of their facts: stages of one image share both.
    images: HashMap<*const [(String, String)], Rc<Variables>>,
}

/// A stage: its `FROM` and what follows it.
pub(super) struct Stage<'a> {
    pub(super) from: &'a From,
    /// The `FROM` itself.
    pub(super) instruction: &'a Instruction,
    /// The instructions after it.
    pub(super) body: &'a [Instruction],
    pub(super) skipped: bool,
    pub(super) facts: Option<&'a BaseFacts>,
    /// The earlier stage that this one begins with.
    pub(super) base: Option<usize>,
    /// Whether all variables that it begins with are known.
    pub(super) complete: bool,
    /// Those of its base image, if it does not begin with an earlier stage.
    image: Option<Rc<Variables>>,
    variables: Variables,
}

impl<'a> Scope<'a> {
    pub(super) fn new(dockerfile: &'a Dockerfile, facts: &'a Facts<'a>) -> Self {
        let escape = dockerfile.directives.escape;
        let mut scope = Self {
            facts,
            instructions: &dockerfile.instructions,
            stages: Vec::new(),
            directives: &dockerfile.directives,
            global: Variables::default(),
            global_defaults: Variables::default(),
            by_name: HashMap::new(),
            images: HashMap::new(),
        };
        let all = &dockerfile.instructions;
        let is_from = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::From(_));
        let head = all.iter().position(is_from).unwrap_or(all.len());
        scope.global = global(&all[..head], escape, &facts.build_args);
        scope.global_defaults = global(&all[..head], escape, &[]);
        let mut rest = &all[head..];
        while let [instruction, after @ ..] = rest {
            let end = after.iter().position(is_from).unwrap_or(after.len());
            let (body, next) = after.split_at(end);
            if let InstructionKind::From(from) = &instruction.kind {
                scope.add_stage(instruction, from, body);
            }
            rest = next;
        }
        scope
    }

    fn add_stage(&mut self, instruction: &'a Instruction, from: &'a From, body: &'a [Instruction]) {
        let image = self.global(&from.image).map(|expanded| expanded.text).unwrap_or_default();
        let base = self.by_name.get(&image.to_lowercase()).copied();
        let facts = self.facts.stages.get(self.stages.len());
        let base_facts = facts.and_then(|facts| facts.base.as_ref());
        let complete = match base {
            Some(base) => self.stages[base].complete,
            None => base_facts.is_some() || image == "scratch",
        };
        let mut stage = Stage {
            from,
            instruction,
            body,
            skipped: facts.is_some_and(|facts| facts.skipped),
            facts: base_facts,
            base,
            complete,
            image: base.is_none().then(|| self.image(base_facts)),
            variables: Variables::default(),
        };
        for (at, instruction) in body.iter().enumerate() {
            self.follow(&mut stage, at, &instruction.kind);
        }
        if let Some(name) = from.stage_name() {
            self.by_name.insert(name, self.stages.len());
        }
        self.stages.push(stage);
    }

    /// The variables of a base image, or of none.
    fn image(&mut self, facts: Option<&BaseFacts>) -> Rc<Variables> {
        let env = facts.map_or(&[][..], |facts| &*facts.env);
        let image = self.images.entry(std::ptr::from_ref(env)).or_insert_with(|| {
            let mut variables = Variables::default();
            // The program search path is always set.
            let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            variables.set(0, "PATH", Some(path.to_owned()));
            for (name, value) in env {
                variables.set(0, name, Some(value.clone()));
            }
            Rc::new(variables)
        });
        Rc::clone(image)
    }

    /// Applies one instruction to the variables.
    fn follow(&self, stage: &mut Stage<'a>, at: usize, kind: &InstructionKind) {
        let expand = |stage: &Stage<'a>, word: &Word| {
            self.expand(stage, at, word).map(|expanded| expanded.text).unwrap_or_default()
        };
        let mut set = Vec::new();
        match kind {
            InstructionKind::Env(pairs) => {
                for (name, value) in &pairs.pairs {
                    set.push((expand(stage, name), Some(expand(stage, value))));
                }
            }
            InstructionKind::Arg(args) => {
                for arg in args {
                    let name = expand(stage, &arg.name);
                    let given = find(&self.facts.build_args, &name).map(str::to_owned);
                    let inherited = || self.global.get(0, &name).flatten().map(str::to_owned);
                    let value = given
                        .or_else(|| arg.default.as_ref().map(|default| expand(stage, default)))
                        .or_else(inherited)
                        .or_else(|| platform_arg(&name).map(str::to_owned));
                    // An argument without a value does not hide what is set already.
                    let value = value.or_else(|| self.value(stage, at, &name).flatten().map(str::to_owned));
                    set.push((name, value));
                }
            }
            _ => {}
        }
        for (name, value) in set {
            stage.variables.set(at + 1, &name, value);
        }
    }

    /// Expands a word of a `FROM`.
    pub(super) fn global(&self, word: &Word) -> Result<Expanded, ExpandError> {
        self.expand_global(&self.global, word)
    }

    /// Expands a word of a `FROM` as if no build argument were given.
    pub(super) fn global_default(&self, word: &Word) -> Result<Expanded, ExpandError> {
        self.expand_global(&self.global_defaults, word)
    }

    fn expand_global(&self, variables: &Variables, word: &Word) -> Result<Expanded, ExpandError> {
        words::expand(&word.text, self.directives.escape, &|name| {
            let value = variables.get(0, name).flatten().map(str::to_owned);
            value.or_else(|| platform_arg(name).map(str::to_owned))
        })
    }

    /// Whether a name is declared before the first `FROM`, or predefined.
    pub(super) fn is_global(&self, name: &str) -> bool {
        platform_arg(name).is_some() || self.global.get(0, name).is_some()
    }

    /// All names that a `FROM` may use.
    pub(super) fn global_names(&self) -> impl Iterator<Item = &str> {
        PLATFORM_ARGS.iter().map(|(name, _)| *name).chain(self.global.values.keys().map(String::as_str))
    }

    /// The stages whose instructions are looked at, with their instructions.
    pub(super) fn built(&self) -> impl Iterator<Item = &Stage<'a>> {
        self.stages.iter().filter(|stage| !stage.skipped)
    }

    /// Expands a word of the instruction at `at` in a stage's body.
    pub(super) fn expand(&self, stage: &Stage<'a>, at: usize, word: &Word) -> Result<Expanded, ExpandError> {
        words::expand(&word.text, self.directives.escape, &|name| {
            self.value(stage, at, name).flatten().map(str::to_owned)
        })
    }

    /// Expands a heredoc of the instruction at `at` in a stage's body.
    pub(super) fn expand_heredoc(
        &self,
        stage: &Stage<'a>,
        at: usize,
        heredoc: &Heredoc,
    ) -> Result<Expanded, ExpandError> {
        words::expand_heredoc(&heredoc.text(), &|name| self.value(stage, at, name).flatten().map(str::to_owned))
    }

    /// The value of a variable before the instruction at `at`; the outer `None` when it was never declared.
    fn value<'s>(&'s self, stage: &'s Stage<'a>, at: usize, name: &str) -> Option<Option<&'s str>> {
        self.chain(stage, at).find_map(|(variables, at)| variables.get(at, name))
    }

    /// Whether a variable is declared before the instruction at `at`, be it without a value.
    pub(super) fn is_declared(&self, stage: &Stage<'a>, at: usize, name: &str) -> bool {
        self.value(stage, at, name).is_some()
    }

    /// Names of variables that have a value before the instruction at `at`; the nearest few hundred, for suggestions.
    pub(super) fn names<'s>(&'s self, stage: &'s Stage<'a>, at: usize) -> impl Iterator<Item = &'s str> {
        self.chain(stage, at)
            .flat_map(|(variables, at)| variables.values.keys().map(move |name| (variables, at, name.as_str())))
            .filter(|(variables, at, name)| variables.get(*at, name).flatten().is_some())
            .map(|(_, _, name)| name)
            .take(500)
    }

    /// The variables of the stage, then of those that it begins with, then of their base image.
    fn chain<'s>(&'s self, stage: &'s Stage<'a>, at: usize) -> impl Iterator<Item = (&'s Variables, usize)> {
        let base = |(stage, _): &(&'s Stage<'a>, usize)| stage.base.map(|base| (&self.stages[base], usize::MAX));
        std::iter::successors(Some((stage, at)), base)
            .flat_map(|(stage, at)| [Some((&stage.variables, at)), stage.image.as_deref().map(|image| (image, at))])
            .flatten()
    }
}

/// The arguments before the first `FROM`; each sees those before it.
fn global(instructions: &[Instruction], escape: char, build_args: &[(String, String)]) -> Variables {
    let mut variables = Variables::default();
    for instruction in instructions {
        let InstructionKind::Arg(args) = &instruction.kind else { continue };
        for arg in args {
            let name = arg.name.text.as_str();
            let default = arg.default.as_ref().map(|default| {
                words::expand(&default.text, escape, &|name| variables.get(0, name).flatten().map(str::to_owned))
                    .map(|expanded| expanded.text)
                    .unwrap_or_default()
            });
            let value = find(build_args, name).map(str::to_owned).or(default);
            variables.values.remove(name);
            variables.set(0, name, value);
        }
    }
    variables
}

fn find<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The value of a predefined argument.
pub(super) fn platform_arg(name: &str) -> Option<&'static str> {
    PLATFORM_ARGS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}
