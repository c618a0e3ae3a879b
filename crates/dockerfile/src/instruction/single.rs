//! Instructions with one plain argument or a list of them: `EXPOSE`, `MAINTAINER`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`.

use super::{Arguments, Parts, files};
use crate::ast::{InstructionKind, Word};
use crate::error::{Error, ErrorKind, Result};
use crate::lines::Text;

pub(super) fn expose(args: Arguments<'_>) -> Result<InstructionKind> {
    let mut ports: Vec<Word> = args.text.split_blanks().into_iter().map(Text::word).collect();
    if ports.is_empty() {
        return Err(args.missing("at least one port"));
    }
    ports.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(InstructionKind::Expose(ports))
}

pub(super) fn volume(args: Arguments<'_>) -> Result<InstructionKind> {
    let mut paths = files::list(args.text)?;
    if paths.is_empty() {
        return Err(args.missing("at least one path"));
    }
    for path in &mut paths {
        if path.text.trim().is_empty() {
            return Err(Error::new(ErrorKind::Arguments, path.span, "a VOLUME's path may not be empty"));
        }
        if path.text.trim().len() != path.text.len() {
            path.text = path.text.trim().to_owned();
        }
    }
    Ok(InstructionKind::Volume(paths))
}

pub(super) fn maintainer(args: Arguments<'_>) -> Result<InstructionKind> {
    whole(&args, "a name").map(InstructionKind::Maintainer)
}

pub(super) fn user(args: Arguments<'_>) -> Result<InstructionKind> {
    whole(&args, "a user").map(InstructionKind::User)
}

pub(super) fn workdir(args: Arguments<'_>) -> Result<InstructionKind> {
    whole(&args, "a path").map(InstructionKind::Workdir)
}

pub(super) fn stop_signal(parts: Parts<'_>) -> Result<InstructionKind> {
    // BuildKit takes flags off the line here too, and ignores them.
    if parts.args.is_empty() {
        return Err(Error::new(ErrorKind::Arguments, parts.keyword.span(), "STOPSIGNAL needs a signal"));
    }
    Ok(InstructionKind::StopSignal(parts.args.word()))
}

/// All arguments as one word, blanks included.
fn whole(args: &Arguments<'_>, what: &str) -> Result<Word> {
    if args.text.is_empty() {
        return Err(args.missing(what));
    }
    Ok(args.text.word())
}
