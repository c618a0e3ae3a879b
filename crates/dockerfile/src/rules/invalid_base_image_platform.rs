//! `InvalidBaseImagePlatform`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    summary: "base images are for the platform that is built for",
    explanation: "An image without a list of platforms is used whatever platform was asked for, and its programs may then not \
                  run. Use an image for the platform, or say `FROM --platform=…` when another one is meant.",
    bad: "",
    good: "FROM scratch\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built() {
        for (expected, actual) in stage.facts.iter().flat_map(|facts| &facts.platform_mismatches) {
            let image = &stage.from.image;
            report.add(image.span, format!("base image `{}` is for {actual}, not for {expected}", image.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check_with;
    use crate::rules::{BaseFacts, Facts, StageFacts};

    #[test]
    fn mismatches() {
        let stage = |expected: &str| {
            let platform_mismatches = vec![(expected.to_owned(), "linux/arm64".to_owned())];
            StageFacts { skipped: false, base: Some(BaseFacts { platform_mismatches, ..BaseFacts::default() }) }
        };
        let mut both = stage("linux/amd64");
        both.add_platform(stage("linux/amd64"));
        both.add_platform(StageFacts::default());
        both.add_platform(stage("linux/s390x"));
        let facts = Facts { stages: vec![both], ..Facts::default() };
        check_with(
            &RULE,
            &facts,
            "FROM a:1",
            &[
                "a:1: base image `a:1` is for linux/arm64, not for linux/amd64",
                "a:1: base image `a:1` is for linux/arm64, not for linux/s390x",
            ],
        );
    }
}
