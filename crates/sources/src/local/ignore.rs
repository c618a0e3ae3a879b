//! `.dockerignore`: which files of a context do not exist for the build.
//!
//! The rules are Docker's, not git's: a pattern is anchored at the context's root; `*` and `?` do not cross a slash, `**`
//! matches any number of directories; a pattern that matches a directory takes all below it along; `!` brings back, and the
//! last pattern that matches decides.

use super::pattern::{BadPattern, Pattern};
use std::path::Path;

/// The patterns of a `.dockerignore` file.
#[derive(Debug, Clone, Default)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
    brings_back: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    keeps: bool,
}

/// What the rules say of one path, and what its children need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    matched: Vec<bool>,
    /// Whose pattern matches the path or one above it, where that may be another question.
    named: Vec<bool>,
    ignored: bool,
    withheld: bool,
}

/// A line of a `.dockerignore` file that is not a pattern.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct IgnoreError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub source: BadPattern,
}

impl IgnoreRules {
    /// Reads the text of a `.dockerignore` file.
    ///
    /// # Errors
    /// A malformed pattern, with its line.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut rules = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if !line.is_empty() {
                rules.add(line).map_err(|source| IgnoreError { line: number + 1, source })?;
            }
        }
        Ok(rules)
    }

    /// Adds one pattern, which wins over those before it.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn add(&mut self, text: &str) -> Result<(), BadPattern> {
        let (keeps, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        let cleaned = clean(text);
        if keeps && text.is_empty() {
            return Err(BadPattern::new("!", "expected a pattern after `!`"));
        }
        // The context itself is never ignored.
        if cleaned.is_empty() {
            return Ok(());
        }
        self.rules.push(Rule { pattern: Pattern::new(&cleaned)?, keeps });
        self.brings_back |= keeps;
        Ok(())
    }

    /// Whether there is nothing to ignore.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a pattern (`!…`) brings back what others leave out.
    pub fn brings_back(&self) -> bool {
        self.brings_back
    }

    /// The verdict on the root of the context, which is never ignored.
    pub fn root(&self) -> Verdict {
        let rules = self.rules.len();
        let named = vec![false; if self.brings_back { rules } else { 0 }];
        Verdict { matched: vec![false; rules], named, ignored: false, withheld: false }
    }

    /// The verdict on `path`, given that on its parent directory.
    pub fn judge(&self, path: &Path, parent: &Verdict) -> Verdict {
        let mut verdict = Verdict {
            matched: Vec::with_capacity(self.rules.len()),
            named: Vec::with_capacity(parent.named.len()),
            ignored: false,
            withheld: false,
        };
        for (index, rule) in self.rules.iter().enumerate() {
            // As in Docker, a pattern that would change nothing is not looked at; so `!dir` brings back what is below `dir` only if
            // `dir` itself was ignored.
            let counts = rule.keeps == verdict.ignored;
            let named_above = parent.named.get(index).copied();
            let wanted = (counts && !parent.matched[index]) || named_above == Some(false);
            let matches = wanted && rule.pattern.matches(path.as_os_str().as_encoded_bytes());
            let matched = parent.matched[index] || (counts && matches);
            if matched {
                verdict.ignored = !rule.keeps;
            }
            verdict.matched.push(matched);
            if let Some(above) = named_above {
                let named = above || matches;
                if named {
                    verdict.withheld = !rule.keeps;
                }
                verdict.named.push(named);
            }
        }
        verdict
    }

    /// The verdict on a path from the root down.
    pub fn judge_from_root(&self, path: &Path) -> Verdict {
        let mut verdict = self.root();
        let mut prefix = std::path::PathBuf::new();
        for component in path.components() {
            prefix.push(component);
            verdict = self.judge(&prefix, &verdict);
        }
        verdict
    }

    /// Whether something below the ignored directory `path` may yet be kept.
    pub fn may_keep_below(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_encoded_bytes();
        self.brings_back && self.rules.iter().any(|rule| rule.keeps && rule.pattern.may_match_below(path))
    }
}

impl Verdict {
    /// Whether the path does not exist for the build.
    pub fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// Whether the path is there, but of a file the bytes stay behind. Docker lists a context from the root down, and there does not look
    /// at a pattern that would change nothing for a directory; before it sends a file it asks again, for the path and all above it at
    /// once. So after `*` and `!**/*.go` a `vendor` leaves what it should leave out in the context, but empty.
    pub fn is_withheld(&self) -> bool {
        self.withheld && !self.ignored
    }
}

/// The lexical normal form of a pattern: no `.`, no empty component, `..` resolved as far as it goes, no leading slash. One that leads out
/// of the context keeps its `..`, and matches nothing.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if text.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        IgnoreRules::parse(rules).unwrap().judge_from_root(Path::new(path)).is_ignored()
    }

    #[test]
    fn rules_table() {
        for (rules, path, expected) in [
            ("", "a", false),
            ("a", "a", true),
            ("a", "b/a", false),
            ("a", "a/b", true),
            ("/a/", "a/b", true),
            ("./a", "a", true),
            ("../a", "a", false),
            ("/../a", "a", true),
            ("b/../../a", "a", false),
            ("*\n!.", "a", true),
            ("**.o", "x/y.o", true),
            ("x**\n!**.c", "x/a.c", false),
            ("# a\na", "a", true),
            (" # a", "# a", true),
            ("*", "a/b", true),
            ("*\n!a", "a", false),
            ("*\n!a", "a/b", false),
            ("*\n!a/b", "a", true),
            ("*\n!a/b", "a/b", false),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md\nREAD*", "README.md", true),
            ("**/*.go", "main.go", true),
            ("**/*.go", "x/y/main.go", true),
            ("**/node_modules", "web/node_modules/react/index.js", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("**/*.md\n!docs", "docs/a.md", true),
            ("*\n!docs\n**/*.md", "docs/a.md", true),
            ("docs\n**/*.md\n!docs", "docs/a.md", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("temp*", "temporary/x", true),
            ("*/temp*", "a/temporary", true),
            ("*/temp*", "temporary", false),
        ] {
            assert_eq!(ignored(rules, path), expected, "rules {rules:?}, path {path}");
        }
    }

    #[test]
    fn bytes_of_what_only_the_way_down_keeps_stay_behind() {
        for (rules, path, expected) in [
            ("*\n!**/*.go\nvendor", "vendor/x/a.go", true),
            ("*\n!**/*.go\nvendor", "src/a.go", false),
            ("*\n!src\nsrc/secret", "src/a", false),
            ("vendor\n!vendor/keep", "vendor/keep/a", false),
            ("", "a", false),
        ] {
            let parsed = IgnoreRules::parse(rules).unwrap();
            let verdict = parsed.judge_from_root(Path::new(path));
            assert_eq!(
                (verdict.is_ignored(), verdict.is_withheld()),
                (false, expected),
                "rules {rules:?}, path {path}"
            );
        }
    }

    #[test]
    fn descends_only_where_something_may_be_kept() {
        let rules = IgnoreRules::parse("vendor\n!vendor/keep/x\n").unwrap();
        assert!(rules.may_keep_below(Path::new("vendor")));
        assert!(rules.may_keep_below(Path::new("vendor/keep")));
        assert!(!rules.may_keep_below(Path::new("vendor/other")));
        assert!(!IgnoreRules::parse("vendor").unwrap().may_keep_below(Path::new("vendor")));
        assert!(IgnoreRules::parse("vendor\n!**/x").unwrap().may_keep_below(Path::new("vendor/a")));
    }

    #[test]
    fn bad_patterns_name_their_line() {
        let error = IgnoreRules::parse("ok\n[a").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(IgnoreRules::parse("!").is_err());
    }
}
