//! `CopyIgnoredFile`

use super::{Report, Rule, Scope};
use crate::ast::{InstructionKind, Source};

pub(super) static RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    summary: "what is copied is not ignored",
    explanation: "A file that `.dockerignore` leaves out of the context cannot be copied from it. Mend the ignore file, or copy \
                  something else.",
    bad: "",
    good: "FROM scratch\nCOPY --from=other . .\n",
    experimental: true,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let Some(ignored) = scope.facts.ignored else { return };
    for stage in scope.built() {
        for (at, instruction) in stage.body.iter().enumerate() {
            let sources = match &instruction.kind {
                InstructionKind::Copy(copy) if copy.from.is_none() => &copy.sources,
                InstructionKind::Add(add) => &add.sources,
                _ => continue,
            };
            for source in sources {
                let Source::Path(word) = source else { continue };
                let Ok(expanded) = scope.expand(stage, at, word) else { continue };
                let path = clean(&expanded.text);
                if !is_remote(&expanded.text) && ignored(&path) {
                    let verb = if instruction.kind.name() == "ADD" { "added" } else { "copied" };
                    report.add(word.span, format!("`{path}` is {verb}, but the ignore file leaves it out"));
                }
            }
        }
    }
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}

/// The path without empty and `.` parts, and with `..` undone.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::Facts;
    use crate::rules::tests::{check, check_with};

    #[test]
    fn sources() {
        let ignored = |path: &str| path.ends_with(".log");
        let facts = Facts { ignored: Some(&ignored), ..Facts::default() };
        let source = "FROM a\nARG B=b\nCOPY x ./$B.log y/\nADD c.log https://x/d.log /\nCOPY --from=e f.log /";
        check_with(
            &RULE,
            &facts,
            source,
            &[
                "./$B.log: `b.log` is copied, but the ignore file leaves it out",
                "c.log: `c.log` is added, but the ignore file leaves it out",
            ],
        );
        check(&RULE, source, &[]);
    }
}
