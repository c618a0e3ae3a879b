//! The patterns of `${name#p}` and its kin: `*` and `?`, which match any characters but line breaks, and literals.
//!
//! A backslash takes the meaning from `*`, `?` and itself, and vanishes before `}` and `/`; before anything else it is an error.
//! Matching steps all possible states at once, so its time is the product of the lengths of pattern and text, never more.

/// A parsed pattern.
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
    Star,
}

/// Longer patterns are refused: their time would be felt.
const MAX_TOKENS: usize = 1024;

impl Pattern {
    /// Parses a pattern; `None` when it has an escape without meaning or is too long.
    pub(super) fn new(glob: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut characters = glob.chars().peekable();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match characters.peek() {
                    Some('}' | '/') => continue,
                    Some(escaped @ ('*' | '?' | '\\')) => {
                        let literal = Token::Literal(*escaped);
                        characters.next();
                        literal
                    }
                    _ => return None,
                },
                other => Token::Literal(other),
            });
            if tokens.len() > MAX_TOKENS {
                return None;
            }
        }
        tokens.dedup_by(|a, b| *a == Token::Star && *b == Token::Star);
        Some(Self { tokens })
    }

    /// The value without the shortest (or, greedily, the longest) prefix that matches.
    pub(super) fn without_prefix(&self, value: &str, greedy: bool) -> String {
        let characters: Vec<char> = value.chars().collect();
        match self.prefix(&characters, greedy) {
            Some(length) => characters[length..].iter().collect(),
            None => value.to_owned(),
        }
    }

    /// The value without the shortest (or, greedily, the longest) suffix that matches.
    pub(super) fn without_suffix(&self, value: &str, greedy: bool) -> String {
        let backwards = Self { tokens: self.tokens.iter().rev().copied().collect() };
        let mut characters: Vec<char> = value.chars().rev().collect();
        if let Some(length) = backwards.prefix(&characters, greedy) {
            characters.drain(..length);
        }
        characters.iter().rev().collect()
    }

    /// The value with the first match (or all) replaced; `None` when the result would exceed `limit` bytes.
    ///
    /// An empty match counts at the start, between characters and at the end, but not right after another match.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let characters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut copied = 0;
        let mut from = 0;
        while from <= characters.len() {
            let Some((start, end)) = self.find(&characters, from) else { break };
            result.extend(&characters[copied..start]);
            if end > copied || start == 0 {
                result.push_str(replacement);
            }
            if result.len() > limit {
                return None;
            }
            copied = end;
            from = if end > from { end } else { from + 1 };
            if !all {
                break;
            }
        }
        result.extend(&characters[copied..]);
        (result.len() <= limit).then_some(result)
    }

    /// How many characters the shortest or longest match from the start takes.
    fn prefix(&self, text: &[char], greedy: bool) -> Option<usize> {
        let mut states = vec![false; self.tokens.len() + 1];
        self.enter(&mut states, 0, |state| std::mem::replace(state, true));
        let mut found = None;
        for at in 0..=text.len() {
            if states[self.tokens.len()] {
                found = Some(at);
                if !greedy {
                    break;
                }
            }
            let Some(&character) = text.get(at) else { break };
            let mut next = vec![false; states.len()];
            for index in (0..self.tokens.len()).filter(|index| states[*index]) {
                if let Some(target) = self.step(index, character) {
                    self.enter(&mut next, target, |state| std::mem::replace(state, true));
                }
            }
            if !next.contains(&true) {
                break;
            }
            states = next;
        }
        found
    }

    /// The leftmost match that begins at `from` or later, as long as can be.
    fn find(&self, text: &[char], from: usize) -> Option<(usize, usize)> {
        const NONE: usize = usize::MAX;
        // Each state holds the leftmost start that reaches it.
        let mut states = vec![NONE; self.tokens.len() + 1];
        let mut found: Option<(usize, usize)> = None;
        for at in from..=text.len() {
            if found.is_none() {
                self.lower(&mut states, 0, at);
            }
            let accepted = states[self.tokens.len()];
            if accepted != NONE && found.is_none_or(|(start, _)| accepted <= start) {
                found = Some((accepted, at));
            }
            let Some(&character) = text.get(at) else { break };
            let mut next = vec![NONE; states.len()];
            let mut alive = false;
            for (index, &start) in states[..self.tokens.len()].iter().enumerate() {
                if start == NONE || found.is_some_and(|(best, _)| start > best) {
                    continue;
                }
                if let Some(target) = self.step(index, character) {
                    self.lower(&mut next, target, start);
                    alive = true;
                }
            }
            if found.is_some() && !alive {
                break;
            }
            states = next;
        }
        found
    }

    /// The state after one character, if the token at `index` takes it.
    fn step(&self, index: usize, character: char) -> Option<usize> {
        match self.tokens[index] {
            Token::Literal(literal) => (literal == character).then_some(index + 1),
            Token::Any => (character != '\n').then_some(index + 1),
            Token::Star => (character != '\n').then_some(index),
        }
    }

    /// Enters a state and, past stars, those that follow without a character, until `visit` says that one was known.
    fn enter<T>(&self, states: &mut [T], mut index: usize, mut visit: impl FnMut(&mut T) -> bool) {
        loop {
            if visit(&mut states[index]) || self.tokens.get(index) != Some(&Token::Star) {
                return;
            }
            index += 1;
        }
    }

    fn lower(&self, states: &mut [usize], index: usize, start: usize) {
        self.enter(states, index, |state| {
            let known = *state <= start;
            *state = (*state).min(start);
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_suffixes() {
        for (value, glob, greedy, without_prefix, without_suffix) in [
            ("a.b.c", "*.", false, "b.c", "a.b.c"),
            ("a.b.c", "*.", true, "c", "a.b.c"),
            ("a.b.c", ".*", false, "a.b.c", "a.b"),
            ("a.b.c", ".*", true, "a.b.c", "a"),
            ("abc", "?", false, "bc", "ab"),
            ("abc", "", true, "abc", "abc"),
            ("abc", "*", false, "abc", "abc"),
            ("abc", "*", true, "", ""),
            ("a*c", "a\\*", false, "c", "a*c"),
            ("xx", "x", true, "x", "x"),
            ("aab", "*a*b", true, "", ""),
        ] {
            let pattern = Pattern::new(glob).unwrap();
            assert_eq!(pattern.without_prefix(value, greedy), without_prefix, "{value} {glob} {greedy}");
            assert_eq!(pattern.without_suffix(value, greedy), without_suffix, "{value} {glob} {greedy}");
        }
    }

    #[test]
    fn replacements() {
        for (value, glob, replacement, all, expected) in [
            ("a/b/c", "/", "-", false, "a-b/c"),
            ("a/b/c", "/", "-", true, "a-b-c"),
            ("foobar", "o*", "x", false, "fx"),
            ("foobar", "o?", "x", true, "fxbar"),
            ("abc", "", "r", true, "rarbrcr"),
            ("abc", "", "r", false, "rabc"),
            ("aXbXc", "a*X", "-", true, "-c"),
            ("abc", "z", "-", true, "abc"),
            ("", "*", "-", true, "-"),
            ("éaé", "é", "e", true, "eae"),
            ("abab", "ab", "", true, ""),
            ("a\nb", "*", "-", true, "-\n-"),
        ] {
            let pattern = Pattern::new(glob).unwrap();
            let replaced = pattern.replace(value, replacement, all, 1000);
            assert_eq!(replaced.as_deref(), Some(expected), "{value:?} {glob:?} {all}");
        }
        assert_eq!(Pattern::new("").unwrap().replace("aaaa", "xxxx", true, 10), None);
    }

    #[test]
    fn bad_patterns() {
        for glob in ["\\a", "a\\", "\\["] {
            assert!(Pattern::new(glob).is_none(), "{glob}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_TOKENS + 1)).is_none());
    }

    #[test]
    fn hard_patterns_take_linear_time() {
        let value = "a".repeat(100_000);
        let pattern = Pattern::new("*a*a*a*a*b").unwrap();
        assert_eq!(pattern.replace(&value, "", true, MAX_TOKENS * 1024).unwrap().len(), value.len());
        assert_eq!(pattern.without_suffix(&value, true).len(), value.len());
    }
}
