//! One logical line to one instruction: keyword, flags, arguments.
//!
//! Each file here owns the grammar of some instructions. They read the syntax only: what variables stand for, whether stages and
//! files exist, and what a value then means is `lower`'s.

mod command;
mod files;
mod from;
mod onbuild;
mod pairs;
mod run;
mod single;

use crate::ast::{Heredoc, InstructionKind};
use crate::error::{Error, ErrorKind, Result};
use crate::flags::{RawFlags, extract};
use crate::json::{Json, read as read_json};
use crate::lines::Text;

/// The keywords of the language.
pub const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A line taken apart.
pub(crate) struct Parts<'a> {
    /// The keyword as written.
    pub(crate) keyword: Text<'a>,
    /// The keyword in capitals, when it is one.
    pub(crate) name: Option<&'static str>,
    /// The flags, unchecked.
    flags: RawFlags<'a>,
    /// What follows the flags, trimmed.
    args: Text<'a>,
    escape: char,
}

impl<'a> Parts<'a> {
    /// Takes a logical line apart.
    pub(crate) fn new(line: Text<'a>, escape: char) -> Self {
        let (keyword, rest) = line.trim().split_first();
        let (flags, args) = extract(rest);
        let name = KEYWORDS.iter().find(|name| name.eq_ignore_ascii_case(keyword.as_str())).copied();
        Self { keyword, name, flags, args, escape }
    }

    /// Whether heredocs may follow: `RUN`, `COPY` and `ADD` in shell form, directly or in `ONBUILD`.
    pub(crate) fn may_have_heredocs(&self) -> bool {
        let direct = |parts: &Self| {
            matches!(parts.name, Some("RUN" | "COPY" | "ADD")) && !matches!(read_json(parts.args), Json::List(_))
        };
        match self.name {
            Some("ONBUILD") => direct(&Parts::new(self.args, self.escape)),
            _ => direct(self),
        }
    }

    /// Parses the instruction with the heredocs that followed it.
    pub(crate) fn parse(self, heredocs: Vec<Heredoc>) -> Result<InstructionKind> {
        let Some(name) = self.name else { return Err(unknown(self.keyword)) };
        match name {
            "ADD" => files::add(self.arguments(name)?, &heredocs),
            "ARG" => pairs::arg(self),
            "CMD" => command::cmd(self.arguments(name)?),
            "COPY" => files::copy(self.arguments(name)?, &heredocs),
            "ENTRYPOINT" => command::entrypoint(self.arguments(name)?),
            "ENV" => pairs::env(self.arguments(name)?),
            "EXPOSE" => single::expose(self.arguments(name)?),
            "FROM" => from::from(self.arguments(name)?),
            "HEALTHCHECK" => command::healthcheck(self),
            "LABEL" => pairs::label(self.arguments(name)?),
            "MAINTAINER" => single::maintainer(self.arguments(name)?),
            "ONBUILD" => onbuild::onbuild(self.arguments(name)?, &heredocs),
            "RUN" => run::run(self.arguments(name)?, heredocs),
            "SHELL" => command::shell(self.arguments(name)?),
            "STOPSIGNAL" => single::stop_signal(self),
            "USER" => single::user(self.arguments(name)?),
            "VOLUME" => single::volume(self.arguments(name)?),
            _ => single::workdir(self.arguments(name)?),
        }
    }

    /// Checks the flags.
    fn arguments(self, name: &'static str) -> Result<Arguments<'a>> {
        Ok(Arguments {
            name,
            keyword: self.keyword,
            flags: self.flags.check(name)?,
            text: self.args,
            escape: self.escape,
        })
    }
}

/// An instruction's arguments with its flags checked.
pub(crate) struct Arguments<'a> {
    name: &'static str,
    keyword: Text<'a>,
    flags: crate::flags::Flags<'a>,
    text: Text<'a>,
    escape: char,
}

impl Arguments<'_> {
    /// An error about the absence of arguments, at the keyword.
    fn missing(&self, what: &str) -> Error {
        Error::new(ErrorKind::Arguments, self.keyword.span(), format!("{} needs {what}", self.name))
    }
}

/// The error for a JSON list that holds something else than strings.
fn not_strings(span: crate::Span) -> Error {
    Error::new(ErrorKind::Json, span, "a JSON list here may only hold strings").hint("put it in double quotes")
}

fn unknown(keyword: Text<'_>) -> Error {
    let word = keyword.as_str();
    let error = Error::new(ErrorKind::UnknownInstruction, keyword.span(), format!("unknown instruction `{word}`"));
    if word.contains(|c: char| !c.is_ascii() && c.is_whitespace()) {
        return error.hint("there is a blank here that is no ordinary space; type it again");
    }
    if let Some(nearest) = crate::suggest::nearest(word, KEYWORDS.iter().copied()) {
        return error.hint(format!("did you mean `{nearest}`?"));
    }
    if word.starts_with("&&") || word.starts_with("||") || word.starts_with('|') {
        return error.hint("to continue the instruction above, end its last line with the escape character (`\\`)");
    }
    error
}
