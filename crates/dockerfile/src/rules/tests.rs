//! What the tests of the rules share, and what holds for all of them.

use super::*;
use crate::parse;

/// Runs one rule and compares `caret: message` of its findings.
pub(super) fn check(rule: &'static Rule, source: &str, expected: &[&str]) {
    check_with(rule, &Facts::default(), source, expected);
}

/// The same with facts.
pub(super) fn check_with(rule: &'static Rule, facts: &Facts<'_>, source: &str, expected: &[&str]) {
    assert_eq!(findings(rule, facts, source), expected, "{source}");
}

fn findings(rule: &'static Rule, facts: &Facts<'_>, source: &str) -> Vec<String> {
    let (dockerfile, errors) = parse(source);
    assert_eq!(errors, [], "{source}");
    let options = Options { experimental_all: true, advice: true, ..Options::default() };
    super::check(&dockerfile, facts, &options)
        .into_iter()
        .filter(|warning| warning.rule == rule)
        .map(|warning| format!("{}: {}", &source[warning.span.range()], warning.message))
        .collect()
}

#[test]
fn examples_prove_their_rules() {
    // Those of kiln's own need to be told what steps do: `lower` proves their examples.
    for rule in RULES.iter().filter(|rule| !rule.own) {
        assert_eq!(findings(rule, &Facts::default(), rule.good), [] as [&str; 0], "{}", rule.name);
        // Two rules report nothing without facts, so they have no bad example.
        if !rule.bad.is_empty() {
            assert!(!findings(rule, &Facts::default(), rule.bad).is_empty(), "{}", rule.name);
        }
    }
}

#[test]
fn good_examples_are_good_to_all_rules() {
    for rule in RULES {
        let (dockerfile, _) = parse(rule.good);
        let warnings = super::check(&dockerfile, &Facts::default(), &Options::default());
        assert_eq!(warnings, [], "{}", rule.name);
    }
}

#[test]
fn names_are_in_order_and_twenty_two() {
    let names = |own: bool| RULES.iter().filter(move |rule| rule.own == own).map(|rule| rule.name.to_lowercase());
    assert!(names(false).is_sorted());
    assert_eq!(names(false).count(), 22);
    assert!(names(true).is_sorted());
    assert!(RULES.is_sorted_by_key(|rule| rule.own), "kiln's own come last");
}

#[test]
fn findings_are_in_the_order_of_the_file() {
    let (dockerfile, _) = parse("FROM a AS B\nCMD a\nfrom b as c\nCMD b\n");
    let warnings = super::check(&dockerfile, &Facts::default(), &Options::default());
    assert!(warnings.len() >= 3);
    assert!(warnings.is_sorted_by_key(|warning| warning.span.start));
    let none = super::check(&dockerfile, &Facts::default(), &Options { skip_all: true, ..Options::default() });
    assert_eq!(none, []);
}
