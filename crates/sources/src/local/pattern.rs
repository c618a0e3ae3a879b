//! Path patterns with Docker's wildcards: `*`, `?`, `[a-z]`, `\x`, and `**` for any number of directories.

/// A compiled pattern, matched against a whole path.
#[derive(Debug, Clone)]
pub struct Pattern {
    components: Vec<Component>,
}

#[derive(Debug, Clone)]
enum Component {
    /// `**` alone: any number of components, none included.
    AnyDepth,
    /// Tokens that match within one component.
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone)]
enum Token {
    Byte(u8),
    /// `?`
    AnyByte,
    /// `*`
    AnyBytes,
    /// `[…]`
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
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
}

impl Pattern {
    /// Compiles a relative pattern in lexical normal form.
    ///
    /// # Errors
    /// An unclosed or empty class, or a backslash at the end.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let component = |part: &str| match part {
            "**" => Ok(Component::AnyDepth),
            part => tokens(part.as_bytes()).map(Component::Tokens).map_err(|problem| BadPattern::new(text, problem)),
        };
        Ok(Self { components: text.split('/').map(component).collect::<Result<_, _>>()? })
    }

    /// Whether `text` has any wildcard at all.
    pub fn has_wildcards(text: &str) -> bool {
        text.bytes().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
    }

    /// Whether the whole of `path` matches. A final `**` wants at least one component.
    pub fn matches(&self, path: &[u8]) -> bool {
        let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        matches_components(&self.components, &parts)
    }

    /// Whether a path below the directory `path` may match.
    pub fn may_match_below(&self, path: &[u8]) -> bool {
        let mut components = &self.components[..];
        for part in path.split(|&byte| byte == b'/') {
            match components.split_first() {
                Some((Component::AnyDepth, _)) => return true,
                Some((Component::Tokens(tokens), rest)) if matches_tokens(tokens, part) => components = rest,
                _ => return false,
            }
        }
        !components.is_empty()
    }
}

fn tokens(text: &[u8]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        tokens.push(match byte {
            b'*' => {
                if matches!(tokens.last(), Some(Token::AnyBytes)) {
                    continue;
                }
                Token::AnyBytes
            }
            b'?' => Token::AnyByte,
            b'\\' => {
                let (&escaped, after) = rest.split_first().ok_or("expected a character after `\\`")?;
                rest = after;
                Token::Byte(escaped)
            }
            b'[' => {
                let (class, after) = class(rest)?;
                rest = after;
                class
            }
            byte => Token::Byte(byte),
        });
    }
    Ok(tokens)
}

fn class(mut rest: &[u8]) -> Result<(Token, &[u8]), &'static str> {
    const UNCLOSED: &str = "expected `]` after `[`";
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        let (&first, after) = rest.split_first().ok_or(UNCLOSED)?;
        if first == b']' {
            if ranges.is_empty() {
                return Err("expected characters between `[` and `]`");
            }
            return Ok((Token::Class { negated, ranges }, after));
        }
        let (low, after) = escaped(first, after).ok_or(UNCLOSED)?;
        rest = after;
        let mut high = low;
        if let [b'-', end, after @ ..] = rest
            && *end != b']'
        {
            let (end, after) = escaped(*end, after).ok_or(UNCLOSED)?;
            high = end;
            rest = after;
        }
        ranges.push((low, high));
    }
}

fn escaped(byte: u8, rest: &[u8]) -> Option<(u8, &[u8])> {
    match byte {
        b'\\' => rest.split_first().map(|(&byte, rest)| (byte, rest)),
        byte => Some((byte, rest)),
    }
}

/// Matches greedily with one point of return: as with `*` in a component, only the last `**` needs to be tried further.
fn matches_components(pattern: &[Component], parts: &[&[u8]]) -> bool {
    let (mut p, mut s) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while s < parts.len() {
        match pattern.get(p) {
            Some(Component::AnyDepth) if p + 1 == pattern.len() => return true,
            Some(Component::AnyDepth) => {
                back = Some((p + 1, s));
                p += 1;
                continue;
            }
            Some(Component::Tokens(tokens)) if matches_tokens(tokens, parts[s]) => {
                (p, s) = (p + 1, s + 1);
                continue;
            }
            _ => {}
        }
        match back {
            Some((after, from)) => {
                back = Some((after, from + 1));
                (p, s) = (after, from + 1);
            }
            None => return false,
        }
    }
    p == pattern.len()
}

fn matches_tokens(pattern: &[Token], text: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(Token::AnyBytes) => {
                back = Some((p + 1, s));
                p += 1;
                continue;
            }
            Some(token) if s < text.len() && token.matches(text[s]) => {
                (p, s) = (p + 1, s + 1);
                continue;
            }
            None if s == text.len() => return true,
            _ => {}
        }
        match back {
            Some((after, from)) if from < text.len() => {
                back = Some((after, from + 1));
                (p, s) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

impl Token {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::AnyByte | Self::AnyBytes => true,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated
            }
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
        ] {
            match Pattern::new(pattern) {
                Ok(compiled) => assert_eq!(compiled.matches(path.as_bytes()), expected, "{pattern} {path}"),
                Err(_) => assert!(!expected, "{pattern} does not compile"),
            }
        }
    }

    proptest! {
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
