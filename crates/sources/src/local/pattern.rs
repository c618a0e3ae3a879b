//! Path patterns with Docker's wildcards: `*`, `?`, `[a-z]`, `\x`, and `**` for any number of directories.
//!
//! A character is one of UTF-8, and none but `**` crosses a slash. As in Docker's `patternmatcher`, `**` may stand anywhere: at the end it
//! takes whatever follows, elsewhere nothing or some directories (`a**b` is `ab` and `ax/y/b`); at the beginning of a pattern without
//! other wildcards what follows is just the end of the path (`**.log`). What is malformed is so by the rules of Go's `path.Match`.

/// A compiled pattern, matched against a whole path.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// The path itself.
    Path(Vec<u8>),
    /// The end of a path, after `**`.
    End(Vec<u8>),
    /// Anything else.
    Tokens(Vec<Token>),
}

/// A part of a pattern with wildcards.
#[derive(Debug, Clone)]
pub enum Token {
    /// One byte of the path.
    Byte(u8),
    /// `?`
    AnyCharacter,
    /// `*`
    AnyCharacters,
    /// `**` before something: nothing, or whatever ends with a slash.
    AnyDirectories,
    /// `**` at the end.
    Anything,
    /// `[…]`
    Class {
        /// Whether it begins with `^`.
        negated: bool,
        /// The characters from the first to the second, both included.
        ranges: Vec<(char, char)>,
    },
}

/// A pattern that is malformed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("bad pattern `{pattern}`: {problem}")]
pub struct BadPattern {
    pattern: String,
    problem: &'static str,
}

impl BadPattern {
    pub(super) fn new(pattern: &str, problem: &'static str) -> Self {
        Self { pattern: pattern.to_owned(), problem }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl Pattern {
    /// Compiles a relative pattern in lexical normal form.
    ///
    /// # Errors
    /// An unclosed or malformed class, or a backslash at the end.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        if !Self::has_wildcards(text) {
            return Ok(Self::Path(text.as_bytes().to_owned()));
        }
        if let Some(end) = text.strip_prefix("**").filter(|end| !end.starts_with('/') && !Self::has_wildcards(end)) {
            return Ok(Self::End(end.as_bytes().to_owned()));
        }
        tokens(text).map(Self::Tokens).map_err(|problem| BadPattern::new(text, problem))
    }

    /// Whether `text` has any wildcard or escape.
    fn has_wildcards(text: &str) -> bool {
        text.bytes().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
    }

    /// Whether the whole of `path` matches. A final `/**` wants at least one component.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Path(exactly) => exactly == path,
            Self::End(end) => path.ends_with(end),
            Self::Tokens(tokens) if has_inner_directories(tokens) => matches_in_some_way(tokens, path),
            Self::Tokens(tokens) => matches_tokens(tokens, path),
        }
    }

    /// Whether a path below the directory `path` may match.
    pub fn may_match_below(&self, path: &[u8]) -> bool {
        match self {
            Self::Path(exactly) => exactly.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/")),
            Self::End(_) => true,
            Self::Tokens(tokens) => begins_with(tokens, path),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' if rest.starts_with('*') => {
                rest = rest[1..].strip_prefix('/').unwrap_or(&rest[1..]);
                tokens.push(if rest.is_empty() { Token::Anything } else { Token::AnyDirectories });
            }
            '*' => tokens.push(Token::AnyCharacters),
            '?' => tokens.push(Token::AnyCharacter),
            '\\' => {
                let escaped = rest.chars().next().ok_or("expected a character after `\\`")?;
                tokens.extend(rest[..escaped.len_utf8()].bytes().map(Token::Byte));
                rest = &rest[escaped.len_utf8()..];
            }
            '[' => {
                let (class, after) = class(rest)?;
                rest = after;
                tokens.push(class);
            }
            character => tokens.extend(character.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte)),
        }
    }
    Ok(tokens)
}

fn class(text: &str) -> Result<(Token, &str), &'static str> {
    let negated = text.starts_with('^');
    let mut rest = text.strip_prefix('^').unwrap_or(text);
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !ranges.is_empty()) {
            return Ok((Token::Class { negated, ranges }, after));
        }
        let (low, after) = class_character(rest)?;
        rest = after;
        let mut high = low;
        if let Some(after) = rest.strip_prefix('-') {
            (high, rest) = class_character(after)?;
        }
        ranges.push((low, high));
    }
}

/// A character of a class, and what follows it, which is never nothing.
fn class_character(text: &str) -> Result<(char, &str), &'static str> {
    if text.starts_with(']') {
        return Err("expected a character before `]`; write `\\]` for that one");
    }
    if text.starts_with('-') {
        return Err("expected a character before `-`; write `\\-` for that one");
    }
    let text = text.strip_prefix('\\').unwrap_or(text);
    let character = text.chars().next().filter(|character| text.len() > character.len_utf8());
    character.map(|character| (character, &text[character.len_utf8()..])).ok_or("expected `]` after `[`")
}

/// Whether a `**` may stand inside a component (`a**b`), where it takes nothing or goes on to the end of some directory.
fn has_inner_directories(pattern: &[Token]) -> bool {
    let at_start = |token: &Token| matches!(token, Token::Byte(b'/') | Token::AnyDirectories);
    pattern.windows(2).any(|pair| matches!(pair[1], Token::AnyDirectories) && !at_start(&pair[0]))
}

/// Matches by trying all ways, each place of pattern and text once: where an earlier `**` ends decides where one inside a component may
/// take nothing.
fn matches_in_some_way(pattern: &[Token], text: &[u8]) -> bool {
    let width = text.len() + 1;
    let mut seen = vec![false; (pattern.len() + 1) * width];
    let mut left = vec![(0, 0)];
    while let Some((p, s)) = left.pop() {
        if std::mem::replace(&mut seen[p * width + s], true) {
            continue;
        }
        match pattern.get(p) {
            None if s == text.len() => return true,
            None => {}
            Some(Token::Anything) => return true,
            Some(Token::AnyDirectories) => {
                let slashes = text[s..].iter().zip(s..).filter(|(byte, _)| **byte == b'/');
                left.extend(slashes.map(|(_, slash)| (p + 1, slash + 1)));
                left.push((p + 1, s));
            }
            Some(Token::AnyCharacters) => {
                if text.get(s).is_some_and(|byte| *byte != b'/') {
                    left.push((p, s + character_length(&text[s..])));
                }
                left.push((p + 1, s));
            }
            Some(token) => left.extend(token.matches(&text[s..]).map(|length| (p + 1, s + length))),
        }
    }
    false
}

/// Matches greedily with two points of return: the last `*` is tried as far as its component goes, then the last `**` from the next
/// component on. What one before it took can only be more, which helps nobody as long as each `**` stands where a component begins.
fn matches_tokens(pattern: &[Token], text: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    // Each is the token after it, and the place in the text from which on that was tried last.
    let mut star: Option<(usize, usize)> = None;
    let mut directories: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(Token::Anything) => return true,
            Some(Token::AnyDirectories) => {
                (p, star) = (p + 1, None);
                directories = Some((p, s));
                continue;
            }
            Some(Token::AnyCharacters) => {
                p += 1;
                star = Some((p, s));
                continue;
            }
            Some(token) => {
                if let Some(length) = token.matches(&text[s..]) {
                    (p, s) = (p + 1, s + length);
                    continue;
                }
            }
            None if s == text.len() => return true,
            None => {}
        }
        if let Some((after, from)) = star.filter(|(_, from)| text.get(*from).is_some_and(|byte| *byte != b'/')) {
            let next = from + character_length(&text[from..]);
            star = Some((after, next));
            (p, s) = (after, next);
            continue;
        }
        let Some((after, from)) = directories else { return false };
        let Some(slash) = text[from..].iter().position(|byte| *byte == b'/') else { return false };
        let next = from + slash + 1;
        (directories, star) = (Some((after, next)), None);
        (p, s) = (after, next);
    }
}

/// Whether what matches may begin with `path` and a slash: all places of the pattern that reading it may lead to, at once.
fn begins_with(pattern: &[Token], path: &[u8]) -> bool {
    let mut places = vec![false; pattern.len() + 1];
    places[0] = true;
    let text: Vec<u8> = path.iter().copied().chain([b'/']).collect();
    let mut at = 0;
    while at < text.len() {
        // What may match nothing is passed by.
        for place in 0..pattern.len() {
            let skipped = matches!(pattern[place], Token::AnyCharacters | Token::AnyDirectories);
            places[place + 1] |= places[place] && skipped;
            if places[place] && matches!(pattern[place], Token::AnyDirectories | Token::Anything) {
                return true;
            }
        }
        let length = character_length(&text[at..]);
        let mut next = vec![false; pattern.len() + 1];
        for (place, token) in pattern.iter().enumerate().filter(|(place, _)| places[*place]) {
            match token {
                Token::AnyCharacters => next[place] |= text[at] != b'/',
                // A character of several bytes is that many tokens; the others follow below.
                Token::Byte(_) if length > 1 => {
                    let same = (0..length)
                        .all(|n| matches!(pattern.get(place + n), Some(Token::Byte(b)) if *b == text[at + n]));
                    if same {
                        next[place + length] = true;
                    }
                }
                token => next[place + 1] |= token.matches(&text[at..]).is_some(),
            }
        }
        places = next;
        at += length;
    }
    // Something must follow the slash.
    places[..pattern.len()].contains(&true)
}

/// The length of the first character of a text, which may be no UTF-8: then it is a byte.
fn character_length(text: &[u8]) -> usize {
    first_character(text).map_or(1, char::len_utf8)
}

fn first_character(text: &[u8]) -> Option<char> {
    let first = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(first) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&first[..error.valid_up_to()]).ok()?,
    };
    valid.chars().next()
}

impl Token {
    /// How many bytes at the beginning of a text are the one character that this is.
    fn matches(&self, text: &[u8]) -> Option<usize> {
        let first = *text.first()?;
        match self {
            Self::Byte(wanted) => (*wanted == first).then_some(1),
            _ if first == b'/' => None,
            Self::AnyCharacter => Some(character_length(text)),
            Self::Class { negated, ranges } => {
                let character = first_character(text).unwrap_or(char::REPLACEMENT_CHARACTER);
                let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                (is_in != *negated).then(|| character_length(text))
            }
            Self::AnyCharacters | Self::AnyDirectories | Self::Anything => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_as_documented() {
        for (pattern, path, expected) in [
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("*", "", true),
            ("x/**", "x/y", true),
            ("x/**", "x", false),
            ("**", "a/b", true),
            ("**/b", "b", true),
            ("**/b/**/c", "a/b/x/b/y/c", true),
            ("a[]-]", "a]", false),
            ("[\\]]", "]", true),
            ("a?c", "aäc", true),
            ("a?c", "a/c", false),
            ("[ä-ö]x", "öx", true),
            ("[^a]x", "äx", true),
            ("ä*", "äö", true),
            ("**.log", "a.log", true),
            ("**.log", "x/y/a.log", true),
            ("**/a.log", "xa.log", false),
            ("**x*", "yx", false),
            ("**x*", "y/x1", true),
            ("a**", "ab/c", true),
            ("a**b", "ab", true),
            ("a**b", "axb", false),
            ("a**b", "ax/y/b", true),
            ("**/a**b", "a/ab", true),
            ("**/a**b", "a/c/a", false),
            ("a/**/*.c", "a/x.c", true),
            ("a/**/*.c", "a/b/c/x.c", true),
            ("a/**/*.c", "a/b/c/x.cc", false),
            ("a/*/b/**", "a/x/b/c/d", true),
            ("*/*/c", "a/b/b/c", false),
            ("[^-]", "a", false),
            ("[a-]", "a", false),
            ("[]a]", "a", false),
            ("a\\", "a", false),
        ] {
            match Pattern::new(pattern) {
                Ok(compiled) => assert_eq!(compiled.matches(path.as_bytes()), expected, "{pattern} {path}"),
                Err(_) => assert!(!expected, "{pattern} does not compile"),
            }
        }
    }

    #[test]
    fn what_may_be_below() {
        for (pattern, directory, expected) in [
            ("a/b", "a", true),
            ("a/b", "a/b", false),
            ("a/b", "ab", false),
            ("a/*/c", "a/x", true),
            ("a/*", "a/x", false),
            ("a*", "ab", false),
            ("**/c", "x/y", true),
            ("**.c", "x/y", true),
            ("a/**", "b", false),
            ("a/**", "a", true),
            ("x/?/z", "x/ä", true),
            ("x/ä/z", "x/ä", true),
            ("x/[ä]/z", "x/ö", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).unwrap().may_match_below(directory.as_bytes()),
                expected,
                "{pattern} {directory}"
            );
        }
    }

    proptest! {
        /// Slowly, but plainly.
        #[test]
        fn as_tried_in_every_way(text in "[ab/*?ä]{0,10}", path in "[ab/ä]{0,10}") {
            fn tried(pattern: &[Token], text: &[u8]) -> bool {
                let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
                match first {
                    Token::Anything => true,
                    Token::AnyDirectories => {
                        let after = |at: usize| at == 0 || text[at - 1] == b'/';
                        (0..=text.len()).any(|at| after(at) && tried(rest, &text[at..]))
                    }
                    Token::AnyCharacters => {
                        let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                        (0..=end).any(|at| tried(rest, &text[at..]))
                    }
                    token => token.matches(text).is_some_and(|length| tried(rest, &text[length..])),
                }
            }
            if let Ok(Pattern::Tokens(tokens)) = Pattern::new(&text) {
                let matches = Pattern::Tokens(tokens.clone()).matches(path.as_bytes());
                prop_assert_eq!(matches, tried(&tokens, path.as_bytes()), "{} {}", text, path);
            }
        }

        #[test]
        fn what_matches_is_below_what_may_have_it(text in "[ab/*?ä]{1,10}", path in "[abä]{1,3}(/[abä]{1,3}){1,3}") {
            let pattern = Pattern::new(&text).unwrap();
            if pattern.matches(path.as_bytes()) {
                let (directory, _) = path.rsplit_once('/').unwrap();
                prop_assert!(pattern.may_match_below(directory.as_bytes()), "{} {}", text, path);
            }
        }

        #[test]
        fn never_panics_and_literals_match_themselves(text in "[a-z/*?\\[\\]^\\\\-]{0,20}", path in "[a-z/]{0,20}") {
            if let Ok(pattern) = Pattern::new(&text) {
                pattern.matches(path.as_bytes());
                pattern.may_match_below(path.as_bytes());
            }
            prop_assert!(Pattern::new(&path).unwrap().matches(path.as_bytes()));
        }
    }
}
