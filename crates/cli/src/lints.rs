//! The findings of the lints as people read them: how many, and each with its rule and its place.
//!
//! ```text
//! 1 warning found
//!
//! warning: FromAsCasing: `as` is not written like `FROM`
//!  --> Dockerfile:1:13
//!   |
//! 1 | FROM alpine as base
//!   |             ^^
//! hint: write `AS`
//! ```

use crate::report::excerpt;
use crate::terminal::{self, Look, Paint};
use crate::{human, text};
use annotate_snippets::Level;
use kiln_engine::{Lint, Lints};

/// After a build, no more than this many are shown.
const SHOWN: usize = 20;

/// Prints what was found in a build that succeeded.
pub(crate) fn print(lints: &Lints) {
    let paint = Paint::stderr();
    let mut all = format!("{} found\n\n", human::count(lints.findings.len() as u64, "warning"));
    all.push_str(&render(lints, SHOWN, paint));
    terminal::error_bytes(all.as_bytes());
}

/// The findings, up to `limit` of them, each followed by an empty line.
pub(crate) fn render(lints: &Lints, limit: usize, paint: Paint) -> String {
    let mut all = String::new();
    for finding in lints.findings.iter().take(limit) {
        all.push_str(&one(lints, finding, paint));
        all.push('\n');
    }
    let left = lints.findings.len().saturating_sub(limit);
    if left > 0 {
        all.push_str(&format!("… and {left} more, which `kiln check` shows\n\n"));
    }
    all
}

fn one(lints: &Lints, finding: &Lint, paint: Paint) -> String {
    let mut one = format!(
        "{}: {}: {}\n{}",
        paint.paint(Look::Warning, "warning"),
        paint.paint(Look::Bold, finding.rule),
        text::message(&finding.message),
        excerpt(&lints.file, &lints.text, finding.span, "", Level::WARNING, paint)
    );
    if let Some(hint) = &finding.hint {
        one.push_str(&format!("{}: {}\n", paint.paint(Look::Cached, "hint"), text::message(hint)));
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_findings_are_counted() {
        let finding = |line: u32| Lint {
            rule: "StageNameCasing",
            summary: "names of stages are in lower case",
            message: "stage name `\u{1b}[2JB` is not in lower case".to_owned(),
            hint: None,
            span: (2 * line, 2 * line + 1),
            lines: (line + 1, line + 1),
            fix: None,
        };
        let lints = Lints {
            file: "Dockerfile".to_owned(),
            text: "a\n".repeat(25),
            findings: (0..25).map(finding).collect(),
            fatal: false,
        };
        let text = render(&lints, SHOWN, Paint { colours: false });
        assert_eq!(text.matches("warning: StageNameCasing: stage name `B` is not in lower case\n").count(), 20);
        assert!(
            text.contains(" --> Dockerfile:20:1\n") && text.ends_with("… and 5 more, which `kiln check` shows\n\n")
        );
        assert_eq!(render(&lints, usize::MAX, Paint { colours: false }).matches("warning: ").count(), 25);
    }
}
