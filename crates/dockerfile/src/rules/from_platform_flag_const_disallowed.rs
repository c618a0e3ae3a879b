//! `FromPlatformFlagConstDisallowed`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    summary: "`FROM --platform` is no constant",
    explanation: "A constant platform makes an image for one platform only, whatever `--platform` the build is given. Use \
                  `$BUILDPLATFORM` or an argument; or, where a stage is for one platform, say so in its name.",
    bad: "FROM --platform=linux/amd64 alpine AS build\n",
    good: "FROM --platform=linux/amd64 alpine AS build-amd64\n",
    experimental: false,
    own: false,
    check,
};

/// Other names of architectures.
const ALIASES: &[(&str, &str)] = &[
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("aarch64", "arm64"),
    ("armhf", "arm"),
    ("armel", "arm"),
    ("i386", "386"),
];

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in &scope.stages {
        let Some(word) = &stage.from.platform else { continue };
        let Ok(expanded) = scope.global(word) else { continue };
        if !expanded.used.is_empty() || !expanded.unset.is_empty() {
            continue;
        }
        let name = stage.from.stage_name().unwrap_or_default();
        let lower = expanded.text.to_lowercase();
        let parts = lower.split('/').take(2);
        let named = parts.filter(|part| !part.is_empty()).any(|part| {
            let known = ALIASES.iter().find(|(alias, _)| *alias == part).map_or(part, |(_, known)| known);
            name.contains(known)
        });
        if !named {
            report.add(word.span, format!("platform `{}` is a constant", expanded.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn platforms() {
        check(&RULE, "FROM --platform=linux/arm64 a", &["linux/arm64: platform `linux/arm64` is a constant"]);
        check(&RULE, "FROM --platform=linux/aarch64 a AS b-arm64\nFROM --platform=windows/amd64 a AS windows", &[]);
        check(
            &RULE,
            "FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/arm64 a",
            &["linux/arm64: platform `linux/arm64` is a constant"],
        );
        check(&RULE, "ARG P\nFROM --platform=$P a\nFROM --platform=${Q:-linux/amd64} a", &[]);
    }
}
