//! Lists, pipelines and compound commands (POSIX shell, 2.9 Shell Commands).
//!
//! A command is certain if it has run whenever the whole text succeeds. Not certain are: branches and bodies, what follows `||`,
//! what follows `&&` in a list that others follow, and all that stands after an `exit` which may have been reached.

use super::variables::Setting;
use super::{Reader, Unreadable, Word};
use std::rc::Rc;

impl Reader<'_, '_> {
    /// Reads commands up to one of the words, which is left to the caller, or to the end.
    pub(super) fn list(&mut self, until: &[&str]) -> Result<(), Unreadable> {
        let first = self.commands.len();
        loop {
            self.separators()?;
            if self.at >= self.text.len() || self.stops(until) {
                return Ok(());
            }
            while let Some(index) = self.tentative.pop_if(|index| *index >= first) {
                self.commands[index].certain = false;
            }
            let before = self.at;
            self.and_or()?;
            if self.at == before {
                return Err(Unreadable);
            }
        }
    }

    fn stops(&self, until: &[&str]) -> bool {
        until.iter().any(|word| match *word {
            ")" => self.peek() == Some(b')'),
            ";;" => self.rest().starts_with(";;") || self.rest().starts_with(";&"),
            word => self.reserved() == word,
        })
    }

    /// The word that stands here, if it may be a reserved one: nothing in it is quoted.
    fn reserved(&self) -> &str {
        let rest = self.rest();
        let end = rest.find([' ', '\t', '\n', ';', '&', '|', '<', '>', '(', ')']).unwrap_or(rest.len());
        &rest[..end]
    }

    /// Skips blanks, comments and joined lines.
    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.peek_at(1) == Some(b'\n') => self.at += 2,
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    /// Skips line breaks, with the heredocs that follow them.
    fn newlines(&mut self) -> Result<(), Unreadable> {
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return Ok(());
            }
            self.at += 1;
            self.skip_heredocs()?;
        }
    }

    fn separators(&mut self) -> Result<(), Unreadable> {
        loop {
            self.newlines()?;
            match (self.peek(), self.peek_at(1)) {
                (Some(b';'), Some(b';' | b'&')) => return Ok(()),
                (Some(b'&'), Some(b'&' | b'>')) => return Ok(()),
                (Some(b';' | b'&'), _) => self.at += 1,
                _ => return Ok(()),
            }
        }
    }

    fn skip_heredocs(&mut self) -> Result<(), Unreadable> {
        for (delimiter, strip, expands) in std::mem::take(&mut self.heredocs) {
            while self.at < self.text.len() {
                let line = self.rest().split('\n').next().unwrap_or_default();
                let shown = if strip { line.trim_start_matches('\t') } else { line };
                let ends = shown == delimiter;
                if !ends && expands && (line.contains("$(") || line.contains('`')) {
                    return Err(Unreadable);
                }
                self.at = (self.at + line.len() + 1).min(self.text.len());
                if ends {
                    break;
                }
            }
        }
        Ok(())
    }

    fn and_or(&mut self) -> Result<(), Unreadable> {
        self.pipeline()?;
        loop {
            self.blanks();
            if self.rest().starts_with("&&") {
                self.at += 2;
                self.newlines()?;
                let first = self.commands.len();
                self.pipeline()?;
                self.tentative.extend(first..self.commands.len());
            } else if self.rest().starts_with("||") {
                self.at += 2;
                self.newlines()?;
                self.conditional(Self::pipeline)?;
            } else {
                return Ok(());
            }
        }
    }

    fn pipeline(&mut self) -> Result<(), Unreadable> {
        self.blanks();
        while self.reserved() == "!" {
            self.at += 1;
            self.blanks();
        }
        let before = self.state.clone();
        self.command()?;
        let mut piped = false;
        loop {
            self.blanks();
            if self.peek() != Some(b'|') || self.peek_at(1) == Some(b'|') {
                break;
            }
            piped = true;
            self.at += if self.peek_at(1) == Some(b'&') { 2 } else { 1 };
            self.newlines()?;
            self.state = before.clone();
            self.command()?;
        }
        // Each part of a pipeline is a process of its own.
        if piped {
            self.state = before;
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Unreadable> {
        self.enter()?;
        self.blanks();
        match self.reserved() {
            "" if self.rest().starts_with("((") => return Err(Unreadable),
            "" if self.peek() == Some(b'(') => {
                self.at += 1;
                let state = self.state.clone();
                self.list(&[")"])?;
                self.word_is(")")?;
                self.state = state;
                self.redirections()?;
            }
            "{" => {
                self.at += 1;
                self.list(&["}"])?;
                self.word_is("}")?;
                self.redirections()?;
            }
            "if" => self.branches()?,
            "while" | "until" => {
                self.at += 5;
                self.body(|reader| {
                    reader.list(&["do"])?;
                    reader.do_group()
                })?;
            }
            "for" | "select" => self.for_loop()?,
            "case" => self.case()?,
            "[[" => {
                let length = self.rest().find(" ]]").ok_or(Unreadable)?;
                if self.rest()[..length].contains(['`', '(', '\n']) {
                    return Err(Unreadable);
                }
                self.at += length + 3;
            }
            "function" => {
                self.at += "function".len();
                self.blanks();
                let name = self.reserved().to_owned();
                self.at += name.len();
                self.function(name)?;
            }
            "then" | "else" | "elif" | "fi" | "do" | "done" | "esac" | "}" | "coproc" => return Err(Unreadable),
            _ => self.simple()?,
        }
        self.leave();
        Ok(())
    }

    /// Takes a reserved word or a parenthesis that must be here.
    fn word_is(&mut self, word: &str) -> Result<(), Unreadable> {
        if self.stops(&[word]) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Unreadable)
        }
    }

    fn branches(&mut self) -> Result<(), Unreadable> {
        self.at += "if".len();
        self.list(&["then"])?;
        loop {
            self.word_is("then")?;
            self.conditional(|reader| reader.list(&["elif", "else", "fi"]))?;
            match self.reserved() {
                "elif" => {
                    self.at += "elif".len();
                    self.conditional(|reader| reader.list(&["then"]))?;
                }
                "else" => {
                    self.at += "else".len();
                    self.conditional(|reader| reader.list(&["fi"]))?;
                    break;
                }
                _ => break,
            }
        }
        self.word_is("fi")?;
        self.redirections()
    }

    fn for_loop(&mut self) -> Result<(), Unreadable> {
        let keyword = self.reserved().len();
        self.at += keyword;
        self.blanks();
        let name = self.name();
        if name.is_empty() {
            return Err(Unreadable);
        }
        self.newlines()?;
        if self.reserved() == "in" {
            self.at += "in".len();
            loop {
                self.blanks();
                match self.peek() {
                    None | Some(b'\n' | b';') => break,
                    Some(b'&' | b'|' | b'<' | b'>' | b'(' | b')') => return Err(Unreadable),
                    Some(_) => self.word(&mut Vec::new())?,
                }
            }
        }
        self.separators()?;
        self.state.set(name, Setting::Unknown, false, self.around);
        self.body(Self::do_group)
    }

    fn do_group(&mut self) -> Result<(), Unreadable> {
        self.word_is("do")?;
        self.list(&["done"])?;
        self.word_is("done")?;
        self.redirections()
    }

    fn case(&mut self) -> Result<(), Unreadable> {
        self.at += "case".len();
        self.blanks();
        self.word(&mut Vec::new())?;
        self.newlines()?;
        self.word_is("in")?;
        loop {
            self.newlines()?;
            if self.reserved() == "esac" {
                break;
            }
            if self.peek() == Some(b'(') {
                self.at += 1;
            }
            loop {
                self.blanks();
                match self.peek().ok_or(Unreadable)? {
                    b')' => break,
                    b'|' => self.at += 1,
                    b'\n' | b';' | b'&' | b'<' | b'>' | b'(' => return Err(Unreadable),
                    _ => self.word(&mut Vec::new())?,
                }
            }
            self.at += 1;
            self.conditional(|reader| reader.list(&[";;", "esac"]))?;
            if self.stops(&[";;"]) {
                self.at += 2;
            }
        }
        self.word_is("esac")?;
        self.redirections()
    }

    /// A function's body, which runs when, and if, something calls it.
    pub(super) fn function(&mut self, name: String) -> Result<(), Unreadable> {
        self.blanks();
        if self.rest().starts_with("()") {
            self.at += 2;
        }
        self.newlines()?;
        if name.is_empty() || !matches!(self.peek(), Some(b'{' | b'(')) {
            return Err(Unreadable);
        }
        self.body(Self::command)?;
        self.state.functions.push(name);
        Ok(())
    }

    /// Reads what may run or not: nothing that it sets is known afterwards.
    fn conditional(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
        let (assigned, cwd) = (self.state.assigned.len(), self.state.cwd.clone());
        self.conditions += 1;
        read(self)?;
        self.conditions -= 1;
        self.forget(assigned);
        if self.state.cwd != cwd {
            self.state.cwd = None;
        }
        Ok(())
    }

    /// Reads what may run any number of times: what it sets is not known where it begins, nor afterwards.
    fn body(&mut self, read: impl Fn(&mut Self) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
        let (start, state) = (self.at, self.state.clone());
        let (commands, tentative, heredocs) = (self.commands.len(), self.tentative.len(), self.heredocs.clone());
        self.conditional(&read)?;
        let names = self.state.assigned[state.assigned.len()..].to_vec();
        let moved = self.state.cwd != state.cwd;
        if names.is_empty() && !moved {
            return Ok(());
        }
        // Loops in loops are read again each time that theirs is.
        self.again = self.again.checked_sub(1).ok_or(Unreadable)?;
        self.at = start;
        self.state = state;
        self.commands.truncate(commands);
        self.tentative.truncate(tentative);
        self.heredocs = heredocs;
        for name in &names {
            self.state.set(name, Setting::Unknown, false, self.around);
        }
        if moved {
            self.state.cwd = None;
        }
        self.conditional(read)
    }

    /// Forgets the values of the variables that were set after so many.
    fn forget(&mut self, after: usize) {
        let variables = Rc::make_mut(&mut self.state.variables);
        for name in &self.state.assigned[after..] {
            variables.set(name, Setting::Unknown, false, self.around);
        }
    }

    /// The redirections after a compound command: their files may be named by nothing else.
    fn redirections(&mut self) -> Result<(), Unreadable> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            if !self.redirection(&mut words)? {
                break;
            }
        }
        if !words.is_empty() {
            self.add(vec![Word::known(":")], words);
        }
        Ok(())
    }

    /// One redirection, if there is one here; its file is added to `files`.
    pub(super) fn redirection(&mut self, files: &mut Vec<Word>) -> Result<bool, Unreadable> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let both = usize::from(digits == 0 && self.rest().starts_with("&>"));
        let at = digits + both;
        let operator = match (self.peek_at(at), self.peek_at(at + 1), self.peek_at(at + 2)) {
            (Some(b'<'), Some(b'<'), Some(b'<')) => "<<<",
            (Some(b'<'), Some(b'<'), Some(b'-')) => "<<-",
            (Some(b'<'), Some(b'<'), _) => "<<",
            (Some(b'<' | b'>'), Some(b'('), _) => return Err(Unreadable),
            (Some(b'<' | b'>'), Some(b'&'), _) => ">&",
            (Some(b'>'), Some(b'>' | b'|'), _) | (Some(b'<'), Some(b'>'), _) => ">>",
            (Some(b'<' | b'>'), _, _) => ">",
            _ => return Ok(false),
        };
        self.at += at + operator.len();
        self.blanks();
        if operator.starts_with("<<") && operator != "<<<" {
            let start = self.at;
            let word = self.single()?;
            let raw = &self.text[start..self.at];
            let delimiter = raw.replace(['\'', '"', '\\'], "");
            if word.text.is_empty() || raw.contains(['$', '`']) {
                return Err(Unreadable);
            }
            self.heredocs.push((delimiter.clone(), operator == "<<-", raw == delimiter));
            return Ok(true);
        }
        if matches!(self.peek(), None | Some(b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')')) {
            return Err(Unreadable);
        }
        let word = self.single()?;
        let is_file =
            operator != "<<<" && !(operator == ">&" && word.text.bytes().all(|b| b.is_ascii_digit() || b == b'-'));
        if is_file {
            files.push(word);
        }
        Ok(true)
    }
}
