//! A shell's variables, working directory and functions while its text is read.

use super::{MAX_WORD, Surroundings};
use std::rc::Rc;

/// What is known of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// It is not set.
    Unset,
    /// It has this value.
    Known(&'a str),
    /// It may have any value, or none.
    Unknown,
}

/// What a shell set beyond its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variables {
    entries: Vec<Entry>,
    /// Whether any variable may have been set, by `source` for example.
    unsure: bool,
    /// `set -a`.
    export_all: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    setting: Setting,
    exported: bool,
}

/// What a variable is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    Unset,
    Known(String),
    Unknown,
}

impl Setting {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Unset => Value::Unset,
            Self::Known(text) => Value::Known(text),
            Self::Unknown => Value::Unknown,
        }
    }
}

impl Variables {
    /// As the shell itself sees it.
    pub(super) fn get<'a>(&'a self, name: &str, around: &'a Surroundings<'_>) -> Value<'a> {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => entry.setting.value(),
            None if self.unsure => Value::Unknown,
            None => outer(name, around),
        }
    }

    /// As the programs see it that the shell runs.
    pub(super) fn exported<'a>(&'a self, name: &str, around: &'a Surroundings<'_>) -> Value<'a> {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) if entry.exported => entry.setting.value(),
            Some(_) => Value::Unset,
            None if self.unsure => Value::Unknown,
            None => outer(name, around),
        }
    }

    /// Sets a variable. One that came from outside, or is exported, stays so.
    pub(super) fn set(&mut self, name: &str, setting: Setting, export: bool, around: &Surroundings<'_>) {
        let setting = match setting {
            Setting::Known(text) if text.len() > MAX_WORD => Setting::Unknown,
            setting => setting,
        };
        let export = export || self.export_all;
        match self.entries.iter_mut().find(|entry| entry.name == name) {
            Some(entry) => {
                entry.setting = setting;
                entry.exported |= export;
            }
            None => {
                let exported = export || outer(name, around) != Value::Unset;
                self.entries.push(Entry { name: name.to_owned(), setting, exported });
            }
        }
    }

    /// Makes a variable part of the environment.
    pub(super) fn export(&mut self, name: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) {
            entry.exported = true;
        }
    }

    /// `set -a` from here on.
    pub(super) fn export_all(&mut self) {
        self.export_all = true;
    }

    /// From here on any variable may have any value.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.unsure = true;
    }
}

/// A variable that was there before the shell.
fn outer<'a>(name: &str, around: &Surroundings<'a>) -> Value<'a> {
    match around.env.iter().find(|(key, _)| key == name) {
        // A leading `~` is ours for the home directory; in the environment it is just a character.
        Some((_, text)) if text.starts_with('~') => Value::Unknown,
        Some((_, text)) => Value::Known(text),
        None if around.hidden.contains(&name) => Value::Unknown,
        None => match name {
            "HOME" => Value::Known("~"),
            "USER" | "LOGNAME" | "HOSTNAME" | "SHELL" | "PATH" | "TERM" | "OLDPWD" | "IFS" | "PPID" | "RANDOM" => {
                Value::Unknown
            }
            "UID" | "EUID" | "SECONDS" | "LINENO" | "SHLVL" | "PWD" | "OSTYPE" | "HOSTTYPE" | "MACHTYPE" | "_" => {
                Value::Unknown
            }
            name if name.starts_with("BASH") => Value::Unknown,
            _ => Value::Unset,
        },
    }
}

/// What changes while commands are read.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) variables: Rc<Variables>,
    pub(super) cwd: Option<Rc<str>>,
    pub(super) functions: Vec<String>,
    /// Whether an `exit` may have kept all that follows from running.
    pub(super) ended: bool,
    /// The variables that were set so far, for whoever has to forget them.
    pub(super) assigned: Vec<String>,
}

impl State {
    pub(super) fn new(around: &Surroundings<'_>) -> Self {
        // Where `..` leads to after a link, only the file system can say.
        let known = !around.cwd.split('/').any(|part| part == "..");
        Self { cwd: known.then(|| around.cwd.into()), ..Self::default() }
    }

    /// Sets a variable and notes it.
    pub(super) fn set(&mut self, name: &str, setting: Setting, export: bool, around: &Surroundings<'_>) {
        Rc::make_mut(&mut self.variables).set(name, setting, export, around);
        self.assigned.push(name.to_owned());
    }
}
