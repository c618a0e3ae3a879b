//! Output directories: what the last run of a step left there is laid under its next run.
//!
//! The earlier run is that of the step at the same place of the same Dockerfile, whatever its key. Tools tell by times what they have
//! to make again, and would take a file for unchanged that was replaced by an older one. So nothing is laid where a file
//! that the step can see differs from the one that the earlier run saw, and is not newer than the end of that run.
//!
//! A tool that would not even notice a newer file says which files it looks at: then only these may differ, and the step itself must
//! be the same.

use super::auto_cache::Injection;
use super::key::{BASE, key_parts};
use crate::build::{EarlierRun, StepContext};
use crate::error::EngineError;
use crate::snapshot::{Output, Realized};
use kiln_graph::Exec;
use kiln_layer::{Directory, Entry, Namespace, Time, Tree, TreeError, carry_over};
use kiln_store::{LayerId, TempDir};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// Makes the layer that is mounted on top of `base`, if an earlier run left something that this one may use.
pub(super) fn lay(
    exec: &Exec,
    injected: &Injection,
    inputs: &[Output],
    base: &Realized,
    temporary: &TempDir,
    context: &StepContext<'_>,
) -> Result<Option<PathBuf>, EngineError> {
    if injected.outputs.is_empty() {
        return Ok(None);
    }
    let Some(earlier) = context.earlier_run() else { return Ok(None) };
    // Who prunes layers makes the next run begin from nothing, no more.
    let Ok(before) = Realized::new(context.store(), earlier.ran.layers.clone()) else { return Ok(None) };
    let Ok(_lease) = context.store().lease(&[earlier.layer]) else { return Ok(None) };
    let parts = key_parts(exec, inputs, &|_| String::new(), context.selections())?;
    let same_step = parts.differs_only_in(BASE, &earlier.parts);
    let mut outputs = Vec::new();
    for output in injected.outputs.iter().filter(|output| output.made_from.is_empty() || same_step) {
        if may_go_on(&output.made_from, &earlier, &before, base, context)
            .map_err(EngineError::internal("failed to compare with what the last run of the step saw"))?
        {
            outputs.push(output.target.clone());
        }
    }
    if outputs.is_empty() {
        return Ok(None);
    }
    let into = temporary.path().join("earlier");
    let except: Vec<PathBuf> = injected.pure.iter().map(|cache| cache.target.clone()).collect();
    let layer = context.store().layer_path(earlier.layer);
    match carry_over(&layer, &outputs, &except, Arc::clone(&base.tree), into.clone()) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(into)),
        // A file with too many names cannot be linked once more.
        Err(kiln_layer::CarryError::Build(error)) if error.is_unlinkable() => Ok(None),
        Err(error) => Err(EngineError::internal("failed to lay what the last run left under the step")(error)),
    }
}

/// Whether everything that is other than what the earlier run saw is newer than the end of that run, and one of the files that the
/// output is made from, if it says so.
fn may_go_on(
    made_from: &[PathBuf],
    earlier: &EarlierRun,
    before: &Realized,
    now: &Realized,
    context: &StepContext<'_>,
) -> Result<bool, TreeError> {
    let only_in = |these: &[LayerId], others: &[LayerId]| -> Vec<LayerId> {
        these.iter().filter(|layer| !others.contains(layer)).copied().collect()
    };
    let mut differing = only_in(&now.layers, &earlier.ran.layers);
    differing.extend(only_in(&earlier.ran.layers, &now.layers));
    let since = earlier.ran.ended.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ended = Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() };
    let stop = context.cancel().flag();
    let compare = Compare { before: before.tree.as_ref(), now: now.tree.as_ref(), made_from, ended, stop: &stop };
    for layer in differing {
        let root = context.store().layer_path(layer);
        if !compare.layer(&Directory::new(&root)?, &root, Path::new(""))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Two views of a step's root.
struct Compare<'a> {
    before: &'a dyn Tree,
    now: &'a dyn Tree,
    /// The only files that may differ; any if there are none.
    made_from: &'a [PathBuf],
    ended: Time,
    stop: &'a AtomicBool,
}

impl Compare<'_> {
    /// Whether all that a layer has below `path` is the same in both views, or new enough.
    fn layer(&self, layer: &Directory, root: &Path, path: &Path) -> Result<bool, TreeError> {
        for (name, entry) in layer.children(path)? {
            let path = path.join(name);
            let fine = if entry.is_directory() {
                // What a mark uncovers or hides is in neither layer.
                !is_opaque(&root.join(&path)) && self.layer(layer, root, &path)?
            } else {
                self.path(&path)?
            };
            if !fine {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn path(&self, path: &Path) -> Result<bool, TreeError> {
        let may_differ = self.made_from.is_empty() || self.made_from.iter().any(|file| file == path);
        let before = self.before.entry(path)?;
        let Some(now) = self.now.entry(path)? else { return Ok(may_differ || before.is_none()) };
        if now.is_directory() {
            return Ok(false);
        }
        if let Some(before) = before
            && self.is_same(path, &before, &now)?
        {
            return Ok(true);
        }
        Ok(may_differ && now.mtime > self.ended)
    }

    fn is_same(&self, path: &Path, before: &Entry, now: &Entry) -> Result<bool, TreeError> {
        if before.kind != now.kind {
            return Ok(false);
        }
        if !now.is_file() || (before.dev, before.ino) == (now.dev, now.ino) {
            return Ok(true);
        }
        if before.size != now.size {
            return Ok(false);
        }
        let (before, now) = (self.before.content(path, before, self.stop)?, self.now.content(path, now, self.stop)?);
        Ok(before.digest == now.digest)
    }
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 4];
    // Only whoever reads no attributes at all finds none.
    rustix::fs::lgetxattr(directory, Namespace::of_process().opaque(), &mut value[..]).is_ok()
}
