//! Simple commands: assignments, the shell's own commands, and programs that run another one.
//!
//! Taken off are `env`, `sudo`, `exec`, `time`, `nice`, `timeout` and their like, and `sh -c` is read on. What sets variables in a
//! way that cannot be followed (`source` of an unknown file, `eval` of an unknown text) makes every variable unknown.

use super::variables::{Setting, Value};
use super::{Command, MAX_COMMANDS, Reader, Unreadable, Word};
use crate::paths;
use std::rc::Rc;

/// Files that are sourced for a PATH and the like, and never say where a tool keeps its cache.
const HARMLESS_SOURCES: &[&str] = &["/.cargo/env", "/bin/activate", "/nvm.sh", "/etc/os-release", "/cargo/env"];

/// What a wrapper's arguments come to.
enum Unwrapped {
    /// It runs these.
    Runs(Vec<Word>),
    /// It is the program itself.
    Itself(Vec<Word>),
    /// It has run nothing but the shell, or all of what it runs was read.
    Done,
}

impl Reader<'_, '_> {
    pub(super) fn simple(&mut self) -> Result<(), Unreadable> {
        let (mut assignments, mut words, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let heredocs = self.heredocs.len();
        loop {
            self.blanks();
            match self.peek() {
                None | Some(b'\n' | b';' | b'|' | b')') => break,
                Some(b'&') if self.peek_at(1) != Some(b'>') => break,
                Some(b'(') => {
                    let [Word { text, known: true, .. }] = &words[..] else { return Err(Unreadable) };
                    let name = text.clone();
                    return match assignments.is_empty() && self.rest().starts_with("()") {
                        true => self.function(name),
                        false => Err(Unreadable),
                    };
                }
                Some(_) => {
                    if self.redirection(&mut files)? {
                        continue;
                    }
                    match self.assigned().filter(|_| words.is_empty()) {
                        Some((name, appends)) => {
                            self.at += name.len() + if appends { 2 } else { 1 };
                            let value = self.single()?;
                            assignments.push((name, if appends { Setting::Unknown } else { setting(value) }));
                        }
                        None => self.word(&mut words)?,
                    }
                }
            }
        }
        let reads_input = self.heredocs.len() > heredocs;
        if words.is_empty() {
            let around = self.around;
            for (name, value) in assignments {
                self.state.set(&name, value, false, around);
            }
            if !files.is_empty() {
                self.add(vec![Word::known(":")], files);
            }
            return Ok(());
        }
        // A shell without arguments takes its commands from there.
        if reads_input && words.iter().filter_map(Word::get).any(is_shell) {
            return Err(Unreadable);
        }
        self.run(words, files, &assignments)
    }

    /// The name of an assignment that stands here, and whether it is `+=`.
    fn assigned(&self) -> Option<(String, bool)> {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        if length == 0 || rest.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        let after = &rest[length..];
        let appends = after.starts_with("+=");
        (appends || after.starts_with('=')).then(|| (rest[..length].to_owned(), appends))
    }

    /// Runs a command with variables of its own.
    pub(super) fn run(
        &mut self,
        words: Vec<Word>,
        files: Vec<Word>,
        assignments: &[(String, Setting)],
    ) -> Result<(), Unreadable> {
        self.enter()?;
        let before = (!assignments.is_empty()).then(|| (self.state.variables.clone(), self.state.assigned.len()));
        let around = self.around;
        for (name, value) in assignments {
            self.state.set(name, value.clone(), true, around);
        }
        let first = self.commands.len();
        let mut words = words;
        let mut elevated = false;
        let left = loop {
            match self.unwrap(words, &mut elevated)? {
                Unwrapped::Runs(inner) if inner.is_empty() => break None,
                Unwrapped::Runs(inner) => words = inner,
                Unwrapped::Itself(own) => break Some(own),
                Unwrapped::Done => break None,
            }
        };
        if let Some(own) = left {
            self.add(own, files);
        } else if !files.is_empty() {
            self.add(vec![Word::known(":")], files);
        }
        for command in &mut self.commands[first..] {
            command.elevated |= elevated;
        }
        if let Some((variables, assigned)) = before {
            self.state.variables = variables;
            self.state.assigned.truncate(assigned);
        }
        self.leave();
        if self.commands.len() > MAX_COMMANDS { Err(Unreadable) } else { Ok(()) }
    }

    /// Notes a command.
    pub(super) fn add(&mut self, words: Vec<Word>, redirects: Vec<Word>) {
        self.commands.push(Command {
            words,
            redirects,
            cwd: self.state.cwd.clone(),
            certain: self.conditions == 0 && !self.state.ended,
            elevated: false,
            variables: self.state.variables.clone(),
        });
    }

    fn unwrap(&mut self, words: Vec<Word>, elevated: &mut bool) -> Result<Unwrapped, Unreadable> {
        let Some(name) = words.first().and_then(Word::get) else { return Ok(Unwrapped::Itself(words)) };
        if self.state.functions.iter().any(|function| function == name) {
            // What it runs was read with its body.
            return Ok(Unwrapped::Done);
        }
        let name = if name.starts_with('/') { name.rsplit('/').next().unwrap_or_default() } else { name };
        let around = self.around;
        Ok(match name {
            "exec" => {
                let inner = options(words, &["-a"], &[]);
                if !inner.is_empty() {
                    self.run(inner, Vec::new(), &[])?;
                    self.state.ended = true;
                }
                Unwrapped::Done
            }
            "time" | "nohup" | "builtin" | "chronic" | "eatmydata" | "setsid" | "unbuffer" => {
                Unwrapped::Runs(options(words, &["-f", "-o"], &[]))
            }
            "command" if words.get(1).is_some_and(|word| word.text.starts_with('-')) => Unwrapped::Itself(words),
            "command" => Unwrapped::Runs(words[1..].to_vec()),
            "nice" => Unwrapped::Runs(options(words, &["-n", "--adjustment"], &[])),
            "ionice" => Unwrapped::Runs(options(words, &["-c", "-n", "--class", "--classdata"], &[])),
            "stdbuf" => Unwrapped::Runs(options(words, &["-i", "-o", "-e"], &[])),
            "timeout" => {
                let rest = options(words, &["-s", "-k", "--signal", "--kill-after"], &[]);
                Unwrapped::Runs(rest.get(1..).unwrap_or_default().to_vec())
            }
            "tini" | "dumb-init" => Unwrapped::Runs(options(words, &[], &[])),
            "xargs" => {
                let mut rest =
                    options(words, &["-n", "-P", "-L", "-I", "-d", "-s", "-a", "--max-args", "--max-procs"], &[]);
                if !rest.is_empty() {
                    rest.push(Word::unknown());
                }
                Unwrapped::Runs(rest)
            }
            "sudo" | "doas" => {
                *elevated = true;
                let rest = options(words, &["-u", "-g", "-h", "-C", "-p", "-D", "-R", "-T"], &["-i", "-s", "--login"]);
                Unwrapped::Runs(rest.into_iter().skip_while(is_assignment).collect())
            }
            "env" => self.env(words)?,
            "sh" | "bash" | "dash" | "ash" => match shell_text(&words) {
                Some(text) => match text.get().map(str::to_owned) {
                    Some(text) => {
                        let state = self.state.clone();
                        self.nested(&text)?;
                        self.state = state;
                        Unwrapped::Done
                    }
                    None => return Err(Unreadable),
                },
                None => Unwrapped::Itself(words),
            },
            "eval" => {
                let known: Option<Vec<&str>> = words[1..].iter().map(Word::get).collect();
                match known {
                    Some(texts) => {
                        let text = texts.join(" ");
                        self.nested(&text)?;
                        Unwrapped::Done
                    }
                    None => {
                        Rc::make_mut(&mut self.state.variables).forget();
                        Unwrapped::Itself(words)
                    }
                }
            }
            "." | "source" => {
                let harmless = |word: &Word| HARMLESS_SOURCES.iter().any(|end| word.known && word.text.ends_with(end));
                if !words.get(1).is_some_and(harmless) {
                    Rc::make_mut(&mut self.state.variables).forget();
                    self.state.cwd = None;
                }
                Unwrapped::Itself(words)
            }
            "cd" | "chdir" | "pushd" => {
                self.state.cwd = self.moved(&words);
                Unwrapped::Itself(words)
            }
            "popd" => {
                self.state.cwd = None;
                Unwrapped::Itself(words)
            }
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                let exports =
                    name == "export" || words.iter().any(|word| word.text.starts_with('-') && word.text.contains('x'));
                for word in words.iter().skip(1).filter(|word| !word.text.starts_with('-')) {
                    match word.text.split_once('=') {
                        Some((name, value)) => {
                            let setting = if word.known { Setting::Known(value.to_owned()) } else { Setting::Unknown };
                            self.state.set(name, setting, exports, around);
                        }
                        None if word.known && exports => Rc::make_mut(&mut self.state.variables).export(&word.text),
                        None if word.known => {}
                        None => Rc::make_mut(&mut self.state.variables).forget(),
                    }
                }
                Unwrapped::Done
            }
            "unset" => {
                for word in words.iter().skip(1).filter(|word| !word.text.starts_with('-')) {
                    match word.get() {
                        Some(name) => self.state.set(name, Setting::Unset, false, around),
                        None => Rc::make_mut(&mut self.state.variables).forget(),
                    }
                }
                Unwrapped::Done
            }
            "read" | "mapfile" | "readarray" | "getopts" => {
                for name in words.iter().skip(1).filter_map(Word::get) {
                    self.state.set(name, Setting::Unknown, false, around);
                }
                Unwrapped::Done
            }
            "set" => {
                let flag =
                    |word: &Word| word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains('a');
                if words.iter().skip(1).any(|word| flag(word) || word.text == "allexport") {
                    Rc::make_mut(&mut self.state.variables).export_all();
                }
                Unwrapped::Done
            }
            // What a name means is not known after this.
            "alias" | "enable" | "hash" => return Err(Unreadable),
            "exit" | "return" => {
                let fails = words.get(1).and_then(Word::get).is_some_and(|status| status != "0");
                self.state.ended |= !fails;
                Unwrapped::Done
            }
            _ => Unwrapped::Itself(words),
        })
    }

    /// `env [-i] [-u NAME] [NAME=VALUE…] COMMAND`: what it sets is set for the command alone.
    fn env(&mut self, words: Vec<Word>) -> Result<Unwrapped, Unreadable> {
        let around = self.around;
        let (variables, assigned) = (self.state.variables.clone(), self.state.assigned.len());
        let mut rest = words.into_iter().skip(1).peekable();
        while let Some(word) = rest.next_if(|word| word.text.starts_with('-') || is_assignment(word)) {
            match (word.get(), word.text.split_once('=')) {
                (Some("-i" | "-" | "--ignore-environment"), _) => Rc::make_mut(&mut self.state.variables).forget(),
                (Some("-u" | "--unset"), _) => {
                    let name = rest.next().ok_or(Unreadable)?;
                    self.state.set(name.get().ok_or(Unreadable)?, Setting::Unset, true, around);
                }
                (Some("--"), _) => {}
                (_, Some((name, value))) if !name.starts_with('-') => {
                    let setting = if word.known { Setting::Known(value.to_owned()) } else { Setting::Unknown };
                    self.state.set(name, setting, true, around);
                }
                _ => return Err(Unreadable),
            }
        }
        let inner: Vec<Word> = rest.collect();
        if !inner.is_empty() {
            self.run(inner, Vec::new(), &[])?;
        }
        self.state.variables = variables;
        self.state.assigned.truncate(assigned);
        Ok(Unwrapped::Done)
    }

    /// Where `cd` leads.
    fn moved(&self, words: &[Word]) -> Option<Rc<str>> {
        let target = match &words[1..] {
            [] => match self.state.variables.get("HOME", self.around) {
                Value::Known(home) => home.to_owned(),
                Value::Unset | Value::Unknown => return None,
            },
            [word] => word.get().filter(|text| !word.glob && !text.starts_with('-'))?.to_owned(),
            _ => return None,
        };
        let full = match (target.strip_prefix('~'), self.state.cwd.as_deref()) {
            (Some(below), _) if below.is_empty() || below.starts_with('/') => {
                format!("~{}", paths::absolute("/", below).trim_end_matches('/'))
            }
            (Some(_), _) => return None,
            (None, _) if target.starts_with('/') => paths::absolute("/", &target).into_owned(),
            (None, Some(cwd)) if cwd.starts_with('~') => {
                format!("~{}", paths::absolute(&cwd[1..], &target).trim_end_matches('/'))
            }
            (None, cwd) => paths::absolute(cwd?, &target).into_owned(),
        };
        Some(full.into())
    }
}

fn setting(word: Word) -> Setting {
    if word.known { Setting::Known(word.text) } else { Setting::Unknown }
}

fn is_assignment(word: &Word) -> bool {
    word.text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

pub(crate) fn is_shell(name: &str) -> bool {
    matches!(name.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ash"))
}

/// What is left after a wrapper's own options. Those of `valued` take the next word; with one of `opaque` nothing can be told.
fn options(words: Vec<Word>, valued: &[&str], opaque: &[&str]) -> Vec<Word> {
    let mut rest = words.into_iter().skip(1).peekable();
    while let Some(option) = rest.next_if(|word| word.text.starts_with('-') && word.text != "-") {
        if option.text == "--" {
            break;
        }
        if opaque.contains(&option.text.as_str()) {
            return vec![Word::unknown()];
        }
        if valued.contains(&option.text.as_str()) {
            rest.next();
        }
    }
    rest.collect()
}

/// The text after `-c` of a shell, if it is given one.
fn shell_text(words: &[Word]) -> Option<&Word> {
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        let flags = word.get()?.strip_prefix(['-', '+'])?;
        if flags.starts_with('-') {
            continue;
        }
        let option_name = flags.ends_with('o');
        if flags.contains('c') && !option_name {
            return rest.next();
        }
        if option_name {
            rest.next();
        }
        if flags.contains('c') {
            return rest.next();
        }
    }
    None
}
