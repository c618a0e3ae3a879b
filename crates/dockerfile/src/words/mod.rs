//! Words: quotes, escapes and variables.
//!
//! [`expand`] takes a [`Word`](crate::ast::Word)'s text and gives what it stands for. [`EXPANSION`] is the one table of what is
//! expanded; `lower` follows it and decides what the environment is.
//!
//! - `'…'` keeps all as it is; in `"…"` variables are expanded and the escape character takes the meaning from `"`, `$` and itself;
//!   elsewhere it does so from any character.
//! - `$name ${name} ${name:-w} ${name-w} ${name:+w} ${name+w} ${name:?w} ${name?w} ${name#p} ${name##p} ${name%p} ${name%%p}
//!   ${name/p/w} ${name//p/w}`, nested as deep as [`MAX_DEPTH`]; in a pattern `*` and `?` stand for what they do in a shell.
//!
//! Invariant: what comes out is never longer than [`MAX_LENGTH`], whatever the variables hold.

mod lexer;
mod pattern;
mod split;

#[cfg(test)]
mod tests;

pub use lexer::{ExpandError, ExpandErrorKind};
pub(crate) use lexer::{Lexer, Options};
pub(crate) use split::split;

/// The longest text that an expansion may give, in bytes.
pub const MAX_LENGTH: usize = 1 << 20;
/// How deep `${a:-${b:-…}}` may be nested.
pub const MAX_DEPTH: u32 = 64;

/// What a word stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expanded {
    /// The text, blanks kept.
    pub text: String,
    /// The text split at blanks that were neither quoted nor escaped, those from variables included (see [`Mode::Words`]).
    pub words: Vec<String>,
    /// Variables that were looked up and found, each once, in order.
    pub used: Vec<String>,
    /// Variables that were looked up and not set, each once, in order.
    pub unset: Vec<Unset>,
}

/// A variable that is not set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unset {
    /// Its name.
    pub name: String,
    /// Whether each use said what then stands in its place (`:-`, `-`, `:+`, `+`).
    pub handled: bool,
}

/// Expands a word of an instruction. `escape` is the file's [escape character](crate::ast::Directives::escape); `env` gives the
/// value of a variable, or `None` when it is not set.
///
/// # Errors
/// Quotes or braces that are not closed, modifiers and patterns that don't exist, `${name:?message}` of an unset variable, and
/// results above the limits.
pub fn expand(word: &str, escape: char, env: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, ExpandError> {
    // Most words have nothing to expand.
    if is_plain(word, escape) {
        let mut words = Vec::new();
        words.extend(word.split_whitespace().map(str::to_owned));
        return Ok(Expanded { text: word.to_owned(), words, ..Expanded::default() });
    }
    Lexer::new(word, Options { escape, ..Options::default() }, env).run()
}

/// Whether nothing in a text is expanded: no quote, no variable, nothing escaped.
fn is_plain(text: &str, escape: char) -> bool {
    text.len() <= MAX_LENGTH && memchr::memchr3(b'$', b'\'', b'"', text.as_bytes()).is_none() && !text.contains(escape)
}

/// The text that [`expand`] gives, and nothing else of it.
///
/// # Errors
/// As [`expand`].
pub fn expand_text(word: &str, escape: char, env: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    if is_plain(word, escape) {
        return Ok(word.to_owned());
    }
    Lexer::new(word, Options { escape, ..Options::default() }, env).run_text()
}

/// Expands the text of a heredoc of `COPY` or `ADD`: quotes are ordinary characters, and the escape character is always the
/// backslash.
///
/// # Errors
/// As [`expand`].
pub fn expand_heredoc(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, ExpandError> {
    Lexer::new(text, Options { quotes: false, ..Options::default() }, env).run()
}

/// Expands the variables of a `RUN` line that are set, for people to read: quotes stay, and so do variables that are not set, since
/// they may be the shell's.
///
/// # Errors
/// As [`expand`].
pub fn expand_command(line: &str, escape: char, env: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    // Most lines have nothing to expand.
    if is_plain(line, escape) {
        return Ok(line.to_owned());
    }
    let options = Options { escape, keep_quotes: true, keep_unset: true, ..Options::default() };
    Lexer::new(line, options, env).run_text()
}

/// How a part of an instruction is expanded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// [`expand`], one word to one text ([`Expanded::text`]).
    Word,
    /// [`expand`], one word to any number of words ([`Expanded::words`]).
    Words,
    /// [`expand_heredoc`], unless the heredoc's name is quoted.
    Heredoc,
}

/// Which variables a part of an instruction sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// `ARG`s before the first `FROM`, and the platform arguments (`TARGETPLATFORM`, …).
    Global,
    /// The stage's `ARG`s so far and, before them, its `ENV`s and those of its base.
    Stage,
}

/// One row of [`EXPANSION`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expansion {
    /// The instruction.
    pub instruction: &'static str,
    /// Which part of it.
    pub part: &'static str,
    /// How it is expanded.
    pub mode: Mode,
    /// What it sees.
    pub scope: Scope,
}

const fn row(instruction: &'static str, part: &'static str, mode: Mode, scope: Scope) -> Expansion {
    Expansion { instruction, part, mode, scope }
}

/// All that is expanded. What isn't here is not: `CMD`, `ENTRYPOINT`, `HEALTHCHECK`, `MAINTAINER`, `SHELL` and the command of `RUN`
/// (where variables are the shell's), `COPY --from`, `--exclude` and the `from` of a mount. `ONBUILD` expands when it is triggered.
///
/// All pairs of one `ENV` or `LABEL` see the environment as it was before the instruction; of `ARG`, each name sees those before it
/// only when it stands before the first `FROM`.
pub const EXPANSION: &[Expansion] = &[
    row("ADD", "--checksum", Mode::Word, Scope::Stage),
    row("ADD", "--chmod", Mode::Word, Scope::Stage),
    row("ADD", "--chown", Mode::Word, Scope::Stage),
    row("ADD", "sources", Mode::Word, Scope::Stage),
    row("ADD", "destination", Mode::Word, Scope::Stage),
    row("ADD", "heredocs", Mode::Heredoc, Scope::Stage),
    row("ARG", "names and defaults before FROM", Mode::Word, Scope::Global),
    row("ARG", "names and defaults", Mode::Word, Scope::Stage),
    row("COPY", "--chmod", Mode::Word, Scope::Stage),
    row("COPY", "--chown", Mode::Word, Scope::Stage),
    row("COPY", "sources", Mode::Word, Scope::Stage),
    row("COPY", "destination", Mode::Word, Scope::Stage),
    row("COPY", "heredocs", Mode::Heredoc, Scope::Stage),
    row("ENV", "names and values", Mode::Word, Scope::Stage),
    row("EXPOSE", "ports", Mode::Words, Scope::Stage),
    row("FROM", "--platform", Mode::Word, Scope::Global),
    row("FROM", "image", Mode::Word, Scope::Global),
    row("LABEL", "names and values", Mode::Word, Scope::Stage),
    row("RUN", "values of --mount", Mode::Word, Scope::Stage),
    row("STOPSIGNAL", "signal", Mode::Word, Scope::Stage),
    row("USER", "user", Mode::Word, Scope::Stage),
    row("VOLUME", "paths", Mode::Word, Scope::Stage),
    row("WORKDIR", "path", Mode::Word, Scope::Stage),
];
