//! Paths of the Dockerfile as text: joined to a working directory and cleaned, without looking at any file system.
//!
//! Nothing here guards a root: `..` never climbs above `/` in what is returned, and whoever opens a path resolves it beneath its
//! root all the same.

use std::borrow::Cow;

/// A path as an absolute one without `.`, `..`, doubled or trailing slashes; relative ones are joined to `dir`.
pub(crate) fn absolute<'p>(dir: &str, path: &'p str) -> Cow<'p, str> {
    match path.strip_prefix('/') {
        Some(below) if is_plain(below) => Cow::Borrowed(path),
        None if !path.is_empty() && is_plain(path) && dir.strip_prefix('/').is_some_and(is_plain) => {
            Cow::Owned([dir.trim_end_matches('/'), "/", path].concat())
        }
        _ => Cow::Owned(joined(dir, path)),
    }
}

/// Whether nothing of a path below another one has to be cleaned. No name in it begins with a dot.
fn is_plain(path: &str) -> bool {
    !path.starts_with(['.', '/'])
        && !path.ends_with('/')
        && path.as_bytes().windows(2).all(|pair| pair[0] != b'/' || !matches!(pair[1], b'/' | b'.'))
}

fn joined(dir: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { dir };
    let mut full = String::with_capacity(base.len() + path.len() + 2);
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => full.truncate(full.rfind('/').unwrap_or(0)),
            name => {
                full.push('/');
                full.push_str(name);
            }
        }
    }
    if full.is_empty() {
        full.push('/');
    }
    full
}

/// The destination of COPY and ADD: absolute, with a trailing slash where the text says that it is a directory.
pub(crate) fn destination(dir: &str, path: &str) -> String {
    let mut full = absolute(dir, path).into_owned();
    let directory = matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.");
    if directory && full != "/" {
        full.push('/');
    }
    full
}

/// A source of COPY and ADD below the root of its tree, without a leading slash; `.` is the whole tree.
pub(crate) fn source(path: &str) -> String {
    let mut full = absolute("/", path).into_owned();
    if full == "/" {
        return ".".to_owned();
    }
    full.remove(0);
    full
}

/// A source of `COPY --parents`: cleaned like any other, but the pivot `/./`, from which on parents are made, stays.
pub(crate) fn source_with_parents(path: &str) -> String {
    match path.split_once("/./") {
        Some((before, after)) => match (source(before).as_str(), source(after).as_str()) {
            (".", after) => format!("./{after}"),
            (before, after) => format!("{before}/./{after}"),
        },
        None => source(path),
    }
}

/// Go's `path.Clean`: relative paths stay relative, an empty one is `.`.
pub(crate) fn clean(path: &str) -> String {
    if path.starts_with('/') {
        return absolute("/", path).into_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths() {
        for (dir, path, full) in [
            ("/", "app", "/app"),
            ("/app", "bin/../lib/", "/app/lib"),
            ("/app", "/etc//x/.", "/etc/x"),
            ("/app", "/etc/.x/..y", "/etc/.x/..y"),
            ("/app", "/etc/x", "/etc/x"),
            ("/app", "/etc/x/..", "/etc"),
            ("/app", "/", "/"),
            ("/app", "../../..", "/"),
            ("", "a", "/a"),
            ("/app", "", "/app"),
        ] {
            assert_eq!(absolute(dir, path), full, "{dir} {path}");
        }
    }

    #[test]
    fn destinations_keep_what_makes_them_directories() {
        for (dir, path, full) in [
            ("/app", ".", "/app/"),
            ("/app", "", "/app/"),
            ("/app", "./", "/app/"),
            ("/app", "x", "/app/x"),
            ("/app", "x/", "/app/x/"),
            ("/app", "x/.", "/app/x/"),
            ("/app", "x/..", "/app"),
            ("/app/b", "..", "/app"),
            ("/", ".", "/"),
            ("/app", "/", "/"),
            ("/app", "/x//y", "/x/y"),
        ] {
            assert_eq!(destination(dir, path), full, "{dir} {path}");
        }
    }

    #[test]
    fn sources() {
        for (path, below) in [(".", "."), ("/", "."), ("../x", "x"), ("/a/b/", "a/b"), ("./*.go", "*.go"), ("", ".")] {
            assert_eq!(source(path), below, "{path}");
        }
        for (path, below) in
            [("a/./b/c", "a/./b/c"), ("./a/b", "a/b"), ("/./a", "./a"), ("x//y/././z", "x/y/./z"), ("a/b", "a/b")]
        {
            assert_eq!(source_with_parents(path), below, "{path}");
        }
    }

    #[test]
    fn cleaned_paths() {
        for (path, cleaned) in
            [("", "."), ("/a//b/", "/a/b"), ("a/../b", "b"), ("../a", "../a"), ("./x/.", "x"), ("/..", "/")]
        {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
