//! COPY: files of the context, a stage, an image or a named context.

use crate::LowerError;
use crate::instructions::add::remote_kind;
use crate::instructions::files::Transfer;
use crate::paths;
use crate::stage::{Ports, Step, Tree};
use kiln_dockerfile::ast;
use kiln_graph::{Action, Copy, Unpack};

pub(super) fn lower(step: &mut Step<'_>, copy: &ast::Copy) -> Result<(), LowerError> {
    let parents = copy.parents.is_some_and(|flag| flag.value);
    let (chown, chmod) = (copy.chown.as_ref(), copy.chmod.as_ref());
    let transfer = Transfer::new(step, "COPY", parents, chown, chmod, &copy.sources, &copy.dest)?;
    for (path, span) in &transfer.paths {
        if let Some(kind) = remote_kind(path) {
            return Err(LowerError::new(format!("COPY cannot copy from {kind}"), *span).hint("use ADD"));
        }
    }
    let mut ports = Ports::default();
    // The tree so far is the first input, whatever else is needed.
    let _base = step.stage.head.map(|head| ports.of(head));
    let mut actions = Vec::with_capacity(1 + transfer.heredocs.len());
    if !transfer.paths.is_empty() {
        let tree = match (&copy.from, step.command.sources.first()) {
            (Some(from), Some(Some(node))) => step.tree(*node, from.span)?,
            _ => step.context(),
        };
        let clean = if parents { paths::source_with_parents } else { paths::source };
        actions.push(Action::Copy(Copy {
            from: ports.of(step.vertex(tree)),
            sources: transfer.paths.iter().map(|(path, _)| clean(path)).collect(),
            dest: transfer.dest.clone(),
            owner: transfer.owner.clone(),
            mode: transfer.mode.clone(),
            unpack: Unpack::No,
            parents,
            exclude: copy.exclude.iter().map(|word| word.text.clone()).collect(),
            link: linked(copy.link, &transfer),
            from_context: matches!(tree, Tree::Local(_)),
        }));
    }
    let label = Transfer::label(step);
    transfer.finish(step, actions, ports, label)
}

/// `--link` counts only without `--chmod`, as in BuildKit.
pub(super) fn linked(flag: Option<kiln_dockerfile::Spanned<bool>>, transfer: &Transfer<'_>) -> bool {
    flag.is_some_and(|flag| flag.value) && transfer.mode.is_none()
}
