//! `JSONArgsRecommended`

use super::{Report, Rule, Scope};
use crate::ast::{CommandForm, InstructionKind};

pub(super) static RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    summary: "CMD and ENTRYPOINT are JSON lists",
    explanation: "In shell form the program runs below a shell, which does not pass signals on: `docker stop` then waits and \
                  kills. Write the command as a JSON list, or name a shell with `SHELL` when one is wanted.",
    bad: "FROM alpine\nCMD my-server --port 80\n",
    good: "FROM alpine\nCMD [\"my-server\", \"--port\", \"80\"]\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let mut shells: Vec<bool> = Vec::new();
    for stage in &scope.stages {
        let mut has_shell = match stage.base {
            Some(base) => shells[base],
            None => stage.facts.is_some_and(|facts| facts.has_shell),
        };
        for instruction in stage.body {
            match &instruction.kind {
                InstructionKind::Shell(_) => has_shell = true,
                InstructionKind::Cmd(CommandForm::Shell(command))
                | InstructionKind::Entrypoint(CommandForm::Shell(command))
                    if !has_shell && !stage.skipped =>
                {
                    let span = if command.text.is_empty() { instruction.keyword.span } else { command.span };
                    let name = instruction.kind.name();
                    report.add_with_hint(
                        span,
                        format!("{name} in shell form does not get signals"),
                        format!("write it as a list: {name} [\"program\", \"argument\"]"),
                    );
                }
                _ => {}
            }
        }
        shells.push(has_shell);
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::{check, check_with};
    use crate::rules::{BaseFacts, Facts, StageFacts};

    #[test]
    fn forms() {
        check(&RULE, "FROM a\nENTRYPOINT b c", &["b c: ENTRYPOINT in shell form does not get signals"]);
        check(&RULE, "FROM a\nCMD [\"b\"]\nENTRYPOINT []", &[]);
    }

    #[test]
    fn shells_are_meant() {
        let shell = "SHELL [\"/bin/sh\", \"-c\"]";
        check(&RULE, &format!("FROM a\n{shell}\nCMD b"), &[]);
        check(&RULE, &format!("FROM a AS b\n{shell}\nFROM b\nCMD c"), &[]);
        let base = BaseFacts { has_shell: true, ..BaseFacts::default() };
        let facts = Facts { stages: vec![StageFacts { skipped: false, base: Some(base) }], ..Facts::default() };
        check_with(&RULE, &facts, "FROM a\nCMD b", &[]);
    }
}
