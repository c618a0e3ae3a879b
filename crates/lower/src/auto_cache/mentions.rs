//! Which directories a step, a copy or a mount has to do with: what is named there, or stands below or above what is named.
//!
//! Everything here errs on the side of naming. Not counted is what a tool's own command says of its own cache, nor a program that
//! looks at nothing but its own arguments (`mkdir -p`, `echo`, `cd`).

use super::shell::{Command, Word};
use super::step::Step;
use super::tool::Kind;
use kiln_graph::CacheDirectory;

/// Some of the directories of a [`Directories`], one bit each.
pub(crate) type Mask = u64;

/// Where a directory is, in words of others.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Location<'a> {
    /// An absolute path.
    Absolute(&'a str),
    /// A path below the home directory of whoever runs the step.
    Home(&'a str),
}

impl<'a> From<&'a CacheDirectory> for Location<'a> {
    fn from(directory: &'a CacheDirectory) -> Self {
        match directory {
            CacheDirectory::Absolute(path) => Self::Absolute(path),
            CacheDirectory::Home(path) => Self::Home(path),
        }
    }
}

/// A directory that some step may keep a cache in.
#[derive(Debug)]
pub(crate) struct Directory {
    /// As steps name it; `~` for the home directory where nothing says which that is.
    path: String,
    /// Whether it is below a home directory that nobody knows.
    unknown_home: bool,
    pub(crate) tool: &'static str,
    pub(crate) kind: Kind,
}

/// All directories that are looked for in a build: at most 64, which is more than Dockerfiles have.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    list: Vec<Directory>,
}

/// What a step does with directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    /// It may read what is there.
    pub(crate) reads: Mask,
    /// It may read all that is there, whatever it is.
    pub(crate) takes: Mask,
    /// It removes what is there, or some of it, and does not mind if nothing is.
    pub(crate) removes: Mask,
    /// It removes all that is there, whenever it succeeds.
    pub(crate) empties: Mask,
    /// It makes it, or a directory above it, and minds if that is there.
    pub(crate) makes: Mask,
    /// It gives it another name, which anything may name from then on.
    pub(crate) links: Mask,
}

impl Directories {
    /// The bit of a directory; none once there are too many. `root_user` says that the home directory is root's.
    pub(crate) fn bit(
        &mut self,
        directory: Location<'_>,
        root_user: bool,
        tool: &'static str,
        kind: Kind,
    ) -> Option<Mask> {
        let is_it = |known: &Directory| known.tool == tool && known.kind == kind && known.is(directory, root_user);
        let place = match self.list.iter().position(is_it) {
            Some(place) => place,
            None if self.list.len() == 64 => return None,
            None => {
                self.list.push(Directory::new(directory, root_user, tool, kind));
                self.list.len() - 1
            }
        };
        Some(1 << place)
    }

    /// The bit of an absolute path that has one.
    pub(crate) fn known(&self, path: &str, tool: &str, kind: Kind) -> Option<Mask> {
        let is_it = |known: &Directory| known.path == path && known.tool == tool && known.kind == kind;
        self.list.iter().position(is_it).map(|place| 1 << place)
    }

    /// Those for which something holds.
    pub(crate) fn mask(&self, mut holds: impl FnMut(&Directory) -> bool) -> Mask {
        self.list.iter().enumerate().fold(0, |mask, (place, directory)| mask | (Mask::from(holds(directory)) << place))
    }

    /// Those that a path leads to: the directory itself, something in it, or something that it is in. A pattern counts with what
    /// stands before it.
    pub(crate) fn at(&self, path: &str) -> Mask {
        let (prefix, whole) = match path.find(['*', '?', '[', '\\']) {
            Some(at) => (&path[..at], false),
            None => (path, true),
        };
        self.mask(|directory| relation(prefix, whole, directory) != Relation::Apart)
    }

    /// Those that a path names, or something in them.
    pub(crate) fn in_or_at(&self, path: &str) -> Mask {
        self.mask(|directory| matches!(relation(path, true, directory), Relation::Same | Relation::Within))
    }

    /// Those, and what a path is above for certain.
    pub(crate) fn named(&self, path: &str) -> Mask {
        let above =
            |directory: &Directory| !directory.unknown_home && relation(path, true, directory) == Relation::Above;
        self.in_or_at(path) | self.mask(above)
    }

    /// Those of which a path takes all, or whatever fits a pattern.
    pub(crate) fn whole(&self, path: &str) -> Mask {
        match path.find(['*', '?', '[', '\\']) {
            Some(at) => self.mask(|directory| relation(&path[..at], false, directory) != Relation::Apart),
            None => self.mask(|directory| matches!(relation(path, true, directory), Relation::Same | Relation::Above)),
        }
    }

    /// What a step says of them. `own` is the tools that each of its commands is recognised as: whose caches it may name.
    pub(crate) fn mentions<'t, T>(&self, step: &Step<'_>, own: impl Iterator<Item = T>, root_user: bool) -> Mentions
    where
        T: Iterator<Item = &'t str>,
    {
        let mut found = Mentions::default();
        let Some(commands) = &step.commands else {
            // Some script: what it may name, it names by these.
            found.reads = self.mask(|directory| {
                let end = directory.path.rsplit('/').next().unwrap_or_default();
                step.says(end) || directory.path.split('/').nth(1).is_some_and(|first| step.says(&format!("/{first}")))
            });
            return found;
        };
        for (command, own) in commands.iter().zip(own) {
            let mut is_tool = false;
            let theirs = own.fold(0, |mask, tool| {
                is_tool = true;
                mask | self.mask(|directory| directory.tool == tool)
            });
            let habit = habit(command, is_tool);
            let near = command.cwd.as_deref().is_none_or(|cwd| self.at(cwd) != 0);
            for word in named(command, habit) {
                let there = self.word(command, near, word, habit, root_user) & !theirs;
                match habit {
                    Habit::Removes => {
                        found.removes |= there;
                        if command.certain && !command.elevated {
                            found.empties |= there & self.emptied(command, word, root_user);
                        }
                    }
                    Habit::Makes => found.makes |= there,
                    Habit::Reads => {
                        found.reads |= there;
                        found.takes |= there & self.word(command, near, word, Habit::Takes, root_user);
                    }
                    Habit::ReadsNamed => found.reads |= there,
                    Habit::Links => {
                        found.reads |= there;
                        found.links |= there;
                    }
                    Habit::Takes => {}
                    Habit::Ignores => {}
                }
            }
            for word in &command.redirects {
                found.reads |= self.word(command, near, word, Habit::ReadsNamed, root_user);
            }
        }
        found
    }

    /// Those that a word names. `near` says whether some are at the command's directory, or nobody knows which that is.
    fn word(&self, command: &Command, near: bool, word: &Word, habit: Habit, root_user: bool) -> Mask {
        if habit == Habit::Ignores || self.list.is_empty() {
            return 0;
        }
        let value = word.text.split_once('=').map(|(_, value)| value);
        [Some(word.text.as_str()), value].into_iter().flatten().fold(0, |mask, text| {
            // Most words are no paths, and where nothing is of interest neither is what they could name there.
            let is_path = text.contains('/') || matches!(text, "." | ".." | "~") || (near && !text.starts_with('-'));
            if !is_path || text.is_empty() {
                return mask;
            }
            let Some(path) = command.path(text) else { return mask | self.lost(text, habit) };
            let path = match path.strip_prefix('~') {
                Some(below) if root_user => ["/root", below].concat().into(),
                _ => path,
            };
            let cut = path.find(['*', '?', '[']).filter(|_| word.glob);
            let (prefix, whole) = match cut {
                Some(at) => (&path[..at], false),
                None => (&*path, word.known),
            };
            mask | self.mask(|directory| match relation(prefix, whole, directory) {
                Relation::Same => true,
                Relation::Within => habit != Habit::Takes || !whole,
                Relation::Above if habit == Habit::Links => !directory.unknown_home,
                Relation::Above => habit != Habit::ReadsNamed,
                Relation::Apart => false,
            })
        })
    }

    /// Those of which nothing is left once what a word names is removed.
    fn emptied(&self, command: &Command, word: &Word, root_user: bool) -> Mask {
        let whole = word.text.strip_suffix("/*").unwrap_or(&word.text);
        let Some(path) = command.path(whole).filter(|_| word.known && !whole.contains(['*', '?', '['])) else {
            return 0;
        };
        let path = match path.strip_prefix('~') {
            Some(below) if root_user => ["/root", below].concat().into(),
            _ => path,
        };
        self.mask(|directory| !directory.unknown_home && is_below(&directory.path, &path))
    }

    /// A relative path, nobody knows to what: what is read may be any directory that has a part of that name.
    fn lost(&self, text: &str, habit: Habit) -> Mask {
        let reads = matches!(habit, Habit::Reads | Habit::ReadsNamed | Habit::Links | Habit::Takes);
        match text.split('/').find(|part| !matches!(*part, "" | "." | "..")) {
            _ if !reads => 0,
            Some("*") | None if habit == Habit::Reads => Mask::MAX,
            Some("*") | None => 0,
            Some(first) => self.mask(|directory| directory.path.split('/').any(|part| part == first)),
        }
    }
}

impl Directory {
    fn new(at: Location<'_>, root_user: bool, tool: &'static str, kind: Kind) -> Self {
        let path = match at {
            Location::Absolute(path) => path.to_owned(),
            Location::Home(below) => [home(root_user), below].concat(),
        };
        Self { path, unknown_home: matches!(at, Location::Home(_)) && !root_user, tool, kind }
    }

    /// Whether it is the one that is there.
    fn is(&self, at: Location<'_>, root_user: bool) -> bool {
        match at {
            Location::Absolute(path) => self.path == *path,
            Location::Home(below) => self.path.strip_prefix(home(root_user)) == Some(below),
        }
    }
}

/// A home directory as paths name it: that of root, or one that nobody knows.
fn home(root_user: bool) -> &'static str {
    if root_user { "/root/" } else { "~/" }
}

/// How a path stands to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It is the directory.
    Same,
    /// It is something in it.
    Within,
    /// The directory is in it.
    Above,
    Apart,
}

/// `whole` says that the path ends where the text does; otherwise it may go on in any way.
fn relation(path: &str, whole: bool, directory: &Directory) -> Relation {
    let target = directory.path.as_str();
    if directory.unknown_home && path.starts_with('/') {
        return relation_to_home(path, whole, &target[1..]);
    }
    if is_below(path, target) {
        return if path.trim_end_matches('/') == target { Relation::Same } else { Relation::Within };
    }
    let above = if whole { is_below(target, path) } else { target.starts_with(path) };
    if above { Relation::Above } else { Relation::Apart }
}

/// Whether a path is another one, or in it.
fn is_below(path: &str, other: &str) -> bool {
    let other = other.trim_end_matches('/');
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Directories that are nobody's home, nor is anything in them.
const NO_HOMES: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/sbin",
    "/usr/share",
    "/go/bin",
    "/tmp",
];
/// Names that a build gives to what it makes, in which nobody lives.
const NO_HOME_NAMES: &[&str] = &[
    "bin",
    "build",
    "dist",
    "lib",
    "node_modules",
    "out",
    "public",
    "release",
    "site-packages",
    "target",
    "vendor",
    ".next",
    ".output",
    ".venv",
    "venv",
];

/// How a path stands to something in a home directory that may be anywhere.
fn relation_to_home(path: &str, whole: bool, below: &str) -> Relation {
    let first = below.split('/').nth(1).unwrap_or_default();
    if path.split('/').any(|part| part == first) {
        return Relation::Within;
    }
    let no_home = NO_HOMES.iter().any(|known| is_below(path, known));
    let made = path.split('/').any(|part| NO_HOME_NAMES.contains(&part));
    if whole && (no_home || made) { Relation::Apart } else { Relation::Above }
}

/// What a program does with the paths that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Nothing that depends on what is in them.
    Ignores,
    /// It looks at what they name, not at what is in that.
    ReadsNamed,
    /// It looks at all that is in them.
    Reads,
    /// The same, but for what is in the directories one by one.
    Takes,
    /// It removes them.
    Removes,
    /// It makes them.
    Makes,
    /// It gives them another name.
    Links,
}

/// The words that name what a program does something with: of a link not its own place, which comes last.
fn named(command: &Command, habit: Habit) -> &[Word] {
    let args = command.args();
    let elsewhere = |word: &Word| word.text.starts_with("-t") || word.text.starts_with("--target-directory");
    let paths = args.iter().filter(|word| !word.text.starts_with('-')).count();
    match args.split_last() {
        Some((_, before)) if habit == Habit::Links && paths > 1 && !args.iter().any(elsewhere) => before,
        _ => args,
    }
}

fn habit(command: &Command, is_tool: bool) -> Habit {
    let Some(name) = command.name() else { return Habit::Reads };
    let args = command.args();
    let short = |flag: char| {
        args.iter().any(|word| word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains(flag))
    };
    let long = |flag: &str| args.iter().any(|word| word.text == flag);
    match name {
        "echo"
        | "printf"
        | "cd"
        | "pushd"
        | "test"
        | "["
        | "true"
        | "false"
        | ":"
        | "export"
        | "which"
        | "type"
        | "command"
        | "useradd"
        | "adduser"
        | "groupadd"
        | "addgroup"
        | "usermod"
        | "id"
        | "whoami"
        | "uname"
        | "touch"
        | "dirname"
        | "basename"
        | "realpath"
        | "sleep"
        | "date"
        | "update-ca-certificates"
        | "ldconfig"
        | "locale-gen" => Habit::Ignores,
        "ln" | "link" => Habit::Links,
        "mkdir" if short('p') || long("--parents") => Habit::Ignores,
        "mkdir" => Habit::Makes,
        "rm" if short('f') || long("--force") => Habit::Removes,
        "cat" | "head" | "tail" | "sed" | "awk" | "curl" | "wget" | "install" | "git" | "dpkg" | "rmdir" | "chsh"
        | "gpg" | "tee" | "unzip" | "gunzip" | "." | "source" | "stat" | "sha256sum" | "md5sum" | "jq" | "envsubst" => {
            Habit::ReadsNamed
        }
        "tar" if args.first().is_some_and(|word| !word.text.starts_with('-') && word.text.contains('x')) => {
            Habit::ReadsNamed
        }
        "tar" if (short('x') || long("--extract")) && !short('c') => Habit::ReadsNamed,
        "chown" | "chmod" | "chgrp" | "grep" | "egrep" | "fgrep"
            if !short('R') && !short('r') && !long("--recursive") =>
        {
            Habit::ReadsNamed
        }
        _ if is_tool => Habit::ReadsNamed,
        _ => Habit::Reads,
    }
}
