//! `MultipleInstructionsDisallowed`

use super::{Report, Rule, Scope};
use crate::ast::InstructionKind;

pub(super) static RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    summary: "CMD, ENTRYPOINT and HEALTHCHECK stand once in a stage",
    explanation: "Only the last of them in a stage has an effect. Remove the others.",
    bad: "FROM alpine\nCMD [\"a\"]\nCMD [\"b\"]\n",
    good: "FROM alpine\nCMD [\"b\"]\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built() {
        for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let is_one = |kind: &InstructionKind| kind.name() == name;
            let mut all = stage.body.iter().filter(|instruction| is_one(&instruction.kind)).peekable();
            while let Some(instruction) = all.next() {
                // The last one counts; what is pointed at is what has no effect.
                if all.peek().is_some() {
                    report.add(
                        instruction.keyword.span,
                        format!("this {name} has no effect: another one follows in the stage"),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn repetitions() {
        let said = |name: &str, written: &str| {
            format!("{written}: this {name} has no effect: another one follows in the stage")
        };
        check(
            &RULE,
            "FROM a\ncmd b\nENTRYPOINT c\nCMD d\nENTRYPOINT e\nHEALTHCHECK NONE\nHEALTHCHECK NONE",
            &[&said("CMD", "cmd"), &said("ENTRYPOINT", "ENTRYPOINT"), &said("HEALTHCHECK", "HEALTHCHECK")],
        );
        check(&RULE, "FROM a AS b\nCMD c\nFROM b\nCMD d\nRUN e\nRUN f", &[]);
    }
}
