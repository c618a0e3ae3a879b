//! `FromAsCasing`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "FromAsCasing",
    summary: "`AS` is written in the same case as `FROM`",
    explanation: "Both cases work; a line that mixes them is harder to read. A `FROM` that is itself mixed is left to \
                  ConsistentInstructionCasing.",
    bad: "FROM alpine as build\n",
    good: "FROM alpine AS build\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        let Some(word) = &stage.from.as_keyword else { continue };
        let from = &stage.instruction.keyword.value;
        let expected = if *from == from.to_lowercase() {
            word.value.to_lowercase()
        } else if *from == from.to_uppercase() {
            word.value.to_uppercase()
        } else {
            continue;
        };
        if word.value != expected {
            report.add_with_hint(
                word.span,
                format!("`{}` is not in the case of `{from}`", word.value),
                format!("write `{expected}`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn cases() {
        check(&RULE, "FROM a As b", &["As: `As` is not in the case of `FROM`"]);
        check(&RULE, "from a AS b", &["AS: `AS` is not in the case of `from`"]);
        check(&RULE, "from a as b\nFrom a AS c\nFROM a", &[]);
    }
}
