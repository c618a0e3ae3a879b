//! What people are shown of a step: `[builder 3/6] COPY go.mod .`, with the platform in front when there are several.

use crate::env::Env;
use kiln_dockerfile::Span;
use kiln_graph::{Label, Platform};
use std::borrow::Cow;

/// Counts the steps of one stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The name in brackets; empty when the Dockerfile has but one stage.
    pub(crate) shown: String,
    /// The name in positions: never empty.
    pub(crate) stage: String,
    /// How many steps the stage has.
    pub(crate) total: usize,
    /// How many of them were named already.
    pub(crate) index: usize,
    /// Whether the platform is shown.
    pub(crate) platform: bool,
}

impl Progress {
    /// The label of the next step. `text` is shown, `written` is what the Dockerfile says.
    pub(crate) fn next(&mut self, text: &str, written: &str, span: Span, platform: &Platform, env: &Env) -> Label {
        self.index += 1;
        let mut name = String::with_capacity(self.shown.len() + text.len() + 16);
        let text = without_credentials_in(text);
        name.push('[');
        if self.platform {
            name.push_str(&format!("{platform}{} ", cross_target(platform, env)));
        }
        if !self.shown.is_empty() {
            name.push_str(&self.shown);
            name.push(' ');
        }
        let (index, total) = (self.index.to_string(), self.total.to_string());
        (index.len()..total.len()).for_each(|_| name.push(' '));
        name.extend([&index, "/", &total, "] ", &text]);
        Label {
            name,
            position: [&self.stage, "/", &index].concat(),
            span: Some((span.start, span.end)),
            instruction: without_credentials_in(written).into_owned(),
            internal: false,
        }
    }
}

/// The label of something that is no instruction's own step: a context, a prepared file.
pub(crate) fn internal(name: &str, position: &str) -> Label {
    Label {
        name: format!("[internal] {name}"),
        position: position.to_owned(),
        span: None,
        instruction: name.to_owned(),
        internal: true,
    }
}

/// The label of what an instruction's own step needs from elsewhere.
pub(crate) fn fetch(address: &str, step: &Label) -> Label {
    let name = format!("[internal] fetch {}", without_credentials_in(address));
    Label { name, internal: true, ..step.clone() }
}

/// A text with `****` for the user and the password of each address in it: `ADD https://user:password@host/file .` becomes
/// `ADD https://****@host/file .`. A user alone is a token in HTTP, but only a name elsewhere (`ssh://git@host`).
pub fn without_credentials_in(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return text.into();
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '<' | '>');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        rest = after;
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        let scheme = before.to_ascii_lowercase();
        let is_http = scheme.ends_with("http") || scheme.ends_with("https");
        if let Some((user, _)) = authority.rsplit_once('@')
            && (user.contains(':') || is_http && !user.is_empty())
        {
            out.push_str("****");
            rest = &after[user.len()..];
        }
    }
    out.push_str(rest);
    out.into()
}

/// What a step compiles for, when that is not what it runs on, by the TARGET variables that it sees: `->arm64`.
fn cross_target(base: &Platform, env: &Env) -> String {
    let Some(target) = target_of(base, env) else { return String::new() };
    if target.os != base.os {
        return format!("->{target}");
    }
    if target.architecture == base.architecture {
        return String::new();
    }
    match &target.variant {
        Some(variant) => format!("->{}/{variant}", target.architecture),
        None => format!("->{}", target.architecture),
    }
}

fn target_of(base: &Platform, env: &Env) -> Option<Platform> {
    if let Some(target) = env.get("TARGETPLATFORM").and_then(|text| text.parse().ok()) {
        return Some(target);
    }
    let (os, architecture) = (env.get("TARGETOS"), env.get("TARGETARCH"));
    let variant = env.get("TARGETVARIANT");
    if os.is_none() && architecture.is_none() && variant.is_none() {
        return None;
    }
    let or = |value: Option<&str>, default: &str| value.filter(|v| !v.is_empty()).unwrap_or(default).to_owned();
    Some(Platform::from_parts(&or(os, &base.os), &or(architecture, &base.architecture), variant))
}

/// The keyword, which is the first word, in capitals.
pub(crate) fn uppercase_keyword(mut line: String) -> String {
    let end = line.find(' ').unwrap_or(line.len());
    line[..end].make_ascii_uppercase();
    line
}

/// A heredoc's first line, with dots when there are more.
pub(crate) fn summarize(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_steps() {
        let mut progress =
            Progress { shown: "build".into(), stage: "build".into(), total: 12, index: 2, platform: true };
        let amd64 = "linux/amd64".parse().unwrap();
        let mut env = Env::default();
        let mut name = |env: &Env| progress.next("RUN x", "RUN $y", Span::new(3, 9), &amd64, env);
        let label = name(&env);
        assert_eq!(label.name, "[linux/amd64 build  3/12] RUN x");
        assert_eq!((label.position.as_str(), label.span), ("build/3", Some((3, 9))));
        env.set("TARGETARCH", "arm64");
        assert_eq!(name(&env).name, "[linux/amd64->arm64 build  4/12] RUN x");
        env.set("TARGETPLATFORM", "windows/amd64");
        assert_eq!(name(&env).name, "[linux/amd64->windows/amd64 build  5/12] RUN x");
        env.set("TARGETPLATFORM", "linux/arm/v7");
        assert_eq!(name(&env).name, "[linux/amd64->arm/v7 build  6/12] RUN x");
        env.set("TARGETPLATFORM", "linux/amd64");
        assert_eq!(name(&env).name, "[linux/amd64 build  7/12] RUN x");
    }

    #[test]
    fn credentials_are_not_shown() {
        for (text, shown) in [
            ("ADD https://user:p@w@h:1/a@b /", "ADD https://****@h:1/a@b /"),
            ("RUN git clone \"HTTP://token@h\" ftp://u:p@g", "RUN git clone \"HTTP://****@h\" ftp://****@g"),
            ("ADD ssh://git@h/a git@h:b ://@ a@b http://@h", "ADD ssh://git@h/a git@h:b ://@ a@b http://@h"),
            ("RUN curl http://h?a=b:c@d\nhttps://${U}:${P}@h", "RUN curl http://h?a=b:c@d\nhttps://****@h"),
        ] {
            assert_eq!(without_credentials_in(text), shown);
        }
    }

    #[test]
    fn summaries() {
        assert_eq!(summarize("\n echo a\necho b\n"), "echo a...");
        assert_eq!(summarize("echo a\n"), "echo a");
        assert_eq!(summarize(""), "");
        assert_eq!(uppercase_keyword("run x".to_owned()), "RUN x");
    }
}
