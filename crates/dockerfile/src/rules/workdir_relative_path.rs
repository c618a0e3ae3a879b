//! `WorkdirRelativePath`

use super::{Report, Rule, Scope};
use crate::ast::InstructionKind;

pub(super) static RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    summary: "the first WORKDIR is absolute",
    explanation: "A relative path is below the working directory of the base image, which may change with the image. Begin \
                  with an absolute path; those after it may be relative.",
    bad: "FROM nginx\nWORKDIR usr/share/nginx/html\n",
    good: "FROM nginx\nWORKDIR /usr/share/nginx/html\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let mut set: Vec<bool> = Vec::new();
    for stage in &scope.stages {
        let mut is_set = stage.base.is_some_and(|base| set[base]);
        for (at, instruction) in stage.body.iter().enumerate() {
            let InstructionKind::Workdir(word) = &instruction.kind else { continue };
            if std::mem::replace(&mut is_set, true) || stage.skipped {
                continue;
            }
            let Ok(expanded) = scope.expand(stage, at, word) else { continue };
            // A variable that only the base image can have set says nothing.
            if !is_absolute(&expanded.text) && (stage.complete || expanded.unset.is_empty()) {
                report.add(word.span, format!("relative path `{}` depends on the base image", expanded.text));
            }
        }
        set.push(is_set);
    }
}

/// Whether a path begins at a root, be it a drive's.
fn is_absolute(path: &str) -> bool {
    let after_drive = match path.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => &path[2..],
        _ => path,
    };
    after_drive.starts_with(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn paths() {
        check(&RULE, "FROM a\nWORKDIR b\nWORKDIR c", &["b: relative path `b` depends on the base image"]);
        check(&RULE, "FROM a\nWORKDIR /b\nWORKDIR c", &[]);
        check(&RULE, "FROM a AS b\nWORKDIR /c\nFROM b\nWORKDIR d", &[]);
        check(&RULE, "FROM a\nENV B=/b\nWORKDIR $B", &[]);
        check(&RULE, "# escape=`\nFROM a\nWORKDIR C:\\b", &[]);
        check(&RULE, "FROM a\nWORKDIR $GOPATH/src", &[]);
    }
}
