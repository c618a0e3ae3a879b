//! `MaintainerDeprecated`

use super::{Report, Rule, Scope};
use crate::ast::InstructionKind;

pub(super) static RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    summary: "authors are named by a label",
    explanation: "`MAINTAINER` is deprecated. The label `org.opencontainers.image.authors` says the same, and is seen by \
                  `inspect`.",
    bad: "FROM alpine\nMAINTAINER somebody@example.com\n",
    good: "FROM alpine\nLABEL org.opencontainers.image.authors=\"somebody@example.com\"\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for instruction in scope.instructions {
        if let InstructionKind::Maintainer(name) = &instruction.kind {
            report.add_with_hint(
                instruction.keyword.span,
                "MAINTAINER is deprecated",
                format!("write LABEL org.opencontainers.image.authors={:?}", name.text),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn instruction() {
        check(&RULE, "FROM a\nmaintainer b", &["maintainer: MAINTAINER is deprecated"]);
    }
}
