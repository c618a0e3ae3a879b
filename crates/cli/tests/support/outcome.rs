//! How a command ended, with assertions that show all of its output when they fail.

use std::fmt;
use std::process::{Command, Output};

/// A command that has ended.
pub(crate) struct Ran {
    command: String,
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs it to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the command starts");
        Self::finished(command, output)
    }

    pub(super) fn finished(command: &Command, output: Output) -> Self {
        Self {
            command: format!("{command:?}"),
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It ended with this status.
    #[track_caller]
    pub(crate) fn exits(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Self {
        self.exits(0)
    }

    /// Standard error contains the text.
    #[track_caller]
    pub(crate) fn stderr_has(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no `{text}` on standard error of {self}");
        self
    }

    /// Standard error does not contain the text.
    #[track_caller]
    pub(crate) fn stderr_lacks(&self, text: &str) -> &Self {
        assert!(!self.stderr.contains(text), "`{text}` on standard error of {self}");
        self
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub(crate) fn stdout_is(&self, text: &str) -> &Self {
        assert_eq!(self.stdout(), text, "{self}");
        self
    }

    /// Standard output contains the text.
    #[track_caller]
    pub(crate) fn stdout_has(&self, text: &str) -> &Self {
        assert!(self.stdout().contains(text), "no `{text}` on standard output of {self}");
        self
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The lines of one step's output in plain progress, without number and time: those that contain ` SECONDS TEXT`.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.stderr.lines().any(|line| {
            let mut words = line.splitn(3, ' ');
            let number = words.next().is_some_and(|word| word.starts_with('#'));
            let seconds = words.next().is_some_and(|word| word.parse::<f64>().is_ok());
            number && seconds && words.next() == Some(text)
        })
    }

    /// A step wrote this very line.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) -> &Self {
        assert!(self.logged(text), "no step wrote `{text}`: {self}");
        self
    }

    /// What plain progress says about the step whose line contains `name`: its lines without the number.
    #[track_caller]
    pub(crate) fn step(&self, name: &str) -> Vec<&str> {
        let first = self.stderr.lines().find(|line| line.starts_with('#') && line.contains(name));
        let number = first.and_then(|line| line.split(' ').next());
        let number = number.unwrap_or_else(|| panic!("no step `{name}`: {self}"));
        self.stderr.lines().filter_map(|line| line.strip_prefix(number)?.strip_prefix(' ')).collect()
    }

    /// The step's result was there.
    #[track_caller]
    pub(crate) fn cached(&self, name: &str) -> &Self {
        assert!(self.step(name).contains(&"CACHED"), "`{name}` was not cached: {self}");
        self
    }

    /// The step's result was in the cache of another machine, whose name contains `place`.
    #[track_caller]
    pub(crate) fn cached_from(&self, name: &str, place: &str) -> &Self {
        let found = self.step(name).iter().any(|line| line.starts_with("CACHED from ") && line.contains(place));
        assert!(found, "`{name}` was not cached in {place}: {self}");
        self
    }

    /// The step ran.
    #[track_caller]
    pub(crate) fn executed(&self, name: &str) -> &Self {
        assert!(!self.step(name).iter().any(|line| line.starts_with("CACHED")), "`{name}` was cached: {self}");
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.command)?;
        writeln!(f, "exit status: {:?}", self.status)?;
        writeln!(f, "---- standard output\n{}", String::from_utf8_lossy(&self.stdout))?;
        writeln!(f, "---- standard error\n{}", self.stderr)
    }
}
