//! The mounts of a RUN step: binds of other trees and caches, made ready for the sandbox.

use super::auto_cache::{Injection, PureCache};
use super::cache_key;
use super::inside::{make_directory, write_file};
use super::{secret, ssh};
use crate::build::StepContext;
use crate::error::{EngineError, ErrorKind};
use crate::event::Wait;
use crate::ops::file::{copy_into, everything};
use crate::snapshot::{Output, Realized};
use kiln_graph::{CacheSharing, Exec, Mount, MountKind, SecretTarget};
use kiln_layer::{Tree, TreeError, resolve};
use kiln_sandbox::Writable;
use kiln_ssh::{Forward, SocketOwner};
use kiln_store::{CacheMount, CacheMountKey, Sharing, TempDir};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Mounts as the sandbox wants them, with what keeps their sources alive.
pub(crate) struct Prepared {
    pub(crate) mounts: Vec<kiln_sandbox::Mount>,
    /// Variables that mounts add to the environment.
    pub(crate) env: Vec<(String, String)>,
    _agents: Vec<Forward>,
    _caches: BTreeMap<String, CacheMount>,
    _trees: Vec<Realized>,
}

/// What a step cannot do without, and the user did not give.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotGiven {
    #[error(
        "the step needs the secret `{0}`\nhint: give it with `--secret id={0},src=FILE` or `--secret id={0},env=NAME`"
    )]
    Secret(String),
    /// The id, and how `--ssh` gives it.
    #[error("the step needs the SSH agent `{0}`\nhint: give it with `--ssh {1}`")]
    Agent(String, String),
}

/// Makes all mounts of a step ready, those of `injected` caches after the others. Waits for locked caches.
pub(crate) fn prepare(
    exec: &Exec,
    injected: &Injection,
    inputs: &[Output],
    temporary: &TempDir,
    context: &StepContext<'_>,
) -> Result<Prepared, EngineError> {
    let mut prepared = Prepared {
        mounts: Vec::new(),
        env: Vec::new(),
        _agents: Vec::new(),
        _caches: BTreeMap::new(),
        _trees: Vec::new(),
    };
    let caches = caches(exec, injected, inputs, context)?;
    for (number, mount) in exec.mounts.iter().enumerate() {
        let kind = match &mount.kind {
            MountKind::Bind { from, source } => {
                let scratch = temporary.path().join(format!("mount-{number}"));
                bind(mount, &inputs[from.0 as usize], source, &scratch, temporary, context, &mut prepared)?
            }
            MountKind::Cache { from, source, .. } => {
                let cache = &caches[&explicit_key(mount, inputs, context)?];
                let subpath = if from.is_none() { plain(source) } else { PathBuf::new() };
                make_directory(cache.path(), &subpath).map_err(|error| {
                    EngineError::new(ErrorKind::User, format!("cannot use `{source}` of the cache mount"))
                        .with_source(error)
                })?;
                let source = cache.path().to_owned();
                kiln_sandbox::MountKind::Bind { source, subpath, read_only: mount.read_only, recursive: false }
            }
            MountKind::Tmpfs { size } => {
                kiln_sandbox::MountKind::Tmpfs { size: *size, mode: 0o1777, read_only: mount.read_only }
            }
            MountKind::Secret { id, target, required, mode, uid, gid } => {
                let data = secret::read(id, *required, context)?;
                if let SecretTarget::Env(name) | SecretTarget::FileAndEnv(name) = target {
                    // As in BuildKit, one that is not given is an empty variable, but no file.
                    prepared.env.push((name.clone(), secret::as_variable(id, data.as_deref().unwrap_or_default())?));
                }
                let Some(data) = data.filter(|_| !matches!(target, SecretTarget::Env(_))) else { continue };
                kiln_sandbox::MountKind::Memory { data, mode: *mode, uid: *uid, gid: *gid }
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                let place = temporary.path().join(format!("ssh-agent-{number}"));
                let owner = SocketOwner { mode: *mode, uid: *uid, gid: *gid };
                let Some(forward) = ssh::forward(id, *required, &place, owner, context)? else { continue };
                prepared._agents.push(forward);
                bind_file(place)
            }
        };
        prepared.mounts.push(kiln_sandbox::Mount { target: PathBuf::from(&mount.target), kind });
    }
    // A mount above another must not hide it, whichever is written first; of two at one place the later one is seen.
    prepared.mounts.sort_by(|one, other| one.target.cmp(&other.target));
    for cache in &injected.pure {
        let source = caches[&cache.key].path().to_owned();
        for (path, text) in &cache.files {
            write_file(&source, &plain(path), text.as_bytes())
                .map_err(EngineError::internal("failed to write a file of an automatic cache"))?;
        }
        prepared.env.extend(cache.env.iter().cloned());
        let kind =
            kiln_sandbox::MountKind::Bind { source, subpath: PathBuf::new(), read_only: false, recursive: false };
        prepared.mounts.push(kiln_sandbox::Mount { target: Path::new("/").join(&cache.target), kind });
    }
    prepared._caches = caches;
    Ok(prepared)
}

fn bind_file(source: PathBuf) -> kiln_sandbox::MountKind {
    kiln_sandbox::MountKind::Bind { source, subpath: PathBuf::new(), read_only: false, recursive: false }
}

/// Lower directories for an overlay, of which there must be at least one.
pub(crate) fn or_empty(paths: &[PathBuf], temporary: &TempDir) -> Result<Vec<PathBuf>, EngineError> {
    if !paths.is_empty() {
        return Ok(paths.to_vec());
    }
    let empty = temporary.path().join("empty");
    std::fs::create_dir_all(&empty).map_err(EngineError::io("make", &empty))?;
    Ok(vec![empty])
}

/// The ordinary names of a path.
pub(super) fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}

fn bind(
    mount: &Mount,
    input: &Output,
    source: &str,
    scratch: &Path,
    temporary: &TempDir,
    context: &StepContext<'_>,
    prepared: &mut Prepared,
) -> Result<kiln_sandbox::MountKind, EngineError> {
    let (lower, subpath) = match input {
        Output::Snapshot(snapshot) => {
            let realized = context.realize(snapshot)?;
            let lower = or_empty(&realized.paths, temporary)?;
            prepared._trees.push(realized);
            (lower, plain(source))
        }
        Output::Context(local) => {
            let (realized, subpath) = context.materialize(local, source)?;
            let lower = or_empty(&realized.paths, temporary)?;
            prepared._trees.push(realized);
            (lower, subpath)
        }
    };
    if let ([only], true) = (&lower[..], mount.read_only) {
        return Ok(kiln_sandbox::MountKind::Bind { source: only.clone(), subpath, read_only: true, recursive: false });
    }
    let writable = if mount.read_only {
        None
    } else {
        let writable = Writable { upper: scratch.join("upper"), work: scratch.join("work") };
        for directory in [&writable.upper, &writable.work] {
            std::fs::create_dir_all(directory).map_err(EngineError::io("make", directory))?;
        }
        Some(writable)
    };
    Ok(kiln_sandbox::MountKind::Overlay { lower, writable, subpath })
}

/// A cache mount that a step needs.
struct Wanted<'a> {
    sharing: CacheSharing,
    /// Mode and owner of a new one.
    mode: u32,
    uid: u32,
    gid: u32,
    /// What a new one starts as: a path in a tree.
    from: Option<(&'a Output, String)>,
    /// Whether its files are as if they were used just now: tools remove what was not used for days.
    used_now: bool,
}

/// All caches of a step, by their keys. Each is taken once, however often it is mounted, and in the order of the keys: two steps
/// with the same caches never wait for each other.
fn caches(
    exec: &Exec,
    injected: &Injection,
    inputs: &[Output],
    context: &StepContext<'_>,
) -> Result<BTreeMap<String, CacheMount>, EngineError> {
    let mut all: BTreeMap<String, Wanted<'_>> = BTreeMap::new();
    for mount in &exec.mounts {
        let MountKind::Cache { sharing, from, source, mode, uid, gid, .. } = &mount.kind else { continue };
        let from = from.map(|port| (&inputs[port.0 as usize], source.clone()));
        let wanted =
            Wanted { sharing: *sharing, mode: mode.unwrap_or(0o755), uid: *uid, gid: *gid, from, used_now: false };
        add(&mut all, explicit_key(mount, inputs, context)?, wanted);
    }
    for cache in &injected.pure {
        add(&mut all, cache.key.clone(), wanted_by_tool(cache, exec, inputs));
    }
    if all.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut caches = BTreeMap::new();
    for (key, wanted) in all {
        let cache = cache(&key, &wanted, context)?;
        caches.insert(key, cache);
    }
    let held: Vec<&CacheMount> = caches.values().collect();
    context.store().note_mount_users(&context.described(), &held).map_err(EngineError::store)?;
    Ok(caches)
}

/// Of two mounts of one cache the stricter one says how it is shared.
fn add<'a>(all: &mut BTreeMap<String, Wanted<'a>>, key: String, wanted: Wanted<'a>) {
    match all.entry(key) {
        Slot::Vacant(slot) => drop(slot.insert(wanted)),
        Slot::Occupied(mut first) if strictness(wanted.sharing) > strictness(first.get().sharing) => {
            first.insert(wanted);
        }
        Slot::Occupied(_) => {}
    }
}

fn wanted_by_tool<'a>(cache: &PureCache, exec: &Exec, inputs: &'a [Output]) -> Wanted<'a> {
    let root = exec.root.filter(|_| cache.starts_as_image).map(|port| &inputs[port.0 as usize]);
    let from = root.map(|root| (root, format!("/{}", cache.target.display())));
    Wanted { sharing: cache.sharing, mode: cache.mode, uid: cache.uid, gid: cache.gid, from, used_now: true }
}

fn strictness(sharing: CacheSharing) -> u8 {
    match sharing {
        CacheSharing::Locked => 2,
        CacheSharing::Private => 1,
        CacheSharing::Shared => 0,
    }
}

/// What tells a cache from others: its id, and what it starts as. One that belongs to somebody is another one, as in BuildKit.
fn explicit_key(mount: &Mount, inputs: &[Output], context: &StepContext<'_>) -> Result<String, EngineError> {
    let MountKind::Cache { id, from, source, mode, uid, gid, .. } = &mount.kind else {
        return Err(EngineError::new(ErrorKind::Internal, "not a cache mount"));
    };
    let mut key = cache_key::explicit(id);
    if let Some(from) = from {
        key.push_str(&format!("|from={}", context.selections().path(&inputs[from.0 as usize], source)?));
    }
    if mode.is_some() || *uid != 0 || *gid != 0 {
        key.push_str(&format!("|{:o} {uid}:{gid}", mode.unwrap_or(0o755)));
    }
    Ok(key)
}

fn cache(key: &str, wanted: &Wanted<'_>, context: &StepContext<'_>) -> Result<CacheMount, EngineError> {
    let sharing = match wanted.sharing {
        CacheSharing::Shared => Sharing::Shared,
        CacheSharing::Private => Sharing::Private,
        CacheSharing::Locked => Sharing::Locked,
    };
    let key = CacheMountKey::new(key);
    context.clear_if_asked(&key)?;
    let mut seeding = None;
    let mut memo = None;
    let since = Instant::now();
    let mut waited = None;
    let cache = context.store().acquire_cache_mount(
        &key,
        sharing,
        |directory| {
            waited = Some(since.elapsed());
            let own = (wanted.mode, wanted.uid, wanted.gid);
            let remote = context.build.remote_mount(&key);
            let made = remote.as_ref().map_or(Ok(()), |remote| {
                memo = Some(remote.memo().to_bytes());
                remote.move_into(directory).map_err(EngineError::io("move a cache mount to", directory))
            });
            let made = made.and_then(|()| {
                let seeded = wanted.from.as_ref().map(|(from, source)| {
                    if remote.is_none() {
                        seed(from, source, directory, context)?;
                    }
                    owner(from, source, context)
                });
                let (mode, uid, gid) = seeded.transpose()?.flatten().unwrap_or(own);
                if wanted.used_now && remote.is_none() {
                    touch_all(directory).map_err(EngineError::io("set times below", directory))?;
                }
                std::fs::set_permissions(directory, PermissionsExt::from_mode(mode))
                    .map_err(EngineError::io("set the mode of", directory))?;
                chown(directory, Some(uid), Some(gid)).map_err(EngineError::io("set the owner of", directory))
            });
            made.map_err(|error| {
                let text = error.message.clone();
                seeding = Some(error);
                text.into()
            })
        },
        || !context.cancel().is_cancelled(),
    );
    context.tell_wait(Wait::CacheMount, waited.unwrap_or_else(|| since.elapsed()));
    let cache = cache.map_err(|error| {
        if context.cancel().is_cancelled() {
            return EngineError::cancelled();
        }
        seeding.unwrap_or_else(|| {
            EngineError::new(ErrorKind::Internal, format!("failed to open the cache mount `{key}`")).with_source(error)
        })
    })?;
    if let Some(memo) = memo {
        // Without it the next export has more to read.
        let _ = cache.keep_memo(&memo);
    }
    Ok(cache)
}

/// Gives the files of a new cache the present as their time.
fn touch_all(directory: &Path) -> std::io::Result<()> {
    let now = SystemTime::now();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                std::fs::File::open(entry.path())?.set_modified(now)?;
            }
        }
    }
    Ok(())
}

/// Fills a new cache with what it starts as.
fn seed(from: &Output, source: &str, directory: &Path, context: &StepContext<'_>) -> Result<(), EngineError> {
    match from {
        Output::Context(local) => copy_into(directory, local.as_ref(), &everything(source, true), context.cancel()),
        Output::Snapshot(snapshot) => {
            let realized = context.realize(snapshot)?;
            copy_into(directory, realized.tree.as_ref(), &everything(source, false), context.cancel())
        }
    }
}

/// Mode, owner and group of the directory that a new cache stands for. Files of a context belong to root.
fn owner(from: &Output, source: &str, context: &StepContext<'_>) -> Result<Option<(u32, u32, u32)>, EngineError> {
    let root_of = |tree: &dyn Tree| -> Result<_, TreeError> {
        let entry = tree.entry(&resolve(tree, &plain(source), true)?)?;
        Ok(entry.filter(|entry| entry.is_directory()).map(|entry| (entry.mode & 0o7777, entry.uid, entry.gid)))
    };
    let unreadable = EngineError::internal("failed to read what the cache starts as");
    match from {
        Output::Context(local) => {
            let root = root_of(local.as_ref()).map_err(unreadable)?;
            Ok(root.map(|(mode, _, _)| (mode, 0, 0)))
        }
        Output::Snapshot(snapshot) => {
            let realized = context.realize(snapshot)?;
            root_of(realized.tree.as_ref()).map_err(unreadable)
        }
    }
}
