//! `DuplicateStageName`

use super::{Report, Rule, Scope};
use std::collections::HashSet;

pub(super) static RULE: Rule = Rule {
    name: "DuplicateStageName",
    summary: "each stage has a name of its own",
    explanation: "When two stages have one name, `COPY --from` and `--target` mean the last of them, which is easily mistaken. \
                  Names are compared without regard to case.",
    bad: "FROM golang AS build\nFROM alpine AS build\n",
    good: "FROM golang AS compile\nFROM alpine AS package\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let mut seen = HashSet::new();
    for stage in &scope.stages {
        if let (Some(name), Some(alias)) = (stage.from.stage_name(), &stage.from.alias)
            && !seen.insert(name)
        {
            report.add(alias.span, format!("a stage before has the name `{}` too", alias.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn names() {
        check(&RULE, "FROM a AS b\nFROM a AS B\nFROM a", &["B: a stage before has the name `B` too"]);
    }
}
