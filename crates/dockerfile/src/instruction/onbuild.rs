//! `ONBUILD`.

use super::{Arguments, Parts};
use crate::ast::{Heredoc, Instruction, InstructionKind, Onbuild};
use crate::error::{Error, ErrorKind, Result};
use crate::span::Spanned;

pub(super) fn onbuild(args: Arguments<'_>, heredocs: &[Heredoc]) -> Result<InstructionKind> {
    if args.text.is_empty() {
        return Err(args.missing("an instruction"));
    }
    let inner = Parts::new(args.text, args.escape);
    if let Some(name @ ("ONBUILD" | "FROM" | "MAINTAINER")) = inner.name {
        return Err(Error::new(ErrorKind::Trigger, inner.keyword.span(), format!("ONBUILD cannot hold {name}")));
    }
    // Blanks at the end of the line are part of what the image's config keeps.
    let mut text = args.text.to_line_end().as_str().to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    let keyword = Spanned::new(inner.keyword.as_str().to_owned(), inner.keyword.span());
    let instruction = match inner.parse(heredocs.to_vec()) {
        Ok(kind) => Some(Box::new(Instruction {
            kind,
            keyword,
            span: args.text.span(),
            original: args.text.as_str().to_owned(),
            comments: Vec::new(),
            gap: None,
        })),
        Err(error) if is_fatal(&error) => return Err(error),
        Err(_) => None,
    };
    Ok(InstructionKind::Onbuild(Onbuild { text, instruction }))
}

/// Whether a fault of the inner instruction is one of the `ONBUILD` too. BuildKit reads the inner instruction's words when the
/// image is made, and checks its flags and arguments when the image is used.
fn is_fatal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Json | ErrorKind::Malformed)
}
