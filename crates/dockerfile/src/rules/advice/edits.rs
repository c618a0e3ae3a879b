//! The edits that fixes are made of, in the manner of the file: its line breaks, its escape character, its indentation.

use crate::ast::{Instruction, InstructionKind};
use crate::rules::{CacheFacts, Edit, Scope};
use crate::span::Span;

/// What further lines of an instruction begin with.
const INDENT: &str = "    ";

/// How a file is written.
pub(super) struct Manner<'a> {
    source: &'a str,
    line_break: &'static str,
    escape: char,
    /// Whether whoever reads the file knows cache mounts.
    knows_mounts: bool,
}

impl<'a> Manner<'a> {
    pub(super) fn of(scope: &Scope<'a>) -> Self {
        let source = scope.facts.source;
        let first = source.split_inclusive('\n').next().unwrap_or_default();
        Self {
            source,
            line_break: if first.ends_with("\r\n") { "\r\n" } else { "\n" },
            escape: scope.directives.escape,
            knows_mounts: scope.directives.syntax.as_ref().is_none_or(|syntax| knows_mounts(&syntax.value)),
        }
    }

    /// Gives a RUN cache mounts, each on a line of its own, before what it has. `None` for a path that would need quotes,
    /// and where the file asks for a frontend that has none.
    pub(super) fn add_mounts(&self, run: &Instruction, caches: &[&CacheFacts]) -> Option<Edit> {
        if !self.knows_mounts {
            return None;
        }
        let next = format!(" {}{}{INDENT}", self.escape, self.line_break);
        let flags = caches.iter().map(|cache| flag(cache)).collect::<Option<Vec<_>>>()?.join(&next);
        let start = run.keyword.span.end;
        let rest = self.source.get(start as usize..)?;
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let after = &rest[blanks..];
        // The command may be on the next line already.
        // A heredoc's marker stays beside its keyword.
        let stays = matches!(&run.kind, InstructionKind::Run(run) if !run.heredocs.is_empty());
        let continues = after
            .strip_prefix(self.escape)
            .is_some_and(|end| end.trim_start_matches([' ', '\t', '\r']).starts_with('\n'));
        let text = if continues || stays { format!(" {flags} ") } else { format!(" {flags}{next}") };
        Some(Edit { span: Span::new(start, start + u32::try_from(blanks).ok()?), text })
    }

    /// Puts a line above an instruction and the comments that belong to it, which end where the one before it ends.
    pub(super) fn line_above(&self, before: &Instruction, instruction: &Instruction, line: &str) -> Edit {
        Edit::insert(self.beginning(before, instruction), format!("{line}{}", self.line_break))
    }

    /// Where an instruction begins, with the comments directly above it.
    pub(super) fn beginning(&self, before: &Instruction, instruction: &Instruction) -> u32 {
        let mut at = self.line_start(instruction.span.start);
        while at > before.span.end {
            let above = self.line_start(at - 1);
            let is_comment = self.source[above as usize..at as usize].trim_start().starts_with('#');
            if above <= before.span.end || !is_comment {
                break;
            }
            at = above;
        }
        at
    }

    /// The lines of an instruction, with the comments that belong to it, without the last line break.
    pub(super) fn block(&self, before: &Instruction, instruction: &Instruction) -> Option<(Span, &'a str)> {
        let span = Span::new(self.beginning(before, instruction), instruction.span.end);
        let text = self.source.get(span.range())?.trim_end_matches('\r');
        Some((Span::new(span.start, span.start + u32::try_from(text.len()).ok()?), text))
    }

    /// Puts lines below an instruction.
    pub(super) fn lines_below(&self, instruction: &Instruction, lines: &str) -> Option<Edit> {
        Some(match self.next_line(instruction.span.end)? {
            Some(next) => Edit::insert(next, format!("{lines}{}", self.line_break)),
            None => Edit::insert(u32::try_from(self.source.len()).ok()?, format!("{}{lines}", self.line_break)),
        })
    }

    /// Takes lines out, with the line break after them.
    pub(super) fn without_lines(&self, lines: Span) -> Option<Edit> {
        let end = self.next_line(lines.end)?.or_else(|| u32::try_from(self.source.len()).ok())?;
        Some(Edit::remove(Span::new(lines.start, end)))
    }

    /// Where the line after a place begins; the inner `None` in the last line.
    fn next_line(&self, at: u32) -> Option<Option<u32>> {
        let rest = self.source.get(at as usize..)?;
        Some(rest.find('\n').and_then(|line_feed| u32::try_from(line_feed + 1).ok()).map(|length| at + length))
    }

    /// Where the line begins that holds a place.
    fn line_start(&self, at: u32) -> u32 {
        let before = self.source.get(..at as usize).unwrap_or_default();
        before.rfind('\n').map_or(0, |line_feed| u32::try_from(line_feed + 1).unwrap_or(at))
    }
}

/// Whether a frontend has cache mounts: Docker's has them since 1.2.
fn knows_mounts(syntax: &str) -> bool {
    let name = syntax.split('@').next().unwrap_or_default();
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    let version = tag.split('-').next().unwrap_or_default();
    !["1.0", "1.1"].iter().any(|old| version == *old || version.starts_with(&format!("{old}.")))
}

/// `--mount=type=cache,…`.
pub(super) fn flag(cache: &CacheFacts) -> Option<String> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@:".contains(&byte));
    if !plain(&cache.target) || !cache.id.iter().all(|id| plain(id)) {
        return None;
    }
    let id = cache.id.as_ref().map(|id| format!(",id={id}")).unwrap_or_default();
    let sharing = if cache.locked { ",sharing=locked" } else { "" };
    Some(format!("--mount=type=cache{id},target={}{sharing}", cache.target))
}
