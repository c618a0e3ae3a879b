//! ADD: files of the context, archives among them unpacked, files from http(s) URLs, and trees of git repositories.

use crate::LowerError;
use crate::instructions::copy::linked;
use crate::instructions::files::Transfer;
use crate::label;
use crate::paths;
use crate::stage::{Ports, Step, Tree};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast;
use kiln_graph::{Action, Copy, GitAddress, GitTree, HttpFile, Op, Port, Source, Unpack};

pub(super) fn lower(step: &mut Step<'_>, add: &ast::Add) -> Result<(), LowerError> {
    let transfer = Transfer::new(step, "ADD", false, add.chown.as_ref(), add.chmod.as_ref(), &add.sources, &add.dest)?;
    let checksum = Checksum::of(step, add, &transfer)?;
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
    for (path, span) in &transfer.paths {
        if let Some(address) = git(path) {
            let tree = git_tree(address, add, &checksum, *span)?;
            let fetch = label::fetch(path, &label);
            let vertex = step.out.graph.add(Op::Source(Source::Git(tree)), Vec::new(), fetch, step.use_cache);
            actions.push(Action::Copy(action(ports.of(vertex), ".".to_owned(), Unpack::No, false)));
            continue;
        }
        if HttpFile::is_url(path) {
            let digest = checksum.text.as_ref().map(|(text, span)| {
                text.parse().map_err(|error: kiln_digest::ParseDigestError| with_hint(&error, *span))
            });
            let file = HttpFile::at(path, digest.transpose()?);
            let filename = file.filename.clone();
            let fetch = label::fetch(path, &label);
            let vertex = step.out.graph.add(Op::Source(Source::Http(file)), Vec::new(), fetch, step.use_cache);
            actions.push(Action::Copy(action(ports.of(vertex), filename, unpack(false), false)));
            continue;
        }
        let context = step.context();
        let from_context = matches!(context, Tree::Local(_));
        let from = ports.of(step.vertex(context));
        match actions.last_mut() {
            // Neighbours from the context are one action, as for COPY.
            Some(Action::Copy(last)) if last.from == from => last.sources.push(paths::source(path)),
            _ => actions.push(Action::Copy(action(from, paths::source(path), unpack(true), from_context))),
        }
    }
    transfer.finish(step, actions, ports, label)
}

/// `--checksum`, expanded.
struct Checksum {
    text: Option<(String, Span)>,
}

impl Checksum {
    fn of(step: &Step<'_>, add: &ast::Add, transfer: &Transfer<'_>) -> Result<Self, LowerError> {
        let Some(word) = &add.checksum else { return Ok(Self { text: None }) };
        let text = step.expand(word)?;
        if text.is_empty() {
            return Ok(Self { text: None });
        }
        match &transfer.paths[..] {
            [(path, _)] if git(path).is_some() || HttpFile::is_url(path) => Ok(Self { text: Some((text, word.span)) }),
            [_] => Err(LowerError::new("`--checksum` needs a URL to check", word.span)),
            _ => Err(LowerError::new("`--checksum` goes with one source only", word.span)),
        }
    }
}

/// What an address and the flags mean together.
fn git_tree(
    address: Result<GitAddress, kiln_graph::ParseGitError>,
    add: &ast::Add,
    checksum: &Checksum,
    span: Span,
) -> Result<GitTree, LowerError> {
    let GitAddress { mut tree, keep_git_dir, .. } = address.map_err(|error| with_hint(&error, span))?;
    if let Some(flag) = &add.keep_git_dir {
        if keep_git_dir.is_some_and(|said| said != flag.value) {
            return Err(LowerError::new("`--keep-git-dir` and the address say different things", flag.span));
        }
        tree.keep_git_dir = flag.value;
    }
    if let Some((text, span)) = &checksum.text {
        if tree.checksum.as_ref().is_some_and(|said| said != text) {
            return Err(LowerError::new("`--checksum` and the address name different commits", *span));
        }
        tree.checksum = Some(text.clone());
        tree.check_checksum().map_err(|_| {
            LowerError::new(format!("`{text}` is not the id of a commit"), *span)
                .hint("it is the commit that the reference must lead to")
        })?;
    }
    Ok(tree)
}

/// An error whose message may end in a hint.
fn with_hint(error: &dyn std::error::Error, span: Span) -> LowerError {
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((message, hint)) => LowerError::new(message, span).hint(hint),
        None => LowerError::new(text, span),
    }
}

/// What a source is, if it is not a path.
pub(super) fn remote_kind(path: &str) -> Option<&'static str> {
    if git(path).is_some() {
        Some("a git repository")
    } else if HttpFile::is_url(path) {
        Some("a URL")
    } else {
        None
    }
}

/// The address of a git repository; one that looks like a path is a path here.
fn git(path: &str) -> Option<Result<GitAddress, kiln_graph::ParseGitError>> {
    GitAddress::parse(path).filter(|address| !address.as_ref().is_ok_and(|address| address.like_a_path))
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
}
