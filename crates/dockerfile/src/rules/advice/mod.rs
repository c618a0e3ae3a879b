//! The rules of kiln's own: what makes builds slower, or images larger, than they need be.
//!
//! They run in `kiln check` alone ([`Options::advice`](super::Options)), so that no build is noisier or fails because of them. Most ask
//! what steps do, which `lower` tells in [`StepFacts`](super::StepFacts); without that they find nothing. `lower`'s tests prove the
//! examples, and show what fixes make of many Dockerfiles.

pub(super) mod cache_deleted_in_step;
pub(super) mod cache_mount_missing;
pub(super) mod changing_arg_too_early;
pub(super) mod copy_before_dependencies;
mod edits;
mod go_modules;
pub(super) mod ignore_entry_missing;
mod mounting;
pub(super) mod toolchain_in_image;
mod unread;

use super::scope::Stage;
use super::{Finding, Report, Rule, Scope};
use crate::ast::{Instruction, InstructionKind, MountFlag, Source};
use crate::span::Span;

/// What findings about a whole instruction point at.
fn keyword(instruction: &Instruction) -> Span {
    instruction.keyword.span
}

/// Where an instruction of a stage copies the whole main context, if it does.
fn copies_everything(scope: &Scope<'_>, stage: &Stage<'_>, at: usize) -> Option<Span> {
    let sources = match &stage.body[at].kind {
        InstructionKind::Copy(copy) if copy.from.is_none() && copy.exclude.is_empty() => &copy.sources,
        InstructionKind::Add(add) if add.exclude.is_empty() => &add.sources,
        _ => return None,
    };
    sources.iter().find_map(|source| {
        let Source::Path(word) = source else { return None };
        let expanded = scope.expand(stage, at, word).ok()?;
        matches!(expanded.text.as_str(), "." | "./" | "/" | "*" | "./*").then_some(word.span)
    })
}

/// Whether an instruction names a variable. Whoever looks for it in the environment is not seen.
fn mentions(instruction: &Instruction, name: &str) -> bool {
    texts(instruction).any(|text| {
        text.match_indices(name).any(|(at, _)| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !text[..at].ends_with(inner) && !text[at + name.len()..].starts_with(inner)
        })
    })
}

/// Whether some instruction takes, out of a stage or an image, a path of which `takes` says so, or one that may be any path.
fn takes_from_stages(scope: &Scope<'_>, takes: impl Fn(&str) -> bool) -> bool {
    let takes = |path: &str| path.contains(['$', '*', '?', '[', '\\', '"', '\'']) || path.contains("..") || takes(path);
    let mount = |mount: &MountFlag| {
        mount.value("from").is_some()
            && takes(mount.value("source").or_else(|| mount.value("src")).map_or("/", |word| &word.text))
    };
    scope.instructions.iter().any(|instruction| match &instruction.kind {
        InstructionKind::Copy(copy) if copy.from.is_some() => copy.sources.iter().any(|source| match source {
            Source::Path(word) => takes(&word.text),
            Source::Heredoc(_) => false,
        }),
        InstructionKind::Run(run) => run.mounts.iter().any(mount),
        _ => false,
    })
}

/// Whether an instruction has this text somewhere.
fn says(instruction: &Instruction, text: &str) -> bool {
    texts(instruction).any(|own| own.contains(text))
}

/// All that an instruction says: its line, and the files in it.
fn texts(instruction: &Instruction) -> impl Iterator<Item = &str> {
    let (heredocs, sources) = match &instruction.kind {
        InstructionKind::Run(run) => (&run.heredocs[..], &[][..]),
        InstructionKind::Copy(copy) => (&[][..], &copy.sources[..]),
        InstructionKind::Add(add) => (&[][..], &add.sources[..]),
        _ => (&[][..], &[][..]),
    };
    let files = sources.iter().filter_map(|source| match source {
        Source::Heredoc(heredoc) => Some(heredoc),
        Source::Path(_) => None,
    });
    heredocs.iter().chain(files).map(|heredoc| heredoc.content.as_str()).chain([instruction.original.as_str()])
}
