//! `StageNameCasing`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "StageNameCasing",
    summary: "names of stages are in lower case",
    explanation: "Stages are looked up by their names in lower case, so capitals in a name only make it look different from \
                  what `--target` and `COPY --from` mean by it. Write it in lower case.",
    bad: "FROM alpine AS BuildBase\n",
    good: "FROM alpine AS build-base\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        if let Some(alias) = &stage.from.alias
            && alias.value != alias.value.to_lowercase()
        {
            report.add(alias.span, format!("stage name `{}` is not in lower case", alias.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn names() {
        check(&RULE, "FROM a AS b\nFROM a AS B1", &["B1: stage name `B1` is not in lower case"]);
    }
}
