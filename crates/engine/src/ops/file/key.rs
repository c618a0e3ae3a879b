//! What the key of a file op is made of.

use crate::build::Selections;
use crate::error::EngineError;
use crate::ops::exec::snapshot;
use crate::snapshot::Output;
use kiln_digest::ContentDigest;
use kiln_graph::{Action, Copy, File, Mode, Owner, Unpack, UserName};
use kiln_solver::KeyParts;

/// The named parts of the step's key. `said` is what people are told when an input changed.
pub(crate) fn key_parts(
    file: &File,
    inputs: &[Output],
    said: &dyn Fn(u32) -> String,
    selections: &dyn Selections,
) -> Result<KeyParts, EngineError> {
    let mut parts = KeyParts::new();
    parts.text(KeyParts::OP, "file v5");
    match file.base {
        Some(port) => parts.content("base", snapshot(inputs, port.0)?.content, said(port.0)),
        None => parts.text("base", "scratch"),
    };
    for (number, action) in file.actions.iter().enumerate() {
        let name = |what: &str| if number == 0 { what.to_owned() } else { format!("{what} {}", number + 1) };
        match action {
            Action::Copy(copy) => {
                copy_parts(copy, &name, &mut parts);
                // Whatever made the files: the key says what they are, not where they come from.
                let from = if copy.from_context { "files of the build context" } else { "files of another tree" };
                parts.files(name(from), selections.copy(&inputs[copy.from.0 as usize], copy)?);
            }
            Action::Mkdir(mkdir) => {
                parts.text(name("directory"), &mkdir.path);
                parts.text(name("mode of the directory"), format!("{:04o}", mkdir.mode));
                parts.text(name("owner of the directory"), owner(mkdir.owner.as_ref()));
            }
            Action::Mkfile(mkfile) => {
                parts.text(name("destination"), &mkfile.dest);
                parts.text(name("name of the file"), &mkfile.name);
                parts.text(name("mode"), mode(mkfile.mode.as_ref()));
                parts.text(name("owner"), owner(mkfile.owner.as_ref()));
                parts.text(name("text"), ContentDigest::of_bytes(&mkfile.data).to_string());
            }
        }
    }
    Ok(parts)
}

/// What a copy says of itself; a setting that it does not have is an empty text.
fn copy_parts(copy: &Copy, name: &dyn Fn(&str) -> String, parts: &mut KeyParts) {
    let Copy { from: _, sources, dest, owner, mode, unpack, parents, exclude, link, from_context } = copy;
    let flag = |is: bool| if is { "yes" } else { "" };
    let unpack = match unpack {
        Unpack::No => "",
        Unpack::Archives => "archives",
        Unpack::Always => "always",
    };
    parts.text(name("sources"), list(sources)).text(name("destination"), dest);
    parts.text(name("owner"), self::owner(owner.as_ref())).text(name("mode"), self::mode(mode.as_ref()));
    parts.text(name("unpack"), unpack).text(name("parents"), flag(*parents));
    parts.text(name("exclude"), list(exclude)).text(name("link"), flag(*link));
    parts.text(name("from the build context"), flag(*from_context));
}

/// Words as people write them; as a JSON list where one has a blank in it, so that no two lists look the same.
fn list(words: &[String]) -> String {
    let is_plain = |word: &String| !word.is_empty() && !word.starts_with('[') && !word.contains(char::is_whitespace);
    if words.iter().all(is_plain) { words.join(" ") } else { format!("{words:?}") }
}

/// `USER:GROUP` as the Dockerfile has it; a name that looks like a number, in backquotes.
fn owner(owner: Option<&Owner>) -> String {
    let Some(Owner { user, group }) = owner else { return String::new() };
    let text = |name: &UserName| match name {
        UserName::Id(id) => id.to_string(),
        UserName::Name(name) if name.parse::<u32>().is_ok() => format!("`{name}`"),
        UserName::Name(name) => name.clone(),
    };
    match group {
        Some(group) => format!("{}:{}", text(user), text(group)),
        None => text(user),
    }
}

fn mode(mode: Option<&Mode>) -> String {
    match mode {
        None => String::new(),
        Some(Mode::Octal(bits)) => format!("{bits:04o}"),
        Some(Mode::Symbolic(text)) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_apart() {
        let words = |words: &[&str]| list(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["a", "b/"]), "a b/");
        assert_eq!(words(&["a b"]), "[\"a b\"]");
        assert_eq!(words(&["[\"a", "b\"]"]), "[\"[\\\"a\", \"b\\\"]\"]");
        assert_eq!((words(&[]), words(&[""])), (String::new(), "[\"\"]".to_owned()));
    }

    #[test]
    fn owners_and_modes_read_as_in_the_dockerfile() {
        let of = |user: UserName, group: Option<UserName>| owner(Some(&Owner { user, group }));
        assert_eq!(of(UserName::Id(5), None), "5");
        assert_eq!(of(UserName::Name("app".into()), Some(UserName::Id(0))), "app:0");
        assert_ne!(of(UserName::Name("4294967294".into()), None), of(UserName::Id(4_294_967_294), None));
        assert_eq!(owner(None), "");
        assert_eq!(mode(Some(&Mode::Octal(0o755))), "0755");
        assert_eq!(mode(Some(&Mode::Symbolic("u=rwX".into()))), "u=rwX");
    }
}
