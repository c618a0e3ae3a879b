//! `LegacyKeyValueFormat`

use super::{Report, Rule, Scope};
use crate::ast::InstructionKind;

pub(super) static RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    summary: "names and values are joined by `=`",
    explanation: "`ENV name value` is the old form: it holds one pair, and takes the rest of the line as its value, blanks \
                  included. Write `name=value`, with quotes around a value that has blanks.",
    bad: "FROM alpine\nENV GREETING hello world\n",
    good: "FROM alpine\nENV GREETING=\"hello world\"\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for instruction in scope.built().flat_map(|stage| stage.body) {
        let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) = &instruction.kind else { continue };
        if let (true, [(name, value)]) = (pairs.legacy, pairs.pairs.as_slice()) {
            let keyword = &instruction.keyword.value;
            report.add_with_hint(
                name.span.to(value.span),
                format!("{} in the old form without `=`", instruction.kind.name()),
                format!("write {keyword} {}=…", name.text),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn forms() {
        check(&RULE, "FROM a\nENV b c d\nENV b=c d=e", &["b c d: ENV in the old form without `=`"]);
        check(&RULE, "FROM a\nlabel b c", &["b c: LABEL in the old form without `=`"]);
    }
}
