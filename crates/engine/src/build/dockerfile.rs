//! The Dockerfile of a build: found, read, parsed and lowered, with its faults told by place.

use crate::error::{EngineError, ErrorKind, Place};
use crate::request::{BuildRequest, ContextSource, DockerfileSource, NamedContextSource, NoCache};
use kiln_dockerfile::{Span, ast};
use kiln_graph::Platform;
use kiln_lower::{ImageResolver, LowerError, Lowered, NamedContext, Options};
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
pub(crate) fn read(request: &BuildRequest) -> Result<Dockerfile, EngineError> {
    let path = match &request.dockerfile {
        Some(DockerfileSource::Text { name, text }) => {
            return Ok(Dockerfile { name: name.clone(), text: text.clone(), path: None });
        }
        Some(DockerfileSource::File(path)) => path.clone(),
        None => {
            let ContextSource::Directory(directory) = &request.context;
            directory.join("Dockerfile")
        }
    };
    let name = path.display().to_string();
    let missing = |error: std::io::Error| {
        let mut wrong = EngineError::new(ErrorKind::User, format!("failed to read the Dockerfile `{name}`"));
        if error.kind() == std::io::ErrorKind::NotFound {
            wrong = wrong.with_hint("name another file with `-f`, or make a `Dockerfile` in the build context");
        }
        wrong.with_source(error)
    };
    let size = std::fs::metadata(&path).map_err(missing)?.len();
    if size > MAX_SIZE {
        return Err(EngineError::new(ErrorKind::User, format!("`{name}` is too large for a Dockerfile: {size} bytes")));
    }
    let bytes = std::fs::read(&path).map_err(missing)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        EngineError::new(ErrorKind::User, format!("`{name}` is not UTF-8 at byte {at}"))
    })?;
    Ok(Dockerfile { name, text, path: Some(path) })
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

    fn lower_error(&self, error: LowerError) -> EngineError {
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

/// The path from the root, so that it means the same in every process.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}
