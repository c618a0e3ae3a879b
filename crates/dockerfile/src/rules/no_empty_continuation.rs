//! `NoEmptyContinuation`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    summary: "no empty lines between continuation lines",
    explanation: "An empty line within a continued instruction is skipped today; future versions of the language may end the \
                  instruction there. Remove it, or make it a comment.",
    bad: "FROM alpine\nRUN apk add \\\n\n    curl\n",
    good: "FROM alpine\nRUN apk add \\\n    # for the health check\n    curl\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for instruction in scope.instructions {
        if let Some(gap) = instruction.gap {
            report.add(gap, format!("an empty line within {}", instruction.kind.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn gaps() {
        check(
            &RULE,
            "FROM \\\n\na\nRUN b \\\n  \n\n c",
            &[": an empty line within FROM", "  : an empty line within RUN"],
        );
        check(&RULE, "FROM a\n\nRUN <<E\n\nE", &[]);
    }
}
