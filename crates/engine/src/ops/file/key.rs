//! What the key of a file op is made of.

use crate::build::Selections;
use crate::error::EngineError;
use crate::ops::exec::snapshot;
use crate::snapshot::Output;
use kiln_digest::ContentDigest;
use kiln_graph::{Action, Copy, File};
use kiln_solver::KeyParts;

/// The named parts of the step's key. `said` is what people are told when an input changed.
pub(crate) fn key_parts(
    file: &File,
    inputs: &[Output],
    said: &dyn Fn(u32) -> String,
    selections: &dyn Selections,
) -> Result<KeyParts, EngineError> {
    let mut parts = KeyParts::new();
    parts.text(KeyParts::OP, "file v1");
    match file.base {
        Some(port) => parts.content("base", snapshot(inputs, port.0)?.content, said(port.0)),
        None => parts.text("base", "scratch"),
    };
    for (number, action) in file.actions.iter().enumerate() {
        let name = |what: &str| if number == 0 { what.to_owned() } else { format!("{what} {}", number + 1) };
        match action {
            Action::Copy(copy) => {
                parts.text(name("copy"), settings(copy));
                // Whatever made the files: the key says what they are, not where they come from.
                let from = if copy.from_context { "files of the build context" } else { "files of another tree" };
                parts.files(name(from), selections.copy(&inputs[copy.from.0 as usize], copy)?);
            }
            Action::Mkdir(mkdir) => {
                parts.text(name("directory"), format!("{} {:o} {:?}", mkdir.path, mkdir.mode, mkdir.owner));
            }
            Action::Mkfile(mkfile) => {
                let content = ContentDigest::of_bytes(&mkfile.data);
                let text = format!("{} {} {:?} {:?} {content}", mkfile.dest, mkfile.name, mkfile.mode, mkfile.owner);
                parts.text(name("file"), text);
            }
        }
    }
    Ok(parts)
}

fn settings(copy: &Copy) -> String {
    let Copy { from: _, sources, dest, owner, mode, unpack, parents, exclude, link, from_context } = copy;
    let flags = format!("{owner:?} {mode:?} {unpack:?} {parents} {exclude:?} {link} {from_context}");
    format!("{sources:?} {dest:?} {flags}")
}
