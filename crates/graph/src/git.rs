//! Addresses of git repositories, as Dockerfiles and build contexts write them.
//!
//! ```text
//! https://HOST/PATH.git[?QUERY][#REF[:SUBDIR]]     also http://
//! git://HOST/PATH  ssh://[USER@]HOST/PATH  USER@HOST:PATH
//! github.com/OWNER/NAME                            for build contexts only
//! ```
//!
//! The query's names are `ref`, `branch`, `tag`, `commit` or `checksum`, `subdir`, `keep-git-dir` and `submodules`.

use crate::http::percent_decode;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The files of a commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitTree {
    /// The repository, as `git fetch` takes it.
    pub remote: String,
    /// A branch, a tag or a commit's whole id; the repository's default branch if absent.
    pub reference: Option<String>,
    /// What the commit's id must begin with.
    pub checksum: Option<String>,
    /// The directory whose files these are, without slashes at its ends; all of the repository if absent.
    pub subdir: Option<String>,
    /// Whether there is a `.git` beside the files.
    pub keep_git_dir: bool,
    /// Whether submodules are checked out too.
    pub submodules: bool,
}

/// An address of a git repository, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    /// What the address means. [`GitTree::keep_git_dir`] is false where the address does not say.
    pub tree: GitTree,
    /// What the address says of `.git`.
    pub keep_git_dir: Option<bool>,
    /// Whether it is one that could as well be a path: `github.com/…`.
    pub like_a_path: bool,
}

/// What is wrong with the address of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseGitError {
    /// The query has a name that means nothing.
    #[error(
        "unknown query `{0}` in the address of a git repository\nhint: there are `ref`, `branch`, `tag`, `commit`, `checksum`, `subdir`, `keep-git-dir` and `submodules`"
    )]
    Unknown(String),
    /// A name of the query has no value.
    #[error("the query `{0}` in the address of a git repository has no value")]
    Empty(String),
    /// A name of the query is there twice.
    #[error("the query `{0}` is twice in the address of a git repository")]
    Twice(String),
    /// The value of a name of the query is none of its values.
    #[error("`{value}` is not a value of the query `{name}`\nhint: it is `true` or `false`")]
    NotBool {
        /// The name.
        name: String,
        /// What was given.
        value: String,
    },
    /// The address says two things at once.
    #[error("the address of a git repository names two of `{what}`: `{first}` and `{second}`")]
    Conflict {
        /// What there can only be one of.
        what: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A part of the address is malformed.
    #[error("bad {what} `{text}` in the address of a git repository")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What was given.
        text: String,
    },
}

impl GitAddress {
    /// Takes an address apart; `None` for what is not an address of a git repository.
    ///
    /// # Errors
    /// An address that says something that it cannot mean.
    pub fn parse(text: &str) -> Option<Result<Self, ParseGitError>> {
        let like_a_path = text.starts_with("github.com/");
        let full: Cow<'_, str> = if like_a_path { format!("https://{text}").into() } else { text.into() };
        let (before, fragment) = full.split_once('#').map_or((&*full, None), |(before, after)| (before, Some(after)));
        let (remote, query) = before.split_once('?').map_or((before, None), |(before, after)| (before, Some(after)));
        let scheme = remote.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_git = match scheme.as_deref() {
            Some("git" | "ssh") => true,
            Some("http" | "https") => like_a_path || remote.ends_with(".git"),
            Some(_) => false,
            None => is_scp_style(remote),
        };
        is_git.then(|| {
            let mut address = Self { tree: GitTree::at(remote), keep_git_dir: None, like_a_path };
            if let Some(fragment) = fragment {
                address.read_fragment(fragment)?;
            }
            if let Some(query) = query {
                address.read_query(query)?;
            }
            address.check()?;
            Ok(address)
        })
    }

    /// `REF[:SUBDIR]`.
    fn read_fragment(&mut self, fragment: &str) -> Result<(), ParseGitError> {
        let malformed = || ParseGitError::Malformed { what: "fragment", text: fragment.to_owned() };
        let decoded = percent_decode(fragment).ok_or_else(malformed)?;
        let (reference, subdir) = decoded.split_once(':').unwrap_or((&decoded, ""));
        self.tree.reference = Some(reference.to_owned()).filter(|text| !text.is_empty());
        self.tree.subdir = Some(subdir.to_owned()).filter(|text| !text.is_empty());
        Ok(())
    }

    fn read_query(&mut self, query: &str) -> Result<(), ParseGitError> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                percent_decode(&text.replace('+', " "))
                    .ok_or_else(|| ParseGitError::Malformed { what: "query", text: text.to_owned() })
            };
            let (name, value) = (decode(name)?, decode(value)?);
            if seen.contains(&name) {
                return Err(ParseGitError::Twice(name));
            }
            seen.push(name.clone());
            let flag = || match &*value {
                "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(ParseGitError::NotBool { name: name.clone(), value: value.clone() }),
            };
            match &*name {
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" => self.tree.submodules = flag()?,
                "ref" | "branch" | "tag" | "commit" | "checksum" | "subdir" if value.is_empty() => {
                    return Err(ParseGitError::Empty(name));
                }
                "ref" => set(&mut self.tree.reference, "ref", value)?,
                "branch" => branch = Some(prefixed("refs/heads/", value)),
                "tag" => tag = Some(prefixed("refs/tags/", value)),
                "commit" | "checksum" => set(&mut self.tree.checksum, "commit", value)?,
                "subdir" => set(&mut self.tree.subdir, "subdir", value)?,
                _ => return Err(ParseGitError::Unknown(name)),
            }
        }
        for reference in tag.into_iter().chain(branch) {
            set(&mut self.tree.reference, "ref", reference)?;
        }
        self.tree.keep_git_dir = self.keep_git_dir.unwrap_or_default();
        if self.tree.reference.is_none() {
            self.tree.reference.clone_from(&self.tree.checksum);
        }
        Ok(())
    }

    /// Nothing of an address may look like an option, or lead out of the repository.
    fn check(&mut self) -> Result<(), ParseGitError> {
        let malformed = |what, text: &str| ParseGitError::Malformed { what, text: text.to_owned() };
        let odd = |text: &str| text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace());
        let tree = &mut self.tree;
        let host = tree.remote.split_once("://").map_or(&*tree.remote, |(_, after)| after);
        let host = host.split_once('@').filter(|(user, _)| !user.contains('/')).map_or(host, |(_, host)| host);
        if odd(&tree.remote) || odd(host) || host.is_empty() || host.starts_with('/') {
            return Err(malformed("repository", &tree.remote));
        }
        if let Some(reference) =
            tree.reference.as_ref().filter(|text| odd(text) || text.contains([':', '^', '~', '*', '\\']))
        {
            return Err(malformed("ref", reference));
        }
        tree.check_checksum()?;
        if let Some(subdir) = tree.subdir.take() {
            let mut parts = Vec::new();
            for part in subdir.split('/').filter(|part| !matches!(*part, "" | ".")) {
                if part == ".." || part.contains('\0') {
                    return Err(malformed("subdirectory", &subdir));
                }
                parts.push(part);
            }
            tree.subdir = Some(parts.join("/")).filter(|path| !path.is_empty());
        }
        Ok(())
    }
}

impl GitTree {
    /// All files of the default branch.
    fn at(remote: &str) -> Self {
        Self {
            remote: remote.to_owned(),
            reference: None,
            checksum: None,
            subdir: None,
            keep_git_dir: false,
            submodules: true,
        }
    }

    /// Whether what the commit's id must begin with can begin one.
    ///
    /// # Errors
    /// [`ParseGitError::Malformed`].
    pub fn check_checksum(&self) -> Result<(), ParseGitError> {
        match &self.checksum {
            Some(text)
                if text.len() > 64 || !text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) =>
            {
                Err(ParseGitError::Malformed { what: "commit", text: text.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The reference, where it is the whole id of a commit, by SHA-1 or SHA-256.
    pub fn commit(&self) -> Option<&str> {
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        self.reference.as_deref().filter(|text| matches!(text.len(), 40 | 64) && hex(text))
    }
}

fn set(slot: &mut Option<String>, what: &'static str, value: String) -> Result<(), ParseGitError> {
    match slot {
        Some(first) if *first != value => Err(ParseGitError::Conflict { what, first: first.clone(), second: value }),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn prefixed(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// `user@host:path`.
fn is_scp_style(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    word(user, b"-_") && word(host, b"-.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> GitAddress {
        GitAddress::parse(text).expect("an address").unwrap()
    }

    #[test]
    fn what_is_an_address() {
        for (text, is_git) in [
            ("main.go", false),
            ("./git@host:x", false),
            ("https://example.org/a.tar.gz", false),
            ("http://example.org", false),
            ("https://example.org/a?x=b.git", false),
            ("https://example.org/a#b.git", false),
            ("ftp://example.org/a.git", false),
            ("dir/a@b:c", false),
            ("@scope/x", false),
            ("https://example.org/a.git", true),
            ("https://example.org/a.git#v1:sub", true),
            ("https://example.org/a.git?ref=v1", true),
            ("git@example.org:a/b", true),
            ("git://example.org/a", true),
            ("ssh://git@example.org:22/a", true),
            ("github.com/a/b", true),
        ] {
            assert_eq!(GitAddress::parse(text).is_some(), is_git, "{text}");
        }
        assert!(parse("github.com/a/b#x").like_a_path);
        assert_eq!(parse("github.com/a/b#x").tree.remote, "https://github.com/a/b");
    }

    #[test]
    fn parts() {
        let all = parse("https://h/a.git?keep-git-dir=1&submodules=false#v1:/sub//dir/");
        let expected = GitTree {
            remote: "https://h/a.git".into(),
            reference: Some("v1".into()),
            checksum: None,
            subdir: Some("sub/dir".into()),
            keep_git_dir: true,
            submodules: false,
        };
        assert_eq!((all.tree, all.keep_git_dir), (expected, Some(true)));
        for (text, reference, subdir) in [
            ("git@h:a/b.git#x", Some("x"), None),
            ("https://h/a.git", None, None),
            ("https://h/a.git#", None, None),
            ("https://h/a.git#:sub", None, Some("sub")),
            ("https://h/a.git#a%2Fb", Some("a/b"), None),
            ("https://h/a.git?branch=x&subdir=y", Some("refs/heads/x"), Some("y")),
            ("https://h/a.git?tag=refs/tags/x", Some("refs/tags/x"), None),
            ("https://h/a.git?tag=x#refs/tags/x", Some("refs/tags/x"), None),
            ("https://h/a.git?commit=abc123", Some("abc123"), None),
            ("https://h/a.git?subdir=.", None, None),
        ] {
            let tree = parse(text).tree;
            assert_eq!((tree.reference.as_deref(), tree.subdir.as_deref()), (reference, subdir), "{text}");
        }
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(parse(&format!("https://h/a.git#{commit}")).tree.commit(), Some(commit));
        assert_eq!(parse("https://h/a.git#main").tree.commit(), None);
    }

    #[test]
    fn mistakes() {
        for text in [
            "https://h/a.git?x=1",
            "https://h/a.git?ref=",
            "https://h/a.git?ref",
            "https://h/a.git?ref=a&ref=b",
            "https://h/a.git?ref=a#b",
            "https://h/a.git?tag=a&branch=a",
            "https://h/a.git?keep-git-dir=maybe",
            "https://h/a.git?subdir=a#:b",
            "https://h/a.git?subdir=../b",
            "https://h/a.git#:a/../../b",
            "https://h/a.git?commit=xyz",
            "https://h/a.git#--upload-pack=x",
            "https://h/a.git#a b",
            "https://h/a.git#%zz",
            "https:///a.git",
            "ssh://-oProxyCommand=x/a",
            "ssh://u@-oProxyCommand=x/a",
        ] {
            assert!(GitAddress::parse(text).expect("an address").is_err(), "{text}");
        }
    }
}
