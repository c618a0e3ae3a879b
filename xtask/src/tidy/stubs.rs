//! What is not there yet returns an error that says so; it does not panic.

use super::{Finding, Tree, rust};

const MACROS: &[&str] = &["todo", "unimplemented"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust_files() {
        let code = rust::code_only(&file.text);
        for name in MACROS {
            for (line, after) in rust::words(&code, name) {
                if after.starts_with('!') {
                    let message = format!("`{name}!`: return an error that names what is missing");
                    findings.push(Finding::at(&file.path, line, message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::of_file;

    #[test]
    fn macros_are_found_and_words_are_not() {
        let text = "fn f() { todo!() }\nfn g() { unimplemented!(\"x\") }\nfn todo() {}\n// todo!\n";
        let lines: Vec<_> = check(&of_file("a.rs", text)).iter().map(|found| found.line).collect();
        assert_eq!(lines, [Some(1), Some(2)]);
    }
}
