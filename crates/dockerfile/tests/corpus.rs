//! Dockerfiles as people write them: each is read without fault, and what is read and linted is snapshotted.

use kiln_dockerfile::{SourceMap, parse, rules};
use std::fmt::Write;

#[test]
fn corpus() {
    let mut summary = String::new();
    let mut count = 0;
    for section in format!("\n{}", include_str!("corpus.txt")).split("\n=== ").skip(1) {
        let (name, source) = section.split_once('\n').unwrap();
        count += 1;
        let (dockerfile, errors) = parse(source);
        assert_eq!(errors, [], "{name}");
        let map = SourceMap::new(source);
        writeln!(summary, "=== {name}").unwrap();
        for instruction in &dockerfile.instructions {
            let (first, last) = map.lines(instruction.span);
            writeln!(summary, "{first}-{last} {}", instruction.original).unwrap();
        }
        let check = dockerfile.directives.check.as_ref().map_or("", |check| &check.value);
        let options = rules::Options::parse(check).unwrap();
        for warning in rules::check(&dockerfile, &rules::Facts::default(), &options) {
            let line = map.line(warning.span.start);
            writeln!(summary, "  ! {} (line {line}): {}", warning.rule.name, warning.message).unwrap();
        }
    }
    assert!(count >= 60, "{count}");
    insta::assert_snapshot!(summary);
}
