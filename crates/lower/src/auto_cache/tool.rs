//! What a rule is: how a tool is recognised in a command, and which directories it then keeps what in.
//!
//! A rule only says what its tool does. Whether a step may get a cache is `policy`'s to decide. A directory that is guessed wrong
//! costs nothing: the mount then stands where nobody looks.

use super::shell::{Command, Surroundings, Value, Word};
use kiln_graph::{CacheDirectory, CachePurpose, CacheSharing};

/// A tool that is recognised.
pub(crate) struct Tool {
    /// Its name, in documentation and ids.
    pub(crate) name: &'static str,
    /// The programs that are looked for.
    pub(crate) programs: &'static [&'static str],
    /// The variables that say where its caches are. Their values are no sign that a step reads them.
    pub(crate) variables: &'static [&'static str],
    /// What documentation lists.
    pub(crate) directories: &'static [Documented],
    /// What else is to be known of it, in sentences.
    pub(crate) notes: &'static str,
    /// What one of its programs does in a command; `None` if that is nothing of this rule's.
    pub(crate) recognise: fn(&Command, &Place<'_>) -> Option<Use>,
}

/// What people are told of a directory that a rule knows, in Markdown.
#[derive(Debug, Clone, Copy)]
pub struct Documented {
    /// The commands that get it.
    pub commands: &'static str,
    /// Where it is looked for.
    pub directory: &'static str,
    /// What it is to later steps: `pure` or `output`.
    pub purpose: &'static str,
    /// What happens when two steps want it at once: `shared` or `locked`.
    pub sharing: &'static str,
    /// What the steps that share it have in common.
    pub shared_by: &'static str,
}

/// What people are told of a rule.
#[derive(Debug, Clone, Copy)]
pub struct AutoCacheRule {
    /// The tool.
    pub name: &'static str,
    /// Its directories.
    pub directories: &'static [Documented],
    /// What else is to be known of it, in sentences.
    pub notes: &'static str,
}

/// The rules, as documentation lists them.
pub fn rules() -> impl Iterator<Item = AutoCacheRule> {
    TOOLS.iter().map(|tool| AutoCacheRule { name: tool.name, directories: tool.directories, notes: tool.notes })
}

/// All rules, in the order of the documentation.
pub(crate) const TOOLS: &[&Tool] = &[&super::go::GO];

/// Whether some rule looks for a program of this name.
pub(crate) fn is_program(name: &str) -> bool {
    TOOLS.iter().any(|tool| tool.programs.contains(&name))
}

/// Where a command runs, beyond its own environment.
pub(crate) struct Place<'a> {
    pub(crate) around: &'a Surroundings<'a>,
    /// The image that the stage began with, without its digest: tools and libraries of one base fit together.
    pub(crate) base: &'a str,
    /// What the step runs on.
    pub(crate) platform: &'a str,
}

/// A command of a tool.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// What people call it: `go build`.
    pub(crate) label: String,
    /// Where the tool then keeps something.
    pub(crate) caches: Vec<Cache>,
    /// Whether it has to find what an earlier step downloaded, because it may not download anything itself.
    pub(crate) offline: bool,
    /// Whether it empties the tool's caches.
    pub(crate) clears: bool,
    /// Whether it prints where they are, or what is in them.
    pub(crate) asks: bool,
}

impl Use {
    /// A command that keeps nothing.
    pub(crate) fn nothing() -> Option<Self> {
        Some(Self::default())
    }

    /// A command that empties the tool's caches.
    pub(crate) fn clearing() -> Option<Self> {
        Some(Self { clears: true, ..Self::default() })
    }

    /// A command that tells of the tool's caches.
    pub(crate) fn asking() -> Option<Self> {
        Some(Self { asks: true, ..Self::default() })
    }
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the tool can make again from the step's own files.
    Made,
    /// What it can only download again.
    Downloaded,
    /// What it can only download again, and looks at whenever it runs.
    Needed,
}

/// A directory in which a tool keeps something.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    pub(crate) directory: CacheDirectory,
    pub(crate) id: String,
    pub(crate) sharing: CacheSharing,
    pub(crate) purpose: CachePurpose,
    pub(crate) kind: Kind,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) requires: Option<String>,
    /// The directories that the tool leaves alone because of it; the directory itself if empty.
    pub(crate) instead_of: Vec<CacheDirectory>,
}

impl Cache {
    /// A pure cache that steps share.
    pub(crate) fn pure(directory: CacheDirectory, id: String, kind: Kind) -> Self {
        Self {
            directory,
            id,
            sharing: CacheSharing::Shared,
            purpose: CachePurpose::Pure,
            kind,
            env: Vec::new(),
            files: Vec::new(),
            requires: None,
            instead_of: Vec::new(),
        }
    }

    /// What later steps read: it starts as what the last run of the same step left there.
    pub(crate) fn output(directory: CacheDirectory, name: &str) -> Self {
        Self { purpose: CachePurpose::Output, ..Self::pure(directory, name.to_owned(), Kind::Downloaded) }
    }

    /// The directories in which the tool leaves nothing because of it.
    pub(crate) fn covers(&self) -> &[CacheDirectory] {
        if self.instead_of.is_empty() { std::slice::from_ref(&self.directory) } else { &self.instead_of }
    }
}

impl Place<'_> {
    /// The id of a cache that all steps share.
    pub(crate) fn everywhere(&self, name: &str) -> String {
        name.to_owned()
    }

    /// The id of a cache that steps on one base image share: what is in it fits the base's libraries.
    pub(crate) fn on_base(&self, name: &str) -> String {
        format!("{name}/{}/{}", self.base, self.platform)
    }

    /// A directory below the home of whoever runs the command.
    pub(crate) fn home(&self, command: &Command, below: &str) -> Option<CacheDirectory> {
        match command.variable("HOME", self.around) {
            Value::Known(home) => command.directory(&format!("{home}/{below}")),
            Value::Unset | Value::Unknown => None,
        }
    }

    /// A directory below `$XDG_CACHE_HOME`, else `~/.cache`.
    pub(crate) fn xdg_cache(&self, command: &Command, below: &str) -> Option<CacheDirectory> {
        match command.variable("XDG_CACHE_HOME", self.around) {
            Value::Known(text) if !text.is_empty() => command.directory(&format!("{text}/{below}")),
            Value::Known(_) | Value::Unset => self.home(command, &format!(".cache/{below}")),
            Value::Unknown => None,
        }
    }
}

/// Whether one of the flags is given, or may be.
pub(crate) fn has_flag(args: &[Word], names: &[&str]) -> bool {
    args.iter().any(|word| {
        let name = word.text.split('=').next().unwrap_or_default();
        names.contains(&name) || (!word.known && word.text.is_empty())
    })
}

/// The first word that is no option: the subcommand. Options of `valued` take the next word with them.
pub(crate) fn subcommand<'c>(args: &'c [Word], valued: &[&str]) -> Option<(&'c str, &'c [Word])> {
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let text = word.get()?;
        if !text.starts_with(['-', '+']) {
            return Some((text, &args[at + 1..]));
        }
        at += if valued.contains(&text) { 2 } else { 1 };
    }
    None
}
