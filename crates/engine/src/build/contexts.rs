//! The contexts of a build: the main one and the named directories, opened once and read when a step asks.

use super::dockerfile::{Dockerfile, absolute};
use super::main_context::{ContextTree, MainContext};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::request::{BuildRequest, NamedContextSource};
use crate::snapshot::Output;
use kiln_digest::ContentDigest;
use kiln_graph::{Image, ImageLocation};
use kiln_sources::image::Resolution;
use kiln_sources::local::{IgnoreRules, LocalContext, read_ignore_rules};
use kiln_store::Store;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The name that the graph gives to the main context.
pub(crate) const MAIN: &str = "context";

/// Longer files are no lists of dependencies that somebody wrote.
const MAX_TEXT: u64 = 1 << 20;

/// What a build reads.
pub(crate) struct Contexts {
    /// What the main context is known by from build to build.
    main: String,
    /// The main context, if it came from elsewhere.
    tree: Option<Box<ContextTree>>,
    open: HashMap<String, Arc<LocalContext>>,
}

/// Opens the contexts of a request.
pub(crate) fn open(
    engine: &Engine,
    request: &BuildRequest,
    main: MainContext,
    dockerfile: &Dockerfile,
) -> Result<Contexts, EngineError> {
    let mut open = HashMap::new();
    let (main, tree) = match main {
        MainContext::Directory(directory) => {
            let rules = read_ignore_rules(&directory, dockerfile.path.as_deref()).map_err(EngineError::user)?;
            open.insert(MAIN.to_owned(), open_one(engine, &directory, rules)?);
            (directory.display().to_string(), None)
        }
        // As with BuildKit, a `.dockerignore` of what is not a directory of this machine is a file like any other.
        MainContext::Tree(tree) => (tree.name.clone(), Some(tree)),
    };
    for (name, source) in &request.contexts {
        if let NamedContextSource::Directory(path) = source {
            let path = absolute(path);
            let rules = read_ignore_rules(&path, None).map_err(EngineError::user)?;
            open.insert(name.clone(), open_one(engine, &path, rules)?);
        }
    }
    Ok(Contexts { main, tree, open })
}

fn open_one(engine: &Engine, path: &Path, rules: IgnoreRules) -> Result<Arc<LocalContext>, EngineError> {
    let name = ContentDigest::of_bytes(path.as_os_str().as_encoded_bytes());
    let digests = engine.store().contexts_dir().join(name.to_hex());
    LocalContext::open(path, rules, Some(digests)).map(Arc::new).map_err(EngineError::user)
}

impl Contexts {
    /// What the main context is known by from build to build.
    pub(crate) fn main_name(&self) -> &str {
        &self.main
    }

    /// Whether the ignore file leaves a path out of the main context; `None` where that has no simple answer, since a pattern
    /// brings something back, or where nothing is left out.
    pub(crate) fn ignored(&self) -> Option<impl Fn(&str) -> bool> {
        let rules = self.open.get(MAIN)?.ignore_rules();
        let answers = !rules.is_empty() && !rules.brings_back();
        answers.then_some(|path: &str| rules.judge_from_root(Path::new(path)).is_ignored())
    }

    /// Whether the main context, if it is a directory, has something of this name at its top that is not left out.
    pub(crate) fn holds(&self) -> Option<impl Fn(&str) -> bool> {
        let context = self.open.get(MAIN)?;
        let there = |name: &str| Path::new(&self.main).join(name).symlink_metadata().is_ok();
        Some(move |name: &str| there(name) && !context.ignore_rules().judge_from_root(Path::new(name)).is_ignored())
    }

    /// The text of a regular file at the top of the main context, if that is a directory and does not leave the file out.
    pub(crate) fn text(&self) -> Option<impl Fn(&str) -> Option<String>> {
        let holds = self.holds()?;
        let directory = Path::new(&self.main);
        Some(move |name: &str| {
            // The name of a file and nothing else: no link is followed, and nothing is waited for.
            let is_name = !name.contains('/') && holds(name);
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file =
                is_name.then(|| rustix::fs::open(directory.join(name), flags, Mode::empty())).and_then(Result::ok)?;
            let file = File::from(file);
            let is_list = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_TEXT);
            let mut text = String::new();
            let read = is_list.then(|| file.take(MAX_TEXT).read_to_string(&mut text))?;
            read.ok().map(|_| text)
        })
    }

    /// A context by the name that the graph gives it.
    pub(crate) fn get(&self, name: &str) -> Result<Output, EngineError> {
        if let Some(tree) = self.tree.as_ref().filter(|_| name == MAIN) {
            return Ok(Output::Snapshot(tree.snapshot.clone()));
        }
        self.open.get(name).cloned().map(Output::Context).ok_or_else(|| {
            EngineError::new(ErrorKind::User, format!("there is no build context `{name}`"))
                .with_hint(format!("give it with `--build-context {name}=DIR`"))
        })
    }

    /// Keeps the digests of files for the next build. They only save time: nothing is lost with them.
    pub(crate) fn save_digests(&self, store: &Store) {
        for context in self.open.values() {
            let _ = context.save_digests(|path, bytes| store.write_context(path, bytes));
        }
    }

    /// An image of the graph, resolved again from what resolving it before has left in the store.
    pub(crate) fn resolution(
        &self,
        image: &Image,
        engine: &Engine,
        cancel: &CancelToken,
    ) -> Result<Resolution, EngineError> {
        if let Some(resolution) = engine.resolved(image.digest, &image.reference) {
            return Ok(resolution);
        }
        let resolved = match &image.location {
            ImageLocation::Registry => {
                let stop = || cancel.is_cancelled();
                engine.registry().resolve(&image.reference, &image.platform, false, &stop)
            }
            ImageLocation::Layout(path) => {
                let digest = image.digest.to_string();
                engine.registry().resolve_layout(Path::new(path), Some(&digest), &image.platform)
            }
        };
        resolved.map_err(EngineError::from_image)
    }
}
