//! Expansion of words with an environment, its faults as [`LowerError`]s at their place.

use crate::LowerError;
use crate::env::Env;
use kiln_dockerfile::ast::{Heredoc, Word};
use kiln_dockerfile::rules::is_secret_name;
use kiln_dockerfile::words;

/// One word to one text.
pub(crate) fn expand(word: &Word, escape: char, env: &Env) -> Result<String, LowerError> {
    words::expand_text(&word.text, escape, &lookup(env)).map_err(|error| error.at(word).into())
}

/// One word to any number of words.
pub(crate) fn expand_words(word: &Word, escape: char, env: &Env) -> Result<Vec<String>, LowerError> {
    Ok(expand_all(word, escape, env)?.words)
}

/// One word, with what was looked up.
pub(crate) fn expand_all(word: &Word, escape: char, env: &Env) -> Result<words::Expanded, LowerError> {
    words::expand(&word.text, escape, &lookup(env)).map_err(|error| error.at(word).into())
}

/// The text of a heredoc of COPY or ADD.
pub(crate) fn expand_heredoc(heredoc: &Heredoc, env: &Env) -> Result<String, LowerError> {
    let text = heredoc.text();
    if !heredoc.expand {
        return Ok(text);
    }
    match words::expand_heredoc(&text, &lookup(env)) {
        Ok(expanded) => Ok(expanded.text),
        Err(error) => Err(LowerError::new(error.to_string(), heredoc.content_span)
            .hint(format!("quote the name to keep `$` as it is: `<<\"{}\"`", heredoc.name))),
    }
}

/// A whole instruction as progress shows it: variables replaced where possible, otherwise as written.
pub(crate) fn expand_line(line: &str, escape: char, env: &Env) -> String {
    words::expand_text(line, escape, &shown(env)).unwrap_or_else(|_| line.to_owned())
}

/// A RUN as progress shows it: variables that are set replaced, those that may be the shell's left as they are.
pub(crate) fn expand_run_line(line: &str, escape: char, env: &Env) -> String {
    words::expand_command(line, escape, &shown(env)).unwrap_or_else(|_| line.to_owned())
}

/// How the word functions ask for a variable.
pub(crate) fn lookup(env: &Env) -> impl Fn(&str) -> Option<String> + '_ {
    |name| env.get(name).map(str::to_owned)
}

/// The same for what people see: a value that looks like a secret is none of it.
fn shown(env: &Env) -> impl Fn(&str) -> Option<String> + '_ {
    |name| env.get(name).map(|value| if is_secret_name(name) { "****".to_owned() } else { value.to_owned() })
}
