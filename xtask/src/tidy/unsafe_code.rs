//! `unsafe` is fenced into the `sandbox` crate, where a reviewer looks for it.

use std::path::Path;

use super::{Finding, Tree, rust};

const FENCE: &str = "crates/sandbox";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust_files().filter(|file| !file.path.starts_with(Path::new(FENCE))) {
        let code = rust::code_only(&file.text);
        for (line, _) in rust::words(&code, "unsafe") {
            findings.push(Finding::at(&file.path, line, "`unsafe` outside the `sandbox` crate"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::of_file;

    #[test]
    fn code_outside_the_fence_is_found() {
        let text = "//! Docs.\nfn f() {\n    unsafe { g() }\n}\n";
        let findings = check(&of_file("crates/store/src/lib.rs", text));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(3));
        assert!(check(&of_file("crates/sandbox/src/lib.rs", text)).is_empty());
    }

    #[test]
    fn words_in_comments_strings_and_attributes_are_not() {
        let text = "//! Not unsafe.\n#![deny(unsafe_code)]\nconst A: &str = \"unsafe\";\n";
        assert!(check(&of_file("crates/store/src/lib.rs", text)).is_empty());
    }

    #[test]
    fn a_crate_whose_name_begins_alike_is_not_inside_the_fence() {
        let findings = check(&of_file("crates/sandbox-extra/src/lib.rs", "unsafe fn f() {}"));
        assert_eq!(findings.len(), 1);
    }
}
