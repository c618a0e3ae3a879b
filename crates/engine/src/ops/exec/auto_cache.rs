//! Caches that a step gets without having asked for them: which of those that lowering proposed it really gets, and where.
//!
//! A *pure* cache becomes a cache mount of the store, under a key that no explicit mount has. What the image has at its target is
//! never hidden: it becomes part of the key, and a new cache starts as a copy of it, made once; an overlay would show it as well,
//! but its upper directory could not be shared by steps that run at the same time. The mount point, and parents made for it, are
//! gone after the step, as those of explicit mounts are.
//!
//! An *output* directory is laid under the step as its last run left it ([`super::outputs`]).
//!
//! A mount that the Dockerfile asks for always wins: nothing is put at, above or below it.

use super::cache_key;
use crate::build::Selections;
use crate::error::EngineError;
use crate::ops::users::ProcessUser;
use crate::snapshot::Output;
use kiln_graph::{AutoCache, CacheDirectory, CachePurpose, CacheSharing, Exec, MountKind, SecretTarget, Unseen};
use kiln_layer::{Tree, TreeError, resolve};
use std::path::{Path, PathBuf};

/// Where nothing is mounted: places that the sandbox itself fills.
const RESERVED: [&str; 5] = ["proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"];

/// The caches that a step gets.
#[derive(Debug, Default)]
pub(super) struct Injection {
    /// Those that are mounted, parents before what lies below them.
    pub(super) pure: Vec<PureCache>,
    /// Directories and files that are laid under the step as its last run left them, relative to the root.
    pub(super) outputs: Vec<OutputDirectory>,
    /// The commands that they are for, each once.
    pub(super) commands: Vec<String>,
    /// Their directories, as they were proposed.
    pub(super) directories: Vec<CacheDirectory>,
}

/// What is laid under a step as its last run left it.
#[derive(Debug)]
pub(super) struct OutputDirectory {
    /// Where, relative to the root and without links.
    pub(super) target: PathBuf,
    /// The only files that may have changed since, relative to the root; any if there are none.
    pub(super) made_from: Vec<PathBuf>,
}

/// A cache to be mounted.
#[derive(Debug)]
pub(super) struct PureCache {
    /// Where, relative to the root and without links.
    pub(super) target: PathBuf,
    /// The key of its cache mount.
    pub(super) key: String,
    pub(super) sharing: CacheSharing,
    /// Mode and owner of a new one.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether the image has files at the target, as which a new one starts.
    pub(super) starts_as_image: bool,
    /// Variables that lead the tool there.
    pub(super) env: Vec<(String, String)>,
    /// Files that are written into it before the step runs, by path.
    pub(super) files: Vec<(String, String)>,
    /// What its key is still to say of the files that the step sees ([`super::unseen`]).
    pub(super) unseen: Unseen,
}

impl Injection {
    fn has(&self, target: &Path) -> bool {
        self.pure.iter().any(|cache| cache.target == target)
            || self.outputs.iter().any(|output| output.target == target)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many caches there are.
    pub(super) fn len(&self) -> usize {
        self.pure.len() + self.outputs.len()
    }
}

/// Decides which of the proposed caches the step gets. `root` is what `tree` shows; a root that is absent is empty.
pub(super) fn plan(
    exec: &Exec,
    root: Option<&Output>,
    tree: &dyn Tree,
    user: &ProcessUser,
    selections: &dyn Selections,
) -> Result<Injection, EngineError> {
    let mut injection = Injection::default();
    if exec.auto_caches.is_empty() {
        return Ok(injection);
    }
    let explicit = explicit_targets(exec, tree).map_err(unreadable)?;
    let mut ids = Vec::new();
    for cache in &exec.auto_caches {
        let Some(target) = target(cache, exec, tree, user).map_err(unreadable)? else { continue };
        if explicit.iter().any(|mount| overlap(mount, &target)) || injection.has(&target) {
            continue;
        }
        let is_pure = cache.purpose == CachePurpose::Pure;
        if is_pure && ids.contains(&&cache.id) {
            continue;
        }
        if let Some(required) = &cache.requires {
            let path = resolve(tree, Path::new(required), true).map_err(unreadable)?;
            if tree.entry(&path).map_err(unreadable)?.is_none() {
                continue;
            }
        }
        match cache.purpose {
            CachePurpose::Pure => {
                let Some(mount) = pure(cache, target, root, tree, user, selections)? else { continue };
                injection.pure.push(mount);
            }
            CachePurpose::Output => {
                let made_from = cache.made_from.iter().map(|path| resolve(tree, Path::new(path), true));
                let made_from = made_from.collect::<Result<_, _>>().map_err(unreadable)?;
                injection.outputs.push(OutputDirectory { target, made_from });
            }
        }
        injection.directories.push(cache.directory.clone());
        if is_pure {
            ids.push(&cache.id);
        }
        if !injection.commands.contains(&cache.command) {
            injection.commands.push(cache.command.clone());
        }
    }
    injection.pure.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(injection)
}

fn unreadable(error: TreeError) -> EngineError {
    EngineError::internal("failed to look for the caches of the step in its root")(error)
}

/// Where the Dockerfile asks for mounts.
fn explicit_targets(exec: &Exec, tree: &dyn Tree) -> Result<Vec<PathBuf>, TreeError> {
    let mounted = exec.mounts.iter().filter(|mount| {
        let only_a_variable = matches!(&mount.kind, MountKind::Secret { target: SecretTarget::Env(_), .. });
        !only_a_variable
    });
    mounted.map(|mount| resolve(tree, Path::new(&mount.target), true)).collect()
}

/// Where the tool looks for its cache, unless nothing can be mounted there.
fn target(cache: &AutoCache, exec: &Exec, tree: &dyn Tree, user: &ProcessUser) -> Result<Option<PathBuf>, TreeError> {
    let path = match &cache.directory {
        CacheDirectory::Absolute(path) => PathBuf::from(path),
        CacheDirectory::Home(below) => {
            let variable = exec.env.iter().find(|(name, _)| name == "HOME").map(|(_, value)| value);
            let home = Path::new(variable.unwrap_or(&user.home));
            // A user without a home directory keeps no caches there.
            if !home.is_absolute() || home == Path::new("/") {
                return Ok(None);
            }
            home.join(below)
        }
    };
    if !path.is_absolute() {
        return Ok(None);
    }
    let target = resolve(tree, &path, true)?;
    Ok((!RESERVED.iter().any(|reserved| overlap(Path::new(reserved), &target))).then_some(target))
}

/// Whether one of two paths lies below the other, or both are the same. The root is above all.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn pure(
    cache: &AutoCache,
    target: PathBuf,
    root: Option<&Output>,
    tree: &dyn Tree,
    user: &ProcessUser,
    selections: &dyn Selections,
) -> Result<Option<PureCache>, EngineError> {
    let (mut mode, mut uid, mut gid) = (0o755, user.uid, user.gid);
    let mut key = cache_key::automatic(&cache.id);
    let mut starts_as_image = false;
    if let Some(entry) = tree.entry(&target).map_err(unreadable)? {
        if !entry.is_directory() {
            return Ok(None);
        }
        (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
        if let Some(root) = root
            && !tree.children(&target).map_err(unreadable)?.is_empty()
        {
            let Some(path) = target.to_str() else { return Ok(None) };
            let digest = selections.path(root, &format!("/{path}"))?.to_hex();
            key.push_str(&format!(" over {}", &digest[..16]));
            starts_as_image = true;
        }
    }
    if (mode, uid, gid) != (0o755, 0, 0) {
        key.push_str(&format!(" {mode:o} {uid}:{gid}"));
    }
    let (env, files) = (cache.env.clone(), cache.files.clone());
    Ok(Some(PureCache {
        target,
        key,
        sharing: cache.sharing,
        mode,
        uid,
        gid,
        starts_as_image,
        env,
        files,
        unseen: cache.unseen,
    }))
}
