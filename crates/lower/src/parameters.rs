//! What a Dockerfile asks of whoever builds it: arguments, secrets, ssh agents; and the cache mounts that it uses.
//!
//! It is noted while stages are lowered, so that values are those of the build. As in BuildKit, an argument that a stage only
//! takes over from before the first FROM is told with its global definition, and a global one only if a FROM, a stage or another
//! global argument of the ones told uses it.

use crate::env::Env;
use crate::expand::expand_all;
use crate::plan::{Command, Section};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::{Arg, Dockerfile, Instruction, InstructionKind};
use kiln_graph::{Mount, MountKind};
use std::collections::{HashMap, HashSet};

/// What the lowered stages ask for. Each name and id appears once; all lists are in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Arguments.
    pub args: Vec<Argument>,
    /// Secrets of RUN mounts.
    pub secrets: Vec<MountUse>,
    /// Agents of RUN mounts.
    pub ssh: Vec<MountUse>,
    /// Cache mounts.
    pub caches: Vec<MountUse>,
    /// Global arguments that stages take over.
    inherited: HashSet<String>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// The value in this build, if it has one.
    pub value: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// The instruction.
    pub span: Span,
}

/// A secret, an agent or a cache that a RUN mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUse {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it. Never so for caches.
    pub required: bool,
    /// The flag that names it first.
    pub span: Span,
}

/// What the comments above an instruction say of a name: the rest of the line that begins with it.
pub fn description(instruction: &Instruction, name: &str) -> Option<String> {
    let mut lines = instruction.comments.iter();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
}

impl Parameters {
    /// Notes an ARG of a stage. Of several with the same name the last counts, since the target comes last.
    pub(crate) fn arg(&mut self, name: &str, value: Option<&str>, inherited: bool, command: &Command<'_>) {
        if inherited {
            self.inherited.insert(name.to_owned());
            return;
        }
        self.args.push(Argument {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            description: description(&command.instruction, name),
            span: command.span(),
        });
    }

    /// Notes a mount of a RUN.
    pub(crate) fn mount(&mut self, mount: &Mount, span: Span) {
        let (list, id, required) = match &mount.kind {
            MountKind::Secret { id, required, .. } => (&mut self.secrets, id, *required),
            MountKind::Ssh { id, required, .. } => (&mut self.ssh, id, *required),
            MountKind::Cache { id, .. } => (&mut self.caches, id, false),
            _ => return,
        };
        list.push(MountUse { id: id.clone(), required, span });
    }

    /// Adds the global arguments that are used, and puts everything in order.
    pub(crate) fn complete(&mut self, file: &Dockerfile, sections: &[Section<'_>], reached: &[bool], globals: &Env) {
        self.add_globals(file, sections, reached, globals);
        let mut seen = HashSet::new();
        self.args.reverse();
        self.args.retain(|arg| seen.insert(arg.name.clone()));
        self.args.sort_by_key(|arg| arg.span.start);
        for list in [&mut self.secrets, &mut self.ssh, &mut self.caches] {
            let required: HashSet<String> =
                list.iter().filter(|mount| mount.required).map(|mount| mount.id.clone()).collect();
            let mut seen = HashSet::new();
            list.retain(|mount| seen.insert(mount.id.clone()));
            for mount in list.iter_mut() {
                mount.required = required.contains(&mount.id);
            }
            list.sort_by_key(|mount| mount.span.start);
        }
    }

    fn add_globals(&mut self, file: &Dockerfile, sections: &[Section<'_>], reached: &[bool], globals: &Env) {
        let mut declared: HashMap<&str, (&Instruction, &Arg)> = HashMap::new();
        for instruction in &file.instructions {
            match &instruction.kind {
                InstructionKind::Arg(args) => {
                    declared.extend(args.iter().map(|arg| (arg.name.text.as_str(), (instruction, arg))));
                }
                InstructionKind::From(_) => break,
                _ => {}
            }
        }
        if declared.is_empty() {
            return;
        }
        let escape = file.directives.escape;
        // What cannot be expanded has failed the build before.
        let used = |word| expand_all(word, escape, globals).map(|expanded| expanded.used).unwrap_or_default();
        let mut open: Vec<String> = self.inherited.iter().cloned().collect();
        for (section, _) in sections.iter().zip(reached).filter(|(_, reached)| **reached) {
            open.extend(
                [Some(&section.from.image), section.from.platform.as_ref()].into_iter().flatten().flat_map(used),
            );
        }
        // They come first, so that a stage's own ARG of the same name counts.
        let mut found = Vec::new();
        while let Some(name) = open.pop() {
            let Some((instruction, arg)) = declared.remove(name.as_str()) else { continue };
            open.extend(arg.default.iter().flat_map(used));
            found.push(Argument {
                value: globals.get(&name).map(str::to_owned),
                description: description(instruction, &name),
                span: instruction.span,
                name,
            });
        }
        self.args.splice(0..0, found);
    }
}
