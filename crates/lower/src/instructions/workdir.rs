//! WORKDIR: where the steps that follow and the container start; the directory is made when it is missing.

use crate::history::{config_only, layer};
use crate::instructions::files::parse_owner;
use crate::label::uppercase_keyword;
use crate::stage::{Ports, Step};
use crate::{LowerError, expand, paths};
use kiln_dockerfile::ast::Word;
use kiln_graph::{Action, File, Mkdir, Op};

/// What is made belongs to the USER so far, and has mode 0755. An absolute path is kept as it is written.
pub(super) fn lower(step: &mut Step<'_>, word: &Word) -> Result<(), LowerError> {
    let path = step.expand(word)?;
    let before = step.workdir();
    let path = match path.as_str() {
        "" => before.into_owned(),
        absolute if absolute.starts_with('/') => path,
        relative => paths::absolute(&before, relative).into_owned(),
    };
    step.stage.config.config.working_dir.clone_from(&path);
    let text = format!("WORKDIR {path}");
    if path == "/" {
        step.record(config_only(text));
        return Ok(());
    }
    let user = &step.stage.config.config.user;
    let owner = if user.is_empty() { None } else { Some(parse_owner(user)) };
    let line = expand::expand_line(&step.command.instruction.original, step.build.escape, &step.stage.env);
    let label = step.label(&uppercase_keyword(line));
    let mut ports = Ports::default();
    let base = step.stage.head.map(|head| ports.of(head));
    let actions = vec![Action::Mkdir(Mkdir { path: step.workdir().into_owned(), mode: 0o755, owner })];
    step.push(Op::File(File { base, actions }), ports, label);
    step.record(layer(text));
    Ok(())
}
