//! `UndefinedArgInFrom`

use super::{Report, Rule, Scope};
use crate::suggest;

pub(super) static RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    summary: "variables in FROM are declared before it",
    explanation: "`FROM` only sees arguments that an `ARG` before the first `FROM` declares, and the predefined platform \
                  arguments. Anything else is empty there.",
    bad: "FROM alpine:${VERSION}\n",
    good: "ARG VERSION=3.20\nFROM alpine:${VERSION}\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        for word in [&stage.from.platform, &Some(stage.from.image.clone())].into_iter().flatten() {
            let Ok(expanded) = scope.global(word) else { continue };
            for unset in expanded.unset.iter().filter(|unset| !scope.is_global(&unset.name)) {
                if report.is_full() {
                    return;
                }
                let message = format!("argument `{}` is not declared before the first FROM", unset.name);
                match suggest::nearest(&unset.name, scope.global_names()) {
                    Some(name) => report.add_with_hint(word.span, message, format!("did you mean `{name}`?")),
                    None => report.add_with_hint(word.span, message, format!("declare it: ARG {}", unset.name)),
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
    fn arguments() {
        check(
            &RULE,
            "ARG A\nARG B=$A\nFROM --platform=$BUILDPLATFORM $A$B$C\nARG D\nFROM ${D}",
            &[
                "$A$B$C: argument `C` is not declared before the first FROM",
                "${D}: argument `D` is not declared before the first FROM",
            ],
        );
        check(
            &RULE,
            "FROM --platform=$BUILDPLATFROM a",
            &["$BUILDPLATFROM: argument `BUILDPLATFROM` is not declared before the first FROM"],
        );
    }
}
