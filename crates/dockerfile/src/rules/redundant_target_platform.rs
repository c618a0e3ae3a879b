//! `RedundantTargetPlatform`

use super::scope::platform_arg;
use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    summary: "`--platform=$TARGETPLATFORM` is left out",
    explanation: "Base images are those of the target platform anyway.",
    bad: "FROM --platform=$TARGETPLATFORM alpine\n",
    good: "FROM alpine\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        let Some(word) = &stage.from.platform else { continue };
        let Ok(expanded) = scope.global(word) else { continue };
        let alone = expanded.used == ["TARGETPLATFORM"] && expanded.unset.is_empty();
        if alone && Some(expanded.text.as_str()) == platform_arg("TARGETPLATFORM") {
            report.add(word.span, format!("platform `{}` is the default", word.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn platforms() {
        check(
            &RULE,
            "FROM --platform=${TARGETPLATFORM} a",
            &["${TARGETPLATFORM}: platform `${TARGETPLATFORM}` is the default"],
        );
        check(&RULE, "FROM --platform=$BUILDPLATFORM a\nFROM --platform=${TARGETPLATFORM}/v8 a\nFROM a", &[]);
        check(&RULE, "ARG TARGETPLATFORM=linux/amd64\nFROM --platform=${TARGETPLATFORM:+linux/arm64} a", &[]);
    }
}
