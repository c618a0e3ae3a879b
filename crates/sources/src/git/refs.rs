//! Which commit a reference leads to, asked of the repository without fetching anything.

use super::GitError;
use super::program::{Git, Reach};
use kiln_graph::{GitTree, without_credentials};
use std::path::Path;

/// A commit, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its id.
    pub(super) commit: String,
    /// What to ask the repository for: an annotated tag, else the commit.
    pub(super) object: String,
    /// The reference's whole name, if it is not just the commit's id.
    pub(super) name: Option<String>,
}

impl Found {
    /// The option of `git init` for the hash that the repository's ids are made by.
    pub(super) fn object_format(&self) -> &'static str {
        if self.commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" }
    }
}

/// Finds the commit of a tree.
///
/// # Errors
/// A repository that cannot be reached, has no such reference, or another commit there than the checksum says.
pub(super) fn find(git: &Git<'_>, tree: &GitTree) -> Result<Found, GitError> {
    let found = match tree.commit() {
        Some(commit) => Found { commit: commit.to_owned(), object: commit.to_owned(), name: None },
        None => ask(git, tree)?,
    };
    // An annotated tag may be named as well as the commit that it leads to.
    let is = |expected: &&String| !found.commit.starts_with(&**expected) && !found.object.starts_with(&**expected);
    if let Some(expected) = tree.checksum.as_ref().filter(is) {
        return Err(GitError::Checksum {
            remote: without_credentials(&tree.remote),
            reference: tree.reference.clone().unwrap_or_else(|| "HEAD".to_owned()),
            expected: expected.clone(),
            actual: found.commit,
        });
    }
    Ok(found)
}

fn ask(git: &Git<'_>, tree: &GitTree) -> Result<Found, GitError> {
    let root = Path::new("/");
    let text = match &tree.reference {
        None => git.run(root, Reach::Network, ["ls-remote", "--symref", "--", &git.remote, "HEAD"])?,
        Some(reference) => {
            let peeled = format!("{reference}^{{}}");
            git.run(root, Reach::Network, ["ls-remote", "--", &git.remote, reference, &peeled])?
        }
    };
    let text = String::from_utf8_lossy(&text);
    choose(tree.reference.as_deref(), &text).ok_or_else(|| GitError::NoReference {
        remote: without_credentials(&tree.remote),
        reference: tree.reference.clone().unwrap_or_else(|| "HEAD".to_owned()),
    })
}

/// The reference among the lines of `git ls-remote`. As for `git checkout`, a branch goes before a tag of the same name.
fn choose(reference: Option<&str>, lines: &str) -> Option<Found> {
    let id_of = |name: &str| {
        let mut pairs = lines.lines().filter_map(|line| line.split_once('\t'));
        let (id, _) = pairs.find(|(id, known)| *known == name && !id.starts_with("ref:"))?;
        let is_id = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    };
    let Some(reference) = reference else {
        let commit = id_of("HEAD")?;
        let branch = lines.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        let name = branch.filter(|name| name.starts_with("refs/heads/")).unwrap_or("HEAD").to_owned();
        return Some(Found { object: commit.clone(), commit, name: Some(name) });
    };
    let plain = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
    let names = [reference.to_owned(), plain("refs/"), plain("refs/heads/"), plain("refs/tags/")];
    names.into_iter().find_map(|name| {
        let object = id_of(&name)?;
        let commit = id_of(&format!("{name}^{{}}")).unwrap_or_else(|| object.clone());
        Some(Found { commit, object, name: Some(name) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_tags_and_heads() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|digit| digit.repeat(40));
        let lines = format!(
            "{a}\trefs/heads/main\n{b}\trefs/heads/sub/v1\n{b}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\n{d}\trefs/tags/main\n\
             {d}\trefs/pull/1/head\n"
        );
        let found = |reference: &str| choose(Some(reference), &lines).map(|found| (found.commit, found.object));
        let both = |id: &String| Some((id.clone(), id.clone()));
        assert_eq!(found("main"), both(&a));
        assert_eq!(found("refs/tags/main"), both(&d));
        assert_eq!(found("tags/main"), both(&d));
        assert_eq!(found("v1"), Some((c, b.clone())));
        assert_eq!(found("sub/v1"), both(&b));
        assert_eq!(found("pull/1/head"), both(&d));
        assert_eq!(found("none"), None);
        let lines = format!("ref: refs/heads/main\tHEAD\n{a}\tHEAD\n");
        let head = choose(None, &lines).unwrap();
        assert_eq!((head.commit, head.name.as_deref()), (a.clone(), Some("refs/heads/main")));
        assert_eq!(choose(None, &format!("{a}\tHEAD\n")).unwrap().name.as_deref(), Some("HEAD"));
        assert_eq!(choose(None, ""), None);
        assert_eq!(choose(None, "nonsense\tHEAD\n"), None);
    }
}
