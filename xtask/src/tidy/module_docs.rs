//! Every source file says first what it owns: its first line is `//!`.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust_files()
        .filter(|file| !opens_with_docs(&file.text))
        .map(|file| Finding::of(&file.path, "the file does not open with `//!` documentation"))
        .collect()
}

fn opens_with_docs(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty());
    first.is_some_and(|line| line.strip_prefix("//!").is_some_and(|docs| !docs.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::of_file;

    #[test]
    fn docs_must_come_first_and_say_something() {
        assert!(check(&of_file("a.rs", "//! What it owns.\nfn f() {}\n")).is_empty());
        for text in ["fn f() {}\n", "", "//!\nfn f() {}\n", "// Plain.\n//! Late.\n"] {
            assert_eq!(check(&of_file("a.rs", text)).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn other_files_need_none() {
        assert!(check(&of_file("main.go", "package main\n")).is_empty());
    }
}
