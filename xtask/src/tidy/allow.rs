//! A lint is silenced by `expect` with a reason: it turns into a warning when
//! the cause is gone, which `allow` never does.

use super::{Finding, Tree, rust};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust_files() {
        let code = rust::code_only(&file.text);
        let mut in_attribute = false;
        for (index, line) in code.lines().enumerate() {
            in_attribute |= line.contains("#[") || line.contains("#![");
            let found = rust::words(line, "allow").any(|(_, after)| after.trim_start().starts_with('('));
            if in_attribute && found {
                findings.push(Finding::at(
                    &file.path,
                    index + 1,
                    "an `allow` attribute: use `#[expect(…, reason = \"…\")]`",
                ));
            }
            // An attribute may span lines (`cfg_attr` often does); its end is
            // taken to be the next line that closes a bracket.
            in_attribute &= !line.contains(']');
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::of_file;

    #[test]
    fn each_form_of_allow_is_found() {
        for text in [
            "#[allow(dead_code)]\nfn f() {}",
            "#![allow(dead_code)]",
            "#[allow(dead_code, reason = \"later\")]",
            "#[cfg_attr(test, allow(dead_code))]",
            "#[cfg_attr(\n    test,\n    allow(dead_code)\n)]",
        ] {
            assert_eq!(check(&of_file("a.rs", text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn expect_functions_and_comments_are_fine() {
        for text in [
            "#[expect(dead_code, reason = \"read by tests\")]\nfn f() {}",
            "#[test]\nfn f() { allow(1); }",
            "// #[allow(dead_code)]",
        ] {
            assert!(check(&of_file("a.rs", text)).is_empty(), "{text}");
        }
    }
}
