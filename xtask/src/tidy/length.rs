//! A source file of more than [`LIMIT`] lines is two files.
//!
//! Test files are excepted: those named `tests.rs`, and whatever lies below a
//! folder named `tests`. Tests inside a source file count, since long ones
//! belong into a file of their own.

use std::path::Path;

use super::{Finding, Tree};

const LIMIT: usize = 600;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust_files()
        .filter(|file| !is_test(&file.path))
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LIMIT)
        .map(|(file, lines)| Finding::of(&file.path, format!("{lines} lines, more than {LIMIT}: what is it, really?")))
        .collect()
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.parent().is_some_and(|parent| parent.iter().any(|part| part == "tests"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::of_file;

    #[test]
    fn only_long_files_that_are_no_tests_are_found() {
        let long = "x\n".repeat(LIMIT + 1);
        assert_eq!(check(&of_file("crates/a/src/lib.rs", &long)).len(), 1);
        assert!(check(&of_file("crates/a/src/lib.rs", &"x\n".repeat(LIMIT))).is_empty());
        assert!(check(&of_file("crates/a/src/foo/tests.rs", &long)).is_empty());
        assert!(check(&of_file("crates/a/tests/build.rs", &long)).is_empty());
        assert_eq!(check(&of_file("crates/a/src/contests.rs", &long)).len(), 1);
    }
}
