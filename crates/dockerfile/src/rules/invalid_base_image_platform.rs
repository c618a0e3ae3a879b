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
        let mismatch = stage.facts.and_then(|facts| facts.platform_mismatch.as_ref());
        if let Some((expected, actual)) = mismatch {
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
        let platform_mismatch = Some(("linux/amd64".to_owned(), "linux/arm64".to_owned()));
        let base = BaseFacts { platform_mismatch, ..BaseFacts::default() };
        let facts = Facts { stages: vec![StageFacts { skipped: false, base: Some(base) }], ..Facts::default() };
        check_with(&RULE, &facts, "FROM a:1", &["a:1: base image `a:1` is for linux/arm64, not for linux/amd64"]);
    }
}
