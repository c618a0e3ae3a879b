//! Words: quoting, variables, substitutions, patterns (POSIX shell, 2.2 Quoting and 2.6 Word Expansions).

use super::variables::{Setting, Value};
use super::{MAX_WORD, Reader, Unreadable, Word};

/// A word, or several, in the making.
#[derive(Debug)]
struct Building<'w> {
    /// Where words go that are done.
    done: &'w mut Vec<Word>,
    text: String,
    known: bool,
    glob: bool,
    /// Whether there is a word at all, be it empty.
    open: bool,
}

impl<'w> Building<'w> {
    fn new(done: &'w mut Vec<Word>) -> Self {
        Self { done, text: String::new(), known: true, glob: false, open: false }
    }

    fn push(&mut self, text: &str) {
        self.open = true;
        if self.known {
            self.text.push_str(text);
            self.known = self.text.len() <= MAX_WORD;
        }
    }

    /// Text that no shell looks at any more. Its `~` is no home directory.
    fn push_literal(&mut self, text: &str) {
        if self.text.is_empty() && text.starts_with('~') {
            self.unknown();
        }
        self.push(text);
    }

    fn unknown(&mut self) {
        self.open = true;
        self.known = false;
    }

    /// A value that the shell cuts at blanks.
    fn push_split(&mut self, value: &str) {
        for (index, piece) in value.split([' ', '\t', '\n']).enumerate() {
            if index > 0 {
                self.close();
            }
            if !piece.is_empty() {
                self.glob |= piece.contains(['*', '?', '[']);
                self.push(piece);
            }
        }
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        if self.open {
            self.done.push(Word { text, known: self.known, glob: self.glob });
        }
        (self.known, self.glob, self.open) = (true, false, false);
    }
}

impl<'t> Reader<'t, '_> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Reads what stands up to the next blank or operator: any number of words, since variables may hold blanks.
    pub(super) fn word(&mut self, done: &mut Vec<Word>) -> Result<(), Unreadable> {
        self.pieces(true, done)?.close();
        Ok(())
    }

    /// The same as one word: what is assigned, or the target of a redirection.
    pub(super) fn single(&mut self) -> Result<Word, Unreadable> {
        let mut none = Vec::new();
        let Building { text, known, glob, .. } = self.pieces(false, &mut none)?;
        Ok(Word { text, known, glob })
    }

    fn pieces<'w>(&mut self, split: bool, done: &'w mut Vec<Word>) -> Result<Building<'w>, Unreadable> {
        let mut word = Building::new(done);
        if self.peek() == Some(b'~') {
            self.at += 1;
            match self.peek() {
                None | Some(b'/' | b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b')' | b':') => {
                    match self.state.variables.get("HOME", self.around) {
                        Value::Known(home) => word.push(home),
                        Value::Unset | Value::Unknown => word.unknown(),
                    }
                }
                Some(_) => word.unknown(),
            }
        }
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' => break,
                b'\\' => self.escaped(&mut word)?,
                b'\'' => self.single_quoted(&mut word)?,
                b'"' => self.double_quoted(&mut word)?,
                b'$' => self.dollar(&mut word, false, split)?,
                b'`' => self.backticks(&mut word)?,
                b'*' | b'?' | b'[' => {
                    word.glob = true;
                    self.literal(&mut word, 1);
                }
                b'{' => {
                    if self.is_brace_expansion() {
                        word.unknown();
                    }
                    self.literal(&mut word, 1);
                }
                _ => {
                    let plain = |byte: &u8| {
                        !matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')')
                            && !matches!(byte, b'\\' | b'\'' | b'"' | b'$' | b'`' | b'*' | b'?' | b'[' | b'{')
                    };
                    let length = self.rest().bytes().take_while(plain).count();
                    self.literal(&mut word, length);
                }
            }
        }
        Ok(word)
    }

    /// Takes the next bytes as they are.
    fn literal(&mut self, word: &mut Building<'_>, length: usize) {
        word.push(&self.text[self.at..self.at + length]);
        self.at += length;
    }

    /// `{a,b}` and `{1..3}` are several words for some shells.
    fn is_brace_expansion(&self) -> bool {
        let word = self.rest().split([' ', '\t', '\n', ';']).next().unwrap_or_default();
        let inner = word.split('}').next().unwrap_or_default();
        inner.len() < word.len() && (inner.contains(',') || inner.contains(".."))
    }

    fn escaped(&mut self, word: &mut Building<'_>) -> Result<(), Unreadable> {
        self.at += 1;
        let next = self.rest().chars().next().ok_or(Unreadable)?;
        let length = next.len_utf8();
        if next != '\n' {
            word.push_literal(&self.text[self.at..self.at + length]);
        }
        self.at += length;
        Ok(())
    }

    fn single_quoted(&mut self, word: &mut Building<'_>) -> Result<(), Unreadable> {
        self.at += 1;
        let length = self.rest().find('\'').ok_or(Unreadable)?;
        word.push_literal(&self.text[self.at..self.at + length]);
        self.at += length + 1;
        Ok(())
    }

    fn double_quoted(&mut self, word: &mut Building<'_>) -> Result<(), Unreadable> {
        self.at += 1;
        word.open = true;
        loop {
            match self.peek().ok_or(Unreadable)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => match self.peek_at(1).ok_or(Unreadable)? {
                    b'\n' => self.at += 2,
                    b'$' | b'`' | b'"' | b'\\' => {
                        self.at += 1;
                        self.literal(word, 1);
                    }
                    _ => self.literal(word, 1),
                },
                b'$' => self.dollar(word, true, false)?,
                b'`' => self.backticks(word)?,
                _ => {
                    let length = self.rest().find(['"', '\\', '$', '`']).ok_or(Unreadable)?;
                    word.push_literal(&self.text[self.at..self.at + length]);
                    self.at += length;
                }
            }
        }
    }

    fn dollar(&mut self, word: &mut Building<'_>, quoted: bool, split: bool) -> Result<(), Unreadable> {
        match self.peek_at(1) {
            Some(b'(') if self.peek_at(2) == Some(b'(') => {
                self.arithmetic()?;
                word.unknown();
            }
            Some(b'(') => {
                self.at += 2;
                self.substitution()?;
                word.unknown();
            }
            Some(b'{') => self.braced(word, quoted, split)?,
            Some(b'\'') if !quoted => {
                self.at += 1;
                let start = self.at;
                self.single_quoted(word)?;
                // Escapes have a meaning in these quotes, even that of the quote itself.
                if self.text[start..self.at].contains('\\') {
                    return Err(Unreadable);
                }
            }
            Some(b'"') if !quoted => self.at += 1,
            Some(b'A'..=b'Z' | b'a'..=b'z' | b'_') => {
                self.at += 1;
                let name = self.name();
                self.insert(word, name, quoted, split);
            }
            Some(b'0'..=b'9' | b'?' | b'$' | b'!' | b'#' | b'@' | b'*' | b'-') => {
                self.at += 2;
                word.unknown();
            }
            _ => self.literal(word, 1),
        }
        Ok(())
    }

    /// Takes a name off.
    pub(super) fn name(&mut self) -> &'t str {
        let name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = self.rest().bytes().take_while(name).count();
        self.at += length;
        &self.text[self.at - length..self.at]
    }

    /// Puts a variable's value in.
    fn insert(&mut self, word: &mut Building<'_>, name: &str, quoted: bool, split: bool) {
        if name == "PWD" {
            return match &self.state.cwd {
                Some(cwd) => word.push(cwd),
                None => word.unknown(),
            };
        }
        word.open |= quoted;
        match self.state.variables.get(name, self.around) {
            Value::Unset => {}
            Value::Unknown => word.unknown(),
            Value::Known(value) if quoted || !split => word.push(value),
            Value::Known(value) => word.push_split(value),
        }
    }

    /// `${…}`
    fn braced(&mut self, word: &mut Building<'_>, quoted: bool, split: bool) -> Result<(), Unreadable> {
        self.at += 2;
        let name = self.name();
        if self.peek() == Some(b'}') && !name.is_empty() {
            self.at += 1;
            self.insert(word, name, quoted, split);
            return Ok(());
        }
        let inner = self.inside_braces()?;
        if inner.contains("$(") || inner.contains('`') {
            return Err(Unreadable);
        }
        let (colon, operator) = match inner.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, inner),
        };
        let operand = operator.get(1..).unwrap_or_default();
        let plain = !operand.contains(['$', '\'', '"', '\\', '{', '~']);
        let (is_set, is_unknown) = match self.state.variables.get(name, self.around) {
            Value::Unset => (false, false),
            Value::Known(value) => (!(colon && value.is_empty()), false),
            Value::Unknown => (false, true),
        };
        match operator.as_bytes().first() {
            _ if is_unknown || name.is_empty() => word.unknown(),
            Some(b'-') if is_set => self.insert(word, name, quoted, split),
            Some(b'+') if !is_set => word.open |= quoted,
            Some(b'-' | b'+') if plain && (quoted || !split) => word.push(operand),
            Some(b'-' | b'+') if plain => word.push_split(operand),
            Some(b'?') if is_set => self.insert(word, name, quoted, split),
            Some(b'=') => {
                let around = self.around;
                self.state.set(name, Setting::Unknown, false, around);
                word.unknown();
            }
            _ => word.unknown(),
        }
        Ok(())
    }

    /// What stands up to the closing brace.
    fn inside_braces(&mut self) -> Result<&'t str, Unreadable> {
        let start = self.at;
        let mut depth = 1usize;
        let mut bytes = self.rest().bytes().enumerate();
        while let Some((index, byte)) = bytes.next() {
            match byte {
                b'\\' => {
                    bytes.next();
                }
                b'{' => depth += 1,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at = start + index + 1;
                        return self.text.get(start..start + index).ok_or(Unreadable);
                    }
                }
                _ => {}
            }
        }
        Err(Unreadable)
    }

    /// `$((…))`: a number.
    fn arithmetic(&mut self) -> Result<(), Unreadable> {
        let length = self.rest().find("))").ok_or(Unreadable)?;
        let inner = &self.rest()[3..length];
        if inner.contains(['(', '`', '=']) {
            return Err(Unreadable);
        }
        self.at += length + 2;
        Ok(())
    }

    /// `$(…)`, after its opening: what it runs counts, what it prints is not known.
    pub(super) fn substitution(&mut self) -> Result<(), Unreadable> {
        self.enter()?;
        let state = self.state.clone();
        self.conditions += 1;
        self.list(&[")"])?;
        self.conditions -= 1;
        self.state = state;
        self.leave();
        if self.peek() != Some(b')') {
            return Err(Unreadable);
        }
        self.at += 1;
        Ok(())
    }

    fn backticks(&mut self, word: &mut Building<'_>) -> Result<(), Unreadable> {
        self.at += 1;
        let length = self.rest().find('`').ok_or(Unreadable)?;
        let inner = &self.text[self.at..self.at + length];
        // Backslashes have a meaning of their own here.
        if inner.contains('\\') {
            return Err(Unreadable);
        }
        let state = self.state.clone();
        self.conditions += 1;
        self.nested(inner)?;
        self.conditions -= 1;
        self.state = state;
        self.at += length + 1;
        word.unknown();
        Ok(())
    }
}
