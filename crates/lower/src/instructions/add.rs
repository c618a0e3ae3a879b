//! ADD: files of the context, archives among them unpacked, and files from http(s) URLs.

use crate::LowerError;
use crate::instructions::copy::linked;
use crate::instructions::files::Transfer;
use crate::paths;
use crate::stage::{Ports, Step};
use kiln_digest::Digest;
use kiln_dockerfile::ast;
use kiln_graph::{Action, Copy, HttpFile, Op, Port, Source, Unpack};

/// The name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

pub(super) fn lower(step: &mut Step<'_>, add: &ast::Add) -> Result<(), LowerError> {
    let transfer = Transfer::new(step, "ADD", false, add.chown.as_ref(), add.chmod.as_ref(), &add.sources, &add.dest)?;
    let checksum = checksum(step, add, &transfer)?;
    if let Some((_, span)) = transfer.paths.iter().find(|(path, _)| is_git(path)) {
        return Err(LowerError::unsupported("ADD from a git repository is not supported yet", *span)
            .hint("clone it with `RUN git clone`, or give it as a build context"));
    }
    let mut ports = Ports::default();
    // The tree so far is the first input, whatever else is needed.
    let _base = step.stage.head.map(|head| ports.of(head));
    let label = Transfer::label(step);
    let exclude: Vec<String> = add.exclude.iter().map(|word| word.text.clone()).collect();
    let mut actions: Vec<Action> = Vec::new();
    let action = |from: Port, source: String, unpack: Unpack, from_context: bool| Copy {
        from,
        sources: vec![source],
        dest: transfer.dest.clone(),
        owner: transfer.owner.clone(),
        mode: transfer.mode.clone(),
        unpack,
        parents: false,
        exclude: exclude.clone(),
        link: linked(add.link, &transfer),
        from_context,
    };
    let unpack = |default: bool| match add.unpack.map_or(default, |flag| flag.value) {
        true => Unpack::Archives,
        false => Unpack::No,
    };
    for (path, _) in &transfer.paths {
        if is_http(path) {
            let filename = filename(path);
            let file = HttpFile { url: path.clone(), checksum, filename: filename.clone() };
            let vertex = step.out.graph.add(Op::Source(Source::Http(file)), Vec::new(), label.clone(), step.use_cache);
            actions.push(Action::Copy(action(ports.of(vertex), filename, unpack(false), false)));
            continue;
        }
        let context = step.context();
        let from = ports.of(step.vertex(context));
        match actions.last_mut() {
            // Neighbours from the context are one action, as for COPY.
            Some(Action::Copy(last)) if last.from_context => last.sources.push(paths::source(path)),
            _ => actions.push(Action::Copy(action(from, paths::source(path), unpack(true), true))),
        }
    }
    transfer.finish(step, actions, ports, label)
}

fn checksum(step: &Step<'_>, add: &ast::Add, transfer: &Transfer<'_>) -> Result<Option<Digest>, LowerError> {
    let Some(word) = &add.checksum else { return Ok(None) };
    let text = step.expand(word)?;
    if text.is_empty() {
        return Ok(None);
    }
    match &transfer.paths[..] {
        [(path, _)] if is_git(path) => Ok(None),
        [(path, _)] if is_http(path) => {
            let digest = text.parse::<Digest>();
            digest.map(Some).map_err(|error| LowerError::new(error.to_string(), word.span))
        }
        [_] => Err(LowerError::new("`--checksum` needs a URL to check", word.span)),
        _ => Err(LowerError::new("`--checksum` goes with one source only", word.span)),
    }
}

/// What a source is, if it is not a path.
pub(super) fn remote_kind(path: &str) -> Option<&'static str> {
    if is_git(path) {
        Some("a git repository")
    } else if is_http(path) {
        Some("a URL")
    } else {
        None
    }
}

fn is_http(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// `git://…`, `ssh://…`, `http(s)://….git`, `user@host:path`.
fn is_git(path: &str) -> bool {
    if path.starts_with("git://") || path.starts_with("ssh://") {
        return true;
    }
    if is_http(path) {
        return path.split(['?', '#']).next().is_some_and(|before| before.ends_with(".git"));
    }
    let Some((user, rest)) = path.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    word(user, b"-_") && word(host, b"-.")
}

/// The last component of the URL's path, decoded.
fn filename(url: &str) -> String {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let before_query = after.split(['?', '#']).next().unwrap_or_default();
    let path = before_query.split_once('/').map_or("", |(_, path)| path);
    let Some(decoded) = percent_decode(path) else { return UNNAMED.to_owned() };
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) if name.contains('\0') => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.contains('+'))?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_is() {
        for (path, kind) in [
            ("main.go", None),
            ("github.com/a/b.git", None),
            ("https://example.org/a.tar.gz", Some("a URL")),
            ("http://example.org", Some("a URL")),
            ("https://example.org/a.git", Some("a git repository")),
            ("https://example.org/a.git#v1:sub", Some("a git repository")),
            ("https://example.org/a.git?ref=v1", Some("a git repository")),
            ("https://example.org/a?x=b.git", Some("a URL")),
            ("git@example.org:a/b", Some("a git repository")),
            ("git://example.org/a", Some("a git repository")),
            ("ssh://git@example.org/a", Some("a git repository")),
            ("dir/a@b:c", None),
            ("@scope/x", None),
        ] {
            assert_eq!(remote_kind(path), kind, "{path}");
        }
    }

    #[test]
    fn names_of_downloaded_files() {
        for (url, name) in [
            ("https://example.org/a/b.tar.gz?x=1#y", "b.tar.gz"),
            ("https://example.org/a%20b", "a b"),
            ("https://example.org/a%2Fb", "b"),
            ("https://example.org/dir/", "dir"),
            ("https://example.org/", UNNAMED),
            ("https://example.org", UNNAMED),
            ("https://example.org/..", UNNAMED),
            ("https://example.org/%zz", UNNAMED),
            ("https://example.org/a%", UNNAMED),
            ("https://example.org/a%00b", UNNAMED),
            ("https://example.org/%ff", UNNAMED),
        ] {
            assert_eq!(filename(url), name, "{url}");
        }
    }
}
