//! What a step's command line runs: the simple commands of a POSIX shell's text, with the environment that each of them gets.
//!
//! The text is read, never run, so some words are only known in part, and [`Word::known`] says which. Whatever cannot be read with
//! certainty makes the text [`Unreadable`] as a whole: an open quote, `eval` of something unknown in the middle of the grammar, `((`.
//! What the reader understands: lists, pipelines, groups, subshells, the compound commands, functions, redirections, heredocs,
//! quoting, variables, `sh -c`, and the programs that run another one (`env`, `sudo`, `time`, …; see `simple.rs`).
//!
//! A text that begins with `~` stands for the home directory of whoever runs the step, which only the step's root knows.
//!
//! Invariants: no panic, no I/O, and bounded work for any text: [`MAX_TEXT`] bytes, [`MAX_DEPTH`] levels, [`MAX_COMMANDS`] commands.

mod grammar;
mod simple;
#[cfg(test)]
mod tests;
mod variables;
mod words;

pub(crate) use simple::is_shell;
pub(crate) use variables::Value;

use crate::paths;
use kiln_graph::CacheDirectory;
use std::borrow::Cow;
use std::rc::Rc;
use variables::{State, Variables};

/// The most bytes that are read, those of nested texts included.
const MAX_TEXT: usize = 128 << 10;
/// The longest word or value that is followed.
const MAX_WORD: usize = 8 << 10;
/// How deep commands may be nested in each other.
const MAX_DEPTH: usize = 24;
/// The most loops that set variables.
const MAX_LOOPS: usize = 32;
/// The most commands of one text.
const MAX_COMMANDS: usize = 1_000;

/// What surrounds a command line.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings<'a> {
    /// The step's environment.
    pub(crate) env: &'a [(String, String)],
    /// Variables that are set, nobody says to what: secrets, proxies.
    pub(crate) hidden: Vec<&'a str>,
    /// The step's working directory.
    pub(crate) cwd: &'a str,
}

/// A text that cannot be read with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// One word of a command, after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// The text; of a word that is not known, what it begins with for certain.
    pub(crate) text: String,
    /// Whether the text is all of it, and it is one word.
    pub(crate) known: bool,
    /// Whether some of it is a pattern for file names.
    pub(crate) glob: bool,
}

impl Word {
    /// A word that is known.
    pub(crate) fn known(text: impl Into<String>) -> Self {
        Self { text: text.into(), known: true, glob: false }
    }

    /// A word of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { text: String::new(), known: false, glob: false }
    }

    /// The text, if it is known.
    pub(crate) fn get(&self) -> Option<&str> {
        self.known.then_some(self.text.as_str())
    }
}

/// A program that is run, with what it gets.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Its name and arguments; at least one word. Programs that only run another one are taken off.
    pub(crate) words: Vec<Word>,
    /// The files that its input and output are redirected to.
    pub(crate) redirects: Vec<Word>,
    /// Where it runs, if that is known.
    pub(crate) cwd: Option<Rc<str>>,
    /// Whether it has run whenever the step succeeds.
    pub(crate) certain: bool,
    /// Whether it runs as another user, with who knows which environment.
    pub(crate) elevated: bool,
    variables: Rc<Variables>,
}

impl Command {
    /// The program's name: without its directories if they are absolute; a relative path as it is.
    pub(crate) fn name(&self) -> Option<&str> {
        let text = self.words.first()?.get()?;
        Some(if text.starts_with('/') { text.rsplit('/').next().unwrap_or_default() } else { text })
    }

    /// The arguments.
    pub(crate) fn args(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// A variable of its environment.
    pub(crate) fn variable<'a>(&'a self, name: &str, around: &'a Surroundings<'_>) -> Value<'a> {
        if self.elevated { Value::Unknown } else { self.variables.exported(name, around) }
    }

    /// A path as the program sees it; `None` if it cannot be told.
    pub(crate) fn path<'p>(&self, text: &'p str) -> Option<Cow<'p, str>> {
        if text == "~" || text.starts_with("~/") {
            if self.elevated {
                return None;
            }
            let below = paths::absolute("/", &text[1..]);
            return Some(["~", below.trim_end_matches('/')].concat().into());
        }
        if text.starts_with('/') {
            return Some(paths::absolute("/", text));
        }
        match self.cwd.as_deref()? {
            home if home.starts_with('~') => {
                let below = paths::absolute(&home[1..], text);
                Some(["~", below.trim_end_matches('/')].concat().into())
            }
            cwd => Some(paths::absolute(cwd, text)),
        }
    }

    /// A path as a directory for a cache: not the root, nor a home directory itself.
    pub(crate) fn directory(&self, text: &str) -> Option<CacheDirectory> {
        let path = self.path(text).filter(|_| !text.is_empty())?;
        match path.strip_prefix("~/") {
            Some(below) if !below.is_empty() => Some(CacheDirectory::Home(below.to_owned())),
            Some(_) => None,
            None if path == "~" || path == "/" => None,
            None => Some(CacheDirectory::Absolute(path.into_owned())),
        }
    }
}

/// Reads a shell's text.
///
/// # Errors
/// [`Unreadable`] as soon as anything in it is.
pub(crate) fn read(text: &str, around: &Surroundings<'_>) -> Result<Vec<Command>, Unreadable> {
    let mut reader = Reader::new(text, around);
    reader.list(&[])?;
    if reader.at < text.len() { Err(Unreadable) } else { Ok(reader.commands) }
}

/// A command whose words are known: the exec form.
pub(crate) fn words(args: &[String], around: &Surroundings<'_>) -> Result<Vec<Command>, Unreadable> {
    let mut reader = Reader::new("", around);
    reader.run(args.iter().map(Word::known).collect(), Vec::new(), &[])?;
    Ok(reader.commands)
}

/// A text that is being read.
struct Reader<'t, 'e> {
    text: &'t str,
    /// The next byte; always on a character boundary.
    at: usize,
    around: &'e Surroundings<'e>,
    state: State,
    commands: Vec<Command>,
    /// Commands that run only if one before them succeeded, which some later command may make up for.
    tentative: Vec<usize>,
    /// Heredocs whose lines have not come yet: delimiter, whether tabs are stripped, whether it is expanded.
    heredocs: Vec<(String, bool, bool)>,
    depth: usize,
    /// How many conditions surround what is read.
    conditions: usize,
    /// How many bytes nested texts may still have.
    budget: usize,
    /// How many loops may still be read a second time.
    again: usize,
}

impl<'t, 'e> Reader<'t, 'e> {
    fn new(text: &'t str, around: &'e Surroundings<'e>) -> Self {
        Self {
            text,
            at: 0,
            around,
            state: State::new(around),
            commands: Vec::new(),
            tentative: Vec::new(),
            heredocs: Vec::new(),
            depth: 0,
            conditions: 0,
            budget: MAX_TEXT,
            again: MAX_LOOPS,
        }
    }

    /// Reads a text that a command holds, in the state of this one.
    fn nested(&mut self, text: &str) -> Result<(), Unreadable> {
        self.enter()?;
        let budget = self.budget.checked_sub(text.len()).ok_or(Unreadable)?;
        let mut inner = Reader {
            text,
            at: 0,
            around: self.around,
            state: std::mem::take(&mut self.state),
            commands: std::mem::take(&mut self.commands),
            tentative: std::mem::take(&mut self.tentative),
            heredocs: Vec::new(),
            depth: self.depth,
            conditions: self.conditions,
            budget,
            again: self.again,
        };
        inner.list(&[])?;
        if inner.at < text.len() {
            return Err(Unreadable);
        }
        (self.budget, self.again) = (inner.budget, inner.again);
        self.state = inner.state;
        self.commands = inner.commands;
        self.tentative = inner.tentative;
        self.leave();
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Unreadable> {
        self.depth += 1;
        if self.depth > MAX_DEPTH || self.text.len() > MAX_TEXT { Err(Unreadable) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }
}
