//! What COPY and ADD have in common: owners, modes, the file op and the history entry.

use crate::expand::{expand_heredoc, expand_line};
use crate::label::uppercase_keyword;
use crate::stage::{Ports, Step};
use crate::{LowerError, history, paths};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::{Heredoc, Source, Word};
use kiln_graph::{Action, File, Mkfile, Mode, Op, Owner, UserName};

/// A COPY or ADD, its words expanded.
pub(super) struct Transfer<'a> {
    pub(super) keyword: &'static str,
    pub(super) owner: Option<Owner>,
    pub(super) mode: Option<Mode>,
    /// Paths and URLs, in order, with their places.
    pub(super) paths: Vec<(String, Span)>,
    pub(super) heredocs: Vec<&'a Heredoc>,
    /// The destination, as it goes into the history.
    pub(super) dest_text: String,
    /// The destination, absolute.
    pub(super) dest: String,
    /// The flags, as they go into the history.
    flags: String,
}

impl<'a> Transfer<'a> {
    /// Expands all words.
    ///
    /// # Errors
    /// A word that cannot be expanded; an owner or a mode that is malformed.
    pub(super) fn new(
        step: &Step<'_>,
        keyword: &'static str,
        parents: bool,
        chown: Option<&Word>,
        chmod: Option<&Word>,
        sources: &'a [Source],
        dest: &Word,
    ) -> Result<Self, LowerError> {
        let mut flags = String::new();
        if parents {
            flags.push_str(" --parents");
        }
        let mut owner = None;
        if let Some(word) = chown {
            let text = step.expand(word)?;
            if !text.is_empty() {
                owner = Some(parse_owner(&text));
                flags.push_str(&format!(" --chown={text}"));
            }
        }
        let mut mode = None;
        if let Some(word) = chmod {
            let text = step.expand(word)?;
            if !text.is_empty() {
                mode = Some(parse_mode(&text, word.span)?);
                flags.push_str(&format!(" --chmod={text}"));
            }
        }
        let (mut paths, mut heredocs) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                Source::Path(word) => paths.push((step.expand(word)?, word.span)),
                Source::Heredoc(heredoc) => {
                    check_file_name(heredoc)?;
                    heredocs.push(heredoc);
                }
            }
        }
        let dest_text = step.expand(dest)?;
        let dest = paths::destination(&step.workdir(), &dest_text);
        Ok(Self { keyword, owner, mode, paths, heredocs, dest_text, dest, flags })
    }

    /// The label of the step.
    pub(super) fn label(step: &mut Step<'_>) -> kiln_graph::Label {
        let line = expand_line(&step.command.instruction.original, step.build.escape, &step.stage.env);
        step.label(&uppercase_keyword(line))
    }

    /// Adds the heredocs after all else, as BuildKit does, then the op and the history entry.
    ///
    /// # Errors
    /// A heredoc that cannot be expanded.
    pub(super) fn finish(
        self,
        step: &mut Step<'_>,
        mut actions: Vec<Action>,
        mut ports: Ports,
        label: kiln_graph::Label,
    ) -> Result<(), LowerError> {
        for heredoc in &self.heredocs {
            actions.push(Action::Mkfile(Mkfile {
                dest: self.dest.clone(),
                name: heredoc.name.clone(),
                data: expand_heredoc(heredoc, &step.stage.env)?.into_bytes(),
                mode: self.mode.clone(),
                owner: self.owner.clone(),
            }));
        }
        let base = step.stage.head.map(|head| ports.of(head));
        step.push(Op::File(File { base, actions }), ports, label);
        let mut text = [self.keyword, &self.flags].concat();
        for (path, _) in &self.paths {
            text.extend([" ", path]);
        }
        for heredoc in &self.heredocs {
            text.extend([" <<", &heredoc.name]);
        }
        text.extend([" ", &self.dest_text, " # buildkit"]);
        step.record(history::layer(text));
        Ok(())
    }
}

/// The name of a heredoc that becomes a file must be one.
pub(super) fn check_file_name(heredoc: &Heredoc) -> Result<(), LowerError> {
    let name = heredoc.name.as_str();
    if !matches!(name, "." | "..") && !name.contains(['/', '\0']) {
        return Ok(());
    }
    Err(LowerError::new(format!("a heredoc cannot be named `{name}`: it is the name of a file"), heredoc.span)
        .hint("choose a name without `/`"))
}

/// `user[:group]`, each a name or a number; what is empty is root's, also the group after a colon.
pub(super) fn parse_owner(text: &str) -> Owner {
    match text.split_once(':') {
        Some((user, group)) => Owner { user: parse_user(user), group: Some(parse_user(group)) },
        None => Owner { user: parse_user(text), group: None },
    }
}

/// As in BuildKit, a number is one of 32 bits with a sign, and anything else is a name.
fn parse_user(text: &str) -> UserName {
    match (text, text.parse::<i32>()) {
        // To the kernel -1 says that the owner stays, which of a new file is root.
        ("root" | "", _) | (_, Ok(-1)) => UserName::Id(0),
        (_, Ok(id)) => UserName::Id(id.cast_unsigned()),
        (_, Err(_)) => UserName::Name(text.to_owned()),
    }
}

const MODE_HINT: &str = "write `0755`, or `u=rwX,go=rX`";

/// `0755`, or `chmod`'s symbolic form.
fn parse_mode(text: &str, span: Span) -> Result<Mode, LowerError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Mode::Octal(mode)),
            _ => Err(LowerError::new(format!("`--chmod={text}` is not a mode"), span).hint(MODE_HINT)),
        };
    }
    if text.split(',').all(is_symbolic_clause) {
        return Ok(Mode::Symbolic(text.to_owned()));
    }
    Err(LowerError::new(format!("`--chmod={text}` is not a mode"), span).hint(MODE_HINT))
}

/// One clause: whom, then one or more of an operator and either permissions or one class to copy them from.
fn is_symbolic_clause(clause: &str) -> bool {
    let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut rest = rest;
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let Some(permissions) = rest.strip_prefix(['+', '-', '=']) else { return false };
        rest = match permissions.strip_prefix(['u', 'g', 'o']) {
            Some(rest) => rest,
            None => permissions.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']),
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let id = UserName::Id;
        let name = |text: &str| UserName::Name(text.to_owned());
        for (text, user, group) in [
            ("1000", id(1000), None),
            ("1000:100", id(1000), Some(id(100))),
            ("root", id(0), None),
            ("app:staff", name("app"), Some(name("staff"))),
            ("app:", name("app"), Some(id(0))),
            ("app:staff:x", name("app"), Some(name("staff:x"))),
            ("0:root", id(0), Some(id(0))),
            ("-1:+7", id(0), Some(id(7))),
            ("-2", id(4_294_967_294), None),
            ("2147483647", id(2_147_483_647), None),
            ("2147483648", name("2147483648"), None),
            (":staff", id(0), Some(name("staff"))),
            (":", id(0), Some(id(0))),
        ] {
            assert_eq!(parse_owner(text), Owner { user, group }, "{text}");
        }
    }

    #[test]
    fn modes() {
        for (text, mode) in [("755", 0o755), ("0755", 0o755), ("07777", 0o7777), ("0", 0)] {
            assert_eq!(parse_mode(text, Span::at(0)).unwrap(), Mode::Octal(mode), "{text}");
        }
        for text in ["u=rwX,go=rX", "+x", "a+x", "g=u", "u+s,o-t", "ug+rw-x", "a="] {
            assert_eq!(parse_mode(text, Span::at(0)).unwrap(), Mode::Symbolic(text.to_owned()), "{text}");
        }
        for text in ["10000", "8", "888", "rwx", "u", "u+q", "u+x,", "0x1ff", "u=rw go=r"] {
            assert!(parse_mode(text, Span::at(0)).is_err(), "{text}");
        }
    }
}
