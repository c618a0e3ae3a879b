//! `ReservedStageName`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "ReservedStageName",
    summary: "no stage is named `scratch` or `context`",
    explanation: "`scratch` is the empty image and `context` the build context; a stage of that name hides them, or is hidden \
                  by them.",
    bad: "FROM alpine AS scratch\n",
    good: "FROM alpine AS base\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        if let (Some(name), Some(alias)) = (stage.from.stage_name(), &stage.from.alias)
            && matches!(name.as_str(), "scratch" | "context")
        {
            report.add(alias.span, format!("`{name}` is reserved and should not be the name of a stage"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn names() {
        let said = "is reserved and should not be the name of a stage";
        check(&RULE, "FROM a AS Context\nFROM a AS scratch2", &[&format!("Context: `context` {said}")]);
    }
}
