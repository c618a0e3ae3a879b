//! `docs/dockerfile.md` names all that the code knows.

use kiln_dockerfile::mount::OPTIONS;
use kiln_dockerfile::words::EXPANSION;
use kiln_dockerfile::{FLAGS, KEYWORDS};

const PAGE: &str = include_str!("../../../docs/dockerfile.md");

/// What stands below a heading, up to the next one.
fn section(heading: &str) -> &'static str {
    let start = format!("\n{heading}\n");
    let at = PAGE.find(&start).unwrap_or_else(|| panic!("docs/dockerfile.md has no `{heading}`")) + start.len();
    let rest = &PAGE[at..];
    &rest[..rest.find("\n##").unwrap_or(rest.len())]
}

#[test]
fn instructions_and_flags() {
    for keyword in KEYWORDS {
        assert!(section(&format!("### {keyword}")).contains(&format!("`{keyword} ")), "no form of {keyword}");
    }
    for (instruction, flags) in FLAGS {
        let text = section(&format!("### {instruction}"));
        for (flag, _) in *flags {
            assert!(text.contains(&format!("| `--{flag}` |")), "no `--{flag}` of {instruction}");
        }
    }
}

#[test]
fn mount_options() {
    for (kind, options) in OPTIONS {
        let text = section(&format!("### type={kind}"));
        let names: String = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
        for option in *options {
            assert!(names.contains(&format!("`{option}`")), "no `{option}` of {kind}");
        }
    }
}

#[test]
fn expanded_parts() {
    let text = section("## Variables");
    for row in EXPANSION {
        let start = format!("| {} |", row.instruction);
        let line =
            text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {}", row.instruction));
        assert!(line.contains(row.part), "no `{}` of {}", row.part, row.instruction);
    }
}
