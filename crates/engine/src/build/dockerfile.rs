//! The Dockerfile of a build: found, read, parsed and lowered, with its faults told by place.

use super::main_context::{Loading, MainContext};
use crate::error::{EngineError, ErrorKind, Place};
use crate::request::{BuildRequest, ContextSource, DockerfileSource, NamedContextSource, NoCache};
use crate::snapshot::Realized;
use kiln_dockerfile::{Span, ast};
use kiln_graph::{HttpFile, Platform, without_credentials};
use kiln_layer::{Tree, TreeError, resolve};
use kiln_lower::{ImageResolver, LowerError, Lowered, NamedContext, Options};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A larger file is not a Dockerfile.
const MAX_SIZE: u64 = 8 << 20;

/// The text of a Dockerfile and what messages call it.
pub(crate) struct Dockerfile {
    pub(crate) name: String,
    pub(crate) text: String,
    /// The file, if it is one: its `.dockerignore` stands beside it.
    pub(crate) path: Option<PathBuf>,
}

/// Reads the Dockerfile that a request names.
pub(crate) fn read(
    request: &BuildRequest,
    main: &MainContext,
    loading: &Loading<'_>,
) -> Result<Dockerfile, EngineError> {
    match (&request.dockerfile, main) {
        (Some(DockerfileSource::Text { name, text }), _) => {
            Ok(Dockerfile { name: name.clone(), text: text.clone(), path: None })
        }
        (Some(DockerfileSource::Url(url)), _) => {
            let (layer, _) = loading.download(url, DEFAULT, "[internal] load remote Dockerfile", request)?;
            let realized = Realized::new(loading.engine.store(), vec![layer])?;
            from_tree(realized.tree.as_ref(), DEFAULT, &without_credentials(url))
        }
        (Some(DockerfileSource::File(path)), MainContext::Directory(_)) => from_file(path.clone()),
        (Some(DockerfileSource::File(path)), MainContext::Tree(_)) if path.is_absolute() => from_file(path.clone()),
        (None, MainContext::Directory(directory)) => {
            // The context as it was named, since that is how people know the file.
            let ContextSource::Directory(named) = &request.context else { return from_file(directory.join(DEFAULT)) };
            let (upper, lower) = (named.join(DEFAULT), named.join(DEFAULT.to_lowercase()));
            from_file(if !upper.exists() && lower.is_file() { lower } else { upper })
        }
        (named, MainContext::Tree(context)) => {
            let realized = Realized::new(loading.engine.store(), context.layer.into_iter().collect())?;
            let tree = realized.tree.as_ref();
            let name = match named {
                Some(DockerfileSource::File(path)) => path.display().to_string(),
                _ if context.dockerfile == DEFAULT && !is_file(tree, DEFAULT)? && is_file(tree, "dockerfile")? => {
                    DEFAULT.to_lowercase()
                }
                _ => context.dockerfile.to_owned(),
            };
            from_tree(tree, &name, &name)
        }
    }
}

/// What a request calls its Dockerfile, whether or not there is one.
pub(crate) fn requested(request: &BuildRequest) -> String {
    match (&request.dockerfile, &request.context) {
        (Some(DockerfileSource::Text { name, .. }), _) => name.clone(),
        (Some(DockerfileSource::Url(url)), _) => without_credentials(url),
        (Some(DockerfileSource::File(path)), _) => path.display().to_string(),
        (None, ContextSource::Directory(directory)) => directory.join(DEFAULT).display().to_string(),
        (None, _) => DEFAULT.to_owned(),
    }
}

/// What a Dockerfile is called.
const DEFAULT: &str = "Dockerfile";

fn from_file(path: PathBuf) -> Result<Dockerfile, EngineError> {
    let name = path.display().to_string();
    let size = std::fs::metadata(&path).map_err(|error| unreadable(&name, HERE, error))?.len();
    let file = std::fs::File::open(&path).map_err(|error| unreadable(&name, HERE, error))?;
    Ok(Dockerfile { text: text(&name, size, file)?, name, path: Some(path) })
}

fn from_tree(tree: &dyn Tree, path: &str, name: &str) -> Result<Dockerfile, EngineError> {
    let failed = |error: TreeError| match error {
        TreeError::Io { source, .. } => unreadable(name, IN_CONTEXT, source),
        TreeError::NotAFile { .. } => unreadable(name, IN_CONTEXT, io::ErrorKind::IsADirectory.into()),
        _ => unreadable(name, IN_CONTEXT, io::ErrorKind::NotFound.into()),
    };
    let path = resolve(tree, Path::new(path), true).map_err(failed)?;
    let size = tree.entry(&path).map_err(failed)?.map_or(0, |entry| entry.size);
    let file = tree.open(&path).map_err(failed)?;
    Ok(Dockerfile { name: name.to_owned(), text: text(name, size, file)?, path: None })
}

fn is_file(tree: &dyn Tree, path: &str) -> Result<bool, EngineError> {
    let look = || tree.entry(&resolve(tree, Path::new(path), true)?);
    let entry = look().map_err(EngineError::internal("failed to look for the Dockerfile"))?;
    Ok(entry.is_some_and(|entry| entry.is_file()))
}

/// Where a Dockerfile was looked for: on this machine, or among the files of a context.
const HERE: &str = "";
const IN_CONTEXT: &str = " in the context";

fn unreadable(name: &str, place: &str, error: io::Error) -> EngineError {
    if error.kind() == io::ErrorKind::NotFound {
        let from = if place == HERE { "the current directory" } else { "the root of the context" };
        return EngineError::new(ErrorKind::User, format!("there is no Dockerfile `{name}`{place}"))
            .with_hint(format!("`-f FILE` names another one, as seen from {from}"));
    }
    EngineError::new(ErrorKind::User, format!("failed to read the Dockerfile `{name}`{place}")).with_source(error)
}

fn text(name: &str, size: u64, file: std::fs::File) -> Result<String, EngineError> {
    if size > MAX_SIZE {
        return Err(EngineError::new(ErrorKind::User, format!("`{name}` is too large for a Dockerfile: {size} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, HERE, error))?;
    kiln_dockerfile::decode(bytes).map_err(|error| {
        EngineError::new(ErrorKind::User, format!("`{name}` is {error}")).with_hint("save it as UTF-8")
    })
}

impl Dockerfile {
    /// Parses the Dockerfile.
    pub(crate) fn parse(&self) -> Result<ast::Dockerfile, EngineError> {
        kiln_dockerfile::parse_strict(&self.text).map_err(|error| {
            let mut wrong = EngineError::new(ErrorKind::User, error.message.clone());
            wrong.hint.clone_from(&error.hint);
            wrong.place = Some(Box::new(self.place(error.span, error.label.clone().unwrap_or_default())));
            wrong
        })
    }

    /// Lowers what [`parse`](Self::parse) gave.
    pub(crate) fn lower(
        &self,
        parsed: &ast::Dockerfile,
        options: &Options,
        resolver: &dyn ImageResolver,
    ) -> Result<Lowered, EngineError> {
        kiln_lower::lower(parsed, options, resolver).map_err(|error| self.lower_error(error))
    }

    pub(crate) fn lower_error(&self, error: LowerError) -> EngineError {
        let kind = match error.kind {
            kiln_lower::ErrorKind::User => ErrorKind::User,
            kiln_lower::ErrorKind::Unsupported => ErrorKind::Unsupported,
            kiln_lower::ErrorKind::Image => {
                let resolved = error.source.as_deref().and_then(|source| source.downcast_ref::<EngineError>());
                resolved.map_or(ErrorKind::Network, |error| error.kind)
            }
        };
        let mut wrong = EngineError::new(kind, error.message);
        wrong.hint = error.hint;
        wrong.place = error.span.map(|span| Box::new(self.place(span, error.label.unwrap_or_default())));
        if let Some(source) = error.source {
            // The hint that helps is the one of the cause.
            if let Some(cause) = source.downcast_ref::<EngineError>() {
                wrong.hint = wrong.hint.or_else(|| cause.hint.clone());
            }
            wrong = wrong.with_source(source);
        }
        wrong
    }

    pub(crate) fn place(&self, span: Span, label: String) -> Place {
        Place { file: self.name.clone(), text: self.text.clone(), span: (span.start, span.end), label }
    }
}

/// What a request asks of lowering.
pub(crate) fn options(request: &BuildRequest, platform: &Platform) -> Options {
    let context = |source: &NamedContextSource| match source {
        NamedContextSource::Directory(_) => NamedContext::Local,
        NamedContextSource::Image(reference) => NamedContext::Image(reference.clone()),
        NamedContextSource::OciLayout { path, reference } => {
            NamedContext::OciLayout { path: absolute(path).display().to_string(), reference: reference.clone() }
        }
        NamedContextSource::Git(tree) => NamedContext::Git(tree.clone()),
        NamedContextSource::Http(url) => {
            NamedContext::Http(HttpFile { url: url.clone(), checksum: None, filename: "context".to_owned() })
        }
    };
    Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        platform: platform.clone(),
        implicit_platform: request.platforms.is_empty(),
        build_platform: Platform::host(),
        no_cache: match &request.no_cache {
            NoCache::No => kiln_lower::NoCache::No,
            NoCache::All => kiln_lower::NoCache::All,
            NoCache::Stages(stages) => kiln_lower::NoCache::Stages(stages.clone()),
        },
        network: request.network,
        context_has_owners: !matches!(request.context, ContextSource::Directory(_)),
        contexts: request.contexts.iter().map(|(name, source)| (name.clone(), context(source))).collect(),
        shm_size: request.shm_size,
        ulimits: request.ulimits.clone(),
        extra_hosts: request.extra_hosts.clone(),
        cgroup_parent: request.cgroup_parent.clone(),
        resources: request.resources.clone(),
        allow_network_host: request.entitlements.network_host,
        allow_insecure: request.entitlements.security_insecure,
        auto_cache: request.auto_cache,
        ..Options::default()
    }
}

/// Where a word first stands in a part of a text, as a whole word: between blanks, quotes, and what separates fields. A path may have
/// lost the slash that it has there, or got one since.
pub(crate) fn find_word(text: &str, span: (u32, u32), word: &str) -> Option<(u32, u32)> {
    let within = text.get(span.0 as usize..span.1 as usize).filter(|_| !word.is_empty())?;
    let (with, without) = (format!("/{word}"), word.trim_start_matches('/'));
    let ends = |c: char| c.is_whitespace() || "\"'=,:[]".contains(c);
    [word, &with, without].into_iter().filter(|word| !word.is_empty()).find_map(|word| {
        let found = within.match_indices(word).map(|(at, _)| at).find(|at| {
            let after = &within[at + word.len()..];
            within[..*at].ends_with(ends) && (after.is_empty() || after.starts_with(ends))
        })?;
        let start = span.0 + u32::try_from(found).ok()?;
        Some((start, start + u32::try_from(word.len()).ok()?))
    })
}

/// The path from the root, so that it means the same in every process.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let text = "FROM a\nCOPY --chown=a:b [\"é\", \"ab\", \"a\", \"x\"]\n";
        let all = (7, u32::try_from(text.len() - 1).unwrap());
        for (word, expected) in
            [("a", Some("a:b")), ("ab", Some("ab\"")), ("é", Some("é\"")), ("b", Some("b [")), ("y", None), ("", None)]
        {
            let found = find_word(text, all, word);
            assert_eq!(
                found.map(|(start, _)| text[start as usize..].starts_with(expected.unwrap())),
                expected.map(|_| true),
                "{word}"
            );
        }
        assert_eq!(find_word(text, (0, 6), "a"), Some((5, 6)));
        for word in ["x/y", "/x/y"] {
            assert_eq!(find_word("COPY /x/y .", (0, 11), word), Some((5, 9)));
            assert_eq!(find_word("COPY x/y .", (0, 10), word), Some((5, 8)));
        }
        assert_eq!(find_word(text, (100, 200), "a"), None);
    }
}
