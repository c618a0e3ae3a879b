//! Files that a tool builds from without looking at them when it asks its cache: headers and libraries that Go's compiler of C reads,
//! for one. Where a step sees some, the key of its cache ends with a digest of them, so that nothing that was made from other ones is found.
//!
//! Looked at are the layers that steps of the build made below the step, and all layers of what it mounts. The image at the bottom
//! is left out: the cache's id names it. Of a layer the files count that are called as compilers have it ([`counts`]), by path and content;
//! and, where there are any at all, links and what a layer removes, since they decide which file of a name is found. Each layer is
//! read once: a memo keeps its digest.
//!
//! Go's module cache does not count: what is in it is told apart by the version in its path.

use super::auto_cache::Injection;
use super::cache_key;
use crate::build::StepContext;
use crate::error::EngineError;
use crate::snapshot::{Output, Realized};
use kiln_digest::{ContentDigest, Hasher};
use kiln_graph::{Exec, MountKind, Unseen};
use kiln_layer::{Directory, Entry, Kind, Tree, TreeError};
use kiln_store::LayerId;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Memos of what a layer has of such files.
const MEMO: &str = "unseen-files";

/// What a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// Whether any file counts, and not only links and removals.
    files: bool,
    digest: ContentDigest,
}

/// Completes the keys of the caches that depend on such files.
pub(super) fn tell_apart(
    injected: &mut Injection,
    exec: &Exec,
    inputs: &[Output],
    context: &StepContext<'_>,
) -> Result<(), EngineError> {
    for unseen in [Unseen::C, Unseen::CAndArchives] {
        if !injected.pure.iter().any(|cache| cache.unseen == unseen) {
            continue;
        }
        let Some(digest) = digest(unseen, exec, inputs, context)? else { continue };
        for cache in injected.pure.iter_mut().filter(|cache| cache.unseen == unseen) {
            cache.key = cache_key::beside(&cache.key, &digest.to_hex()[..16]);
        }
    }
    Ok(())
}

/// The digest of what the step sees; none if there is nothing.
fn digest(
    unseen: Unseen,
    exec: &Exec,
    inputs: &[Output],
    context: &StepContext<'_>,
) -> Result<Option<ContentDigest>, EngineError> {
    let mut hasher = Hasher::new("kiln unseen files v1");
    let mut files = false;
    let mut add = |place: &str, realized: &Realized, layers: &[LayerId]| {
        for layer in layers {
            if let Some(found) = of_layer(*layer, realized, unseen, context)? {
                files |= found.files;
                hasher.field(place.as_bytes()).field(found.digest.as_bytes());
            }
        }
        Ok::<_, EngineError>(())
    };
    if let Some(port) = exec.root {
        let snapshot = super::snapshot(inputs, port.0)?;
        let realized = context.realize(snapshot)?;
        let base = realized.layers.len().saturating_sub(snapshot.own_layers().len());
        add("/", &realized, &realized.layers[base..])?;
    }
    for mount in &exec.mounts {
        let MountKind::Bind { from, source } = &mount.kind else { continue };
        let realized = match &inputs[from.0 as usize] {
            Output::Snapshot(snapshot) => context.realize(snapshot)?,
            Output::Context(local) => context.materialize(local, source)?.0,
        };
        add(&format!("{} {source}", mount.target), &realized, &realized.layers)?;
    }
    Ok(files.then(|| hasher.content()))
}

/// What a layer has; `_realized` keeps it there.
fn of_layer(
    layer: LayerId,
    _realized: &Realized,
    unseen: Unseen,
    context: &StepContext<'_>,
) -> Result<Option<Found>, EngineError> {
    let store = context.store();
    let key = format!("{layer} {unseen:?}");
    if let Some(memo) = store.memo(MEMO, key.as_bytes()).map_err(EngineError::store)?
        && let Some(found) = decode(&memo)
    {
        return Ok(found);
    }
    let found = Directory::new(store.layer_path(layer))
        .and_then(|directory| read(&directory, unseen, &context.cancel().flag()))
        .map_err(EngineError::internal("failed to read the files that the step sees"))?;
    store.put_memo(MEMO, key.as_bytes(), &encode(found)).map_err(EngineError::store)?;
    Ok(found)
}

/// Nothing, or whether files count and the digest.
fn encode(found: Option<Found>) -> Vec<u8> {
    found.map_or(Vec::new(), |found| [&[u8::from(found.files)], &found.digest.as_bytes()[..]].concat())
}

fn decode(memo: &[u8]) -> Option<Option<Found>> {
    let Some((files, digest)) = memo.split_first() else { return Some(None) };
    let digest = ContentDigest::from_bytes(<[u8; 32]>::try_from(digest).ok()?);
    Some(Some(Found { files: *files == 1, digest }))
}

/// Reads a layer as it is on disk.
fn read(layer: &dyn Tree, unseen: Unseen, stop: &AtomicBool) -> Result<Option<Found>, TreeError> {
    let mut hasher = Hasher::new("kiln unseen files of a layer v1");
    let (mut any, mut files) = (false, false);
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let children = layer.children(&directory)?;
        let has_go = children.iter().any(|(name, entry)| name.as_bytes().ends_with(b".go") && !entry.is_whiteout());
        for (name, entry) in children {
            let path = directory.join(&name);
            if entry.is_directory() {
                if !is_module(&path) {
                    open.push(path);
                }
                continue;
            }
            let name = name.to_string_lossy();
            let counts = counts(&name, unseen) && !(has_go && is_assembly(&name));
            if hash(&mut hasher, layer, &path, &entry, counts, stop)? {
                any = true;
                files |= counts;
            }
        }
    }
    Ok(any.then(|| Found { files, digest: hasher.content() }))
}

/// Adds what decides what a compiler reads; says whether it is of that kind.
fn hash(
    hasher: &mut Hasher,
    layer: &dyn Tree,
    path: &Path,
    entry: &Entry,
    counts: bool,
    stop: &AtomicBool,
) -> Result<bool, TreeError> {
    let name = path.as_os_str().as_bytes();
    if entry.is_whiteout() {
        hasher.field(name).field(b"removed");
        return Ok(true);
    }
    match &entry.kind {
        Kind::Symlink(target) => {
            hasher.field(name).field(b"link").field(target.as_bytes());
            Ok(true)
        }
        Kind::File if counts => {
            let content = layer.content(path, entry, stop)?;
            hasher.field(name).field(b"file").field(content.digest.as_bytes());
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether a directory is a module of Go's module cache.
fn is_module(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.rsplit('/').next().is_some_and(|name| name.contains("@v")) && text.contains("pkg/mod/")
}

/// Whether a file is called as what compilers read.
fn counts(name: &str, unseen: Unseen) -> bool {
    let is_library = name.split_once(".so.").is_some_and(|(stem, version)| !stem.is_empty() && !version.is_empty());
    let c = is_library || name.rsplit_once('.').is_some_and(|(_, end)| C.contains(&end));
    match unseen {
        Unseen::Nothing => false,
        Unseen::C => c,
        Unseen::CAndArchives => c || ARCHIVES.iter().any(|end| name.ends_with(end)),
    }
}

/// Whether a file is assembly, of which Go notices all that is beside its own files.
fn is_assembly(name: &str) -> bool {
    name.ends_with(".s")
}

/// How sources, headers, objects and libraries end, and what tells where they are.
#[rustfmt::skip]
const C: &[&str] = &[
    "h", "hh", "hpp", "hxx", "h++", "H", "inc", "inl", "ipp", "tcc", "def",
    "c", "cc", "cpp", "cxx", "c++", "C", "m", "mm", "cu", "cuh", "i", "ii", "swig", "swigcxx",
    "s", "S", "sx", "asm", "f", "F", "for", "f90", "f95",
    "o", "obj", "a", "so", "lo", "la", "syso", "ld", "lds", "pc",
];

/// How archives end that sources are installed from.
const ARCHIVES: &[&str] = &[".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar", ".zip", ".whl"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn digest(files: &[(&str, &str)]) -> Option<Found> {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        let tree = Directory::new(directory.path()).unwrap();
        let found = read(&tree, Unseen::C, &AtomicBool::new(false)).unwrap();
        assert_eq!(decode(&encode(found)), Some(found));
        found
    }

    #[test]
    fn what_a_layer_has() {
        assert_eq!(digest(&[]), None);
        let go = [("src/main.go", "x"), ("src/asm.s", "x"), ("go/pkg/mod/example.org/x@v1.0.0/c/x.h", "x")];
        assert_eq!(digest(&go), None);
        assert_eq!(digest(&[("a/x", "-> y")]).map(|found| found.files), Some(false));
        let one = digest(&[("csrc/v.h", "1")]);
        assert!(one.is_some_and(|found| found.files));
        assert_eq!(digest(&[("csrc/v.h", "1"), ("main.go", "x"), ("README.md", "x")]), one);
        for other in [
            &[("csrc/v.h", "2")][..],
            &[("include/v.h", "1")],
            &[("csrc/v.h", "1"), ("csrc/w.c", "1")],
            &[("csrc/v.h", "1"), ("include", "-> csrc")],
            &[("main.go", "x"), ("v.h", "1")],
            &[("csrc/asm.s", "1")],
        ] {
            assert_ne!(digest(other), one, "{other:?}");
        }
        assert_ne!(digest(&[("main.go", "x"), ("v.h", "1")]), digest(&[("main.go", "x"), ("v.h", "2")]));
    }

    #[test]
    fn names() {
        for name in ["v.h", "a.b.hpp", "libx.a", "libx.so", "libx.so.1.2", "x.pc", "x.S"] {
            assert!(counts(name, Unseen::C), "{name}");
        }
        for name in ["main.go", "h", "x.sock", "x.md", ".so.", "x-1.0.tar.gz", "x.whl"] {
            assert!(!counts(name, Unseen::C), "{name}");
        }
        assert!(counts("x-1.0.tar.gz", Unseen::CAndArchives) && counts("x.whl", Unseen::CAndArchives));
        assert!(!counts("v.h", Unseen::Nothing));
    }
}
