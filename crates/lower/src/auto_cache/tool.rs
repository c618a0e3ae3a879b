//! What a rule is: how a tool is recognised in a command, and which directories it then keeps what in.
//!
//! A rule only says what its tool does. Whether a step may get a cache is `policy`'s to decide. A directory that is guessed wrong
//! costs nothing: the mount then stands where nobody looks.

use super::candidate::fingerprint;
use super::mentions::Location;
use super::shell::{Command, Surroundings, Value, Word};
use kiln_graph::{CacheDirectory, CachePurpose, CacheSharing, Unseen};

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
pub(crate) const TOOLS: &[&Tool] = &[
    &super::go::GO,
    &super::cargo::CARGO,
    &super::npm::NPM,
    &super::pnpm::PNPM,
    &super::yarn::YARN,
    &super::bun::BUN,
    &super::pip::PIP,
    &super::uv::UV,
    &super::poetry::POETRY,
    &super::apt::APT,
    &super::apk::APK,
    &super::dnf::DNF,
    &super::maven::MAVEN,
    &super::gradle::GRADLE,
    &super::ccache::CCACHE,
    &super::composer::COMPOSER,
    &super::bundler::BUNDLER,
    &super::nuget::NUGET,
];

/// Whether some rule looks for a program of this name.
pub(crate) fn is_program(name: &str) -> bool {
    let plain = without_version(name);
    // Shorter and longer words are the most of any text.
    (2..=13).contains(&plain.len()) && TOOLS.iter().any(|tool| tool.programs.contains(&plain))
}

/// The name without the version that some programs carry: `pip3.12` is `pip`.
pub(crate) fn without_version(name: &str) -> &str {
    name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '.')
}

/// Where a command runs, beyond its own environment.
pub(crate) struct Place<'a> {
    pub(crate) around: &'a Surroundings<'a>,
    /// The image that the stage began with, without its digest: tools and libraries of one base fit together.
    pub(crate) base: &'a str,
    /// What the step runs on.
    pub(crate) platform: &'a str,
    /// Tells stages apart in which different packages of the system were installed; empty without any.
    pub(crate) system: &'a str,
    /// Whether the step's user is root.
    pub(crate) is_root: bool,
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
    /// What it empties.
    pub(crate) clears: Clears,
    /// What it has to do with the index of packages that the tool keeps.
    pub(crate) index: Index,
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
        Some(Self { clears: Clears::Everything, ..Self::default() })
    }

    /// A command that tells of the tool's caches.
    pub(crate) fn asking() -> Option<Self> {
        Some(Self { asks: true, ..Self::default() })
    }
}

/// What a command empties.
#[derive(Debug, Default)]
pub(crate) enum Clears {
    #[default]
    Nothing,
    /// All that the tool keeps.
    Everything,
    /// One of its directories, by its path.
    This(&'static str),
}

/// What a command has to do with an index that must have been fetched before anything can be installed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Index {
    #[default]
    None,
    /// It fetches it.
    Fetches,
    /// It reads what was fetched before.
    Reads,
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
    /// An index that another command of the tool must have fetched.
    Index,
}

/// A directory in which a tool keeps something.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    pub(crate) directory: CacheDirectory,
    pub(crate) id: String,
    pub(crate) sharing: CacheSharing,
    pub(crate) purpose: CachePurpose,
    pub(crate) kind: Kind,
    /// What else the step gets with it, given the directory, and whether the root has the file of [`Self::emptied_by`].
    pub(crate) setup: Option<fn(&CacheDirectory, bool) -> Setup>,
    /// The directories that the tool leaves alone because of it; the directory itself if empty.
    pub(crate) instead_of: &'static [(&'static str, Kind)],
    /// One of them, which the tool itself empties in a root that has a file of this path.
    pub(crate) emptied_by: Option<(&'static str, &'static str)>,
    /// The files that an output is made from, by absolute path, for a tool that does not notice when anything else changed. Without
    /// the first there is no cache.
    pub(crate) made_from: Vec<String>,
    /// The files that the tool builds from and does not look at again.
    pub(crate) unseen: Unseen,
}

/// What a step gets with a cache.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Variables that lead the tool there.
    pub(crate) env: Vec<(String, String)>,
    /// Small files in it, by path below it.
    pub(crate) files: Vec<(String, String)>,
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
            setup: None,
            instead_of: &[],
            emptied_by: None,
            made_from: Vec::new(),
            unseen: Unseen::Nothing,
        }
    }

    /// What later steps read: it starts as what the last run of the same step left there.
    pub(crate) fn output(directory: CacheDirectory, name: &str) -> Self {
        Self { purpose: CachePurpose::Output, ..Self::pure(directory, name.to_owned(), Kind::Downloaded) }
    }

    /// The same for one step at a time.
    pub(crate) fn locked(self) -> Self {
        Self { sharing: CacheSharing::Locked, ..self }
    }

    /// The directories in which the tool leaves nothing because of it.
    pub(crate) fn covers(&self) -> impl Iterator<Item = (Location<'_>, Kind)> {
        let itself = self.instead_of.is_empty().then(|| ((&self.directory).into(), self.kind));
        itself.into_iter().chain(self.instead_of.iter().map(|(path, kind)| (Location::Absolute(path), *kind)))
    }
}

impl Place<'_> {
    /// The id of a cache that all steps share.
    pub(crate) fn everywhere(&self, name: &str) -> String {
        name.to_owned()
    }

    /// The id of a cache that steps on one base image share.
    pub(crate) fn on_base(&self, name: &str) -> String {
        [name, "/", self.base, "/", self.platform].concat()
    }

    /// The id of a cache of what was compiled: steps share it that have one base image and the same packages on top of it.
    pub(crate) fn on_system(&self, name: &str) -> String {
        [name, "/", self.base, self.system, "/", self.platform].concat()
    }

    /// The same for what a variable may change too: it also tells apart what those say that builds of C and its like read. `None` if that
    /// is not known.
    pub(crate) fn on_settings(&self, name: &str, command: &Command) -> Option<String> {
        let own = self.around.env.iter().map(|(name, _)| name.as_str()).filter(|name| is_setting(name));
        let mut names: Vec<&str> = SETTINGS.iter().copied().chain(own).collect();
        names.sort_unstable();
        names.dedup();
        let mut said = String::new();
        for name in names {
            match command.variable(name, self.around) {
                Value::Unset => {}
                Value::Known(text) => said.push_str(&format!("{name}={text}\0")),
                Value::Unknown => return None,
            }
        }
        let id = self.on_system(name);
        Some(if said.is_empty() { id } else { format!("{id}+{:08x}", fingerprint(0, &said, &[]) >> 32) })
    }

    /// The directory that one of the variables names, else one below the home directory.
    pub(crate) fn directory(&self, command: &Command, variables: &[&str], otherwise: &str) -> Option<CacheDirectory> {
        for variable in variables {
            match command.variable(variable, self.around) {
                Value::Known("") | Value::Unset => {}
                Value::Known(text) => return command.directory(text),
                Value::Unknown => return None,
            }
        }
        self.home(command, otherwise)
    }

    /// Whether a variable has, or may have, any value at all.
    pub(crate) fn may_be_set(&self, command: &Command, variable: &str) -> bool {
        !matches!(command.variable(variable, self.around), Value::Unset | Value::Known(""))
    }

    /// Whether a variable has, or may have, a value that stands for yes.
    pub(crate) fn may_be_true(&self, command: &Command, variable: &str) -> bool {
        let no = ["", "0", "false", "no", "off", "n", "f"];
        match command.variable(variable, self.around) {
            Value::Unset => false,
            Value::Known(text) => !no.contains(&text.to_ascii_lowercase().as_str()),
            Value::Unknown => true,
        }
    }

    /// A directory below the home of whoever runs the command. `below` is a clean path.
    pub(crate) fn home(&self, command: &Command, below: &str) -> Option<CacheDirectory> {
        match command.variable("HOME", self.around) {
            Value::Known("~") => Some(CacheDirectory::Home(below.to_owned())),
            Value::Known(home) => command.directory(&[home, "/", below].concat()),
            Value::Unset | Value::Unknown => None,
        }
    }

    /// A directory below `$XDG_CACHE_HOME`, else `~/.cache`.
    pub(crate) fn xdg_cache(&self, command: &Command, below: &str) -> Option<CacheDirectory> {
        match command.variable("XDG_CACHE_HOME", self.around) {
            Value::Known(text) if !text.is_empty() => command.directory(&[text, "/", below].concat()),
            Value::Known(_) | Value::Unset => self.home(command, &[".cache/", below].concat()),
            Value::Unknown => None,
        }
    }
}

/// Variables that compilers and what calls them read.
const SETTINGS: &[&str] = &[
    "AR",
    "ARCHFLAGS",
    "CC",
    "CFLAGS",
    "CMAKE_ARGS",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "C_INCLUDE_PATH",
    "FC",
    "FFLAGS",
    "LD",
    "LDFLAGS",
    "LDSHARED",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "MAKEFLAGS",
    "PBR_VERSION",
    "PIP_BUILD_OPTION",
    "PIP_CONFIG_SETTINGS",
    "PIP_GLOBAL_OPTION",
    "PKG_CONFIG_PATH",
    "RUSTFLAGS",
    "SETUPTOOLS_SCM_PRETEND_VERSION",
    "UV_CONFIG_SETTING",
];

/// Whether a variable of the step is called as those that choose what a package is built with.
fn is_setting(name: &str) -> bool {
    let starts = [
        "CMAKE_",
        "CARGO_BUILD_",
        "RUSTC",
        "SETUPTOOLS_",
        "SKBUILD",
        "USE_",
        "WITH_",
        "WITHOUT_",
        "ENABLE_",
        "DISABLE_",
    ];
    name.ends_with("FLAGS") || name.ends_with("_ARGS") || starts.iter().any(|start| name.starts_with(start))
}

/// The value of `--name VALUE` or `--name=VALUE`, the last one. `Err` if it cannot be told.
pub(crate) fn option<'c>(args: &'c [Word], names: &[&str]) -> Result<Option<&'c str>, ()> {
    let mut found = None;
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        if names.contains(&word.text.as_str()) {
            found = Some(rest.next().and_then(Word::get).ok_or(())?);
        } else if let Some((name, value)) = word.text.split_once('=')
            && names.contains(&name)
        {
            found = Some(if word.known { value } else { return Err(()) });
        }
    }
    Ok(found)
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
