//! `cargo xtask tidy`: the rules of the code base that no compiler checks.
//!
//! Each rule is one module with a `check` over the [`Tree`], and one row of
//! [`CHECKS`]. A rule reads no files itself, so its tests feed it small made-up
//! trees. Source text is looked at through [`rust`], which blanks comments and
//! literals; a word in a comment breaks no rule.

mod allow;
mod layers;
mod length;
mod module_docs;
mod registry_hosts;
mod rust;
mod stubs;
mod tree;
mod unsafe_code;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

pub(crate) use tree::Tree;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: PathBuf,
    /// Counted from 1; none where the finding is about the whole file.
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn at(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: Some(line), message: message.into() }
    }

    fn of(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.message),
            None => write!(f, "{}: {}", self.path.display(), self.message),
        }
    }
}

struct Check {
    name: &'static str,
    rule: &'static str,
    run: fn(&Tree) -> Vec<Finding>,
}

const CHECKS: &[Check] = &[
    Check { name: "layers", rule: "kiln's crates depend only on crates of lower layers", run: layers::check },
    Check { name: "unsafe", rule: "only the `sandbox` crate holds `unsafe`", run: unsafe_code::check },
    Check { name: "module-docs", rule: "every source file opens with `//!` documentation", run: module_docs::check },
    Check {
        name: "allow",
        rule: "lints are silenced by `#[expect(…, reason = \"…\")]`, never by `allow`",
        run: allow::check,
    },
    Check { name: "stubs", rule: "no `todo!` and no `unimplemented!`", run: stubs::check },
    Check { name: "length", rule: "a source file has at most 600 lines (test files excepted)", run: length::check },
    Check { name: "registry-hosts", rule: "no file names the host of a package registry", run: registry_hosts::check },
];

/// Runs every check over the work tree at `root`; an error when one finds
/// something.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut total = 0;
    for check in CHECKS {
        let mut findings = (check.run)(&tree);
        findings.sort();
        if !findings.is_empty() {
            println!("tidy: {}: {}", check.name, check.rule);
        }
        for finding in &findings {
            println!("  {finding}");
        }
        total += findings.len();
    }
    if total > 0 {
        bail!("tidy: {total} findings");
    }
    println!("tidy: {} checks, {} files, no findings", CHECKS.len(), tree.files.len());
    Ok(())
}
