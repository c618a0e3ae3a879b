//! `COPY` and `ADD`.

use super::{Arguments, not_strings};
use crate::ast::{Add, Copy, Heredoc, InstructionKind, Source, Word};
use crate::error::{Error, ErrorKind, Result};
use crate::flags::Flags;
use crate::heredoc::marker;
use crate::json::{Json, read as read_json};
use crate::lines::Text;
use std::collections::{HashMap, HashSet};

pub(super) fn copy(args: Arguments<'_>, heredocs: &[Heredoc]) -> Result<InstructionKind> {
    let (sources, dest) = sources_and_dest(&args, heredocs)?;
    let flags = &args.flags;
    Ok(InstructionKind::Copy(Copy {
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.boolean("link"),
        parents: flags.boolean("parents"),
        exclude: excludes(flags),
        sources,
        dest,
    }))
}

pub(super) fn add(args: Arguments<'_>, heredocs: &[Heredoc]) -> Result<InstructionKind> {
    let (sources, dest) = sources_and_dest(&args, heredocs)?;
    let flags = &args.flags;
    Ok(InstructionKind::Add(Add {
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.boolean("link"),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.boolean("keep-git-dir"),
        unpack: flags.boolean("unpack"),
        exclude: excludes(flags),
        sources,
        dest,
    }))
}

fn excludes(flags: &Flags<'_>) -> Vec<Word> {
    flags.list("exclude").into_iter().map(|(value, _)| value.word()).collect()
}

fn sources_and_dest(args: &Arguments<'_>, heredocs: &[Heredoc]) -> Result<(Vec<Source>, Word)> {
    let mut words = list(args.text)?;
    let name = args.name;
    let Some(dest) = words.pop() else {
        return Err(args.missing("at least two arguments: sources and a destination"));
    };
    if words.is_empty() {
        let error = Error::new(ErrorKind::Arguments, dest.span, format!("{name} has no destination"));
        return Err(error.hint(format!("write {name} {} DESTINATION", dest.text)));
    }
    if marker(&dest.text).is_some() {
        return Err(Error::new(
            ErrorKind::Heredoc,
            dest.span,
            format!("a heredoc cannot be the destination of {name}"),
        )
        .hint("the destination comes last, and is a path"));
    }
    Ok((sources(words, heredocs), dest))
}

/// Words as sources. A marker takes the last heredoc of its name; without one (in a JSON list, which has no heredocs) it is an
/// empty file. Of several markers with one name only the last is kept, for all of them make the same file.
fn sources(words: Vec<Word>, heredocs: &[Heredoc]) -> Vec<Source> {
    let by_name: HashMap<&str, &Heredoc> = heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc)).collect();
    let mut made = HashSet::new();
    let mut sources = Vec::with_capacity(words.len());
    for word in words.into_iter().rev() {
        let Some(marker) = marker(&word.text) else {
            sources.push(Source::Path(word));
            continue;
        };
        if !made.insert(marker.name.clone()) {
            continue;
        }
        let known = by_name.get(marker.name.as_str());
        sources.push(Source::Heredoc(Heredoc {
            content: known.map(|heredoc| heredoc.content.clone()).unwrap_or_default(),
            content_span: known.map_or(word.span, |heredoc| heredoc.content_span),
            fd: known.map_or(0, |heredoc| heredoc.fd),
            name: marker.name,
            expand: marker.expand,
            strip_tabs: marker.strip_tabs,
            span: word.span,
        }));
    }
    sources.reverse();
    sources
}

/// A JSON list of strings, else words between blanks.
pub(super) fn list(text: Text<'_>) -> Result<Vec<Word>> {
    match read_json(text) {
        Json::List(words) => Ok(words),
        Json::NotStrings(span) => Err(not_strings(span)),
        Json::No => Ok(text.split_blanks().into_iter().map(Text::word).collect()),
    }
}
