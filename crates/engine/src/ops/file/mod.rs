//! The file op: COPY, ADD, WORKDIR and heredoc files, done without a process and without a mount.

mod earlier;
mod key;
mod listings;
mod mode;
mod select;
mod unpack;
mod write;

pub(crate) use earlier::{Earlier, keep};
pub(crate) use key::key_parts;
pub(crate) use select::{SelectError, Selection, select};
pub(crate) use write::WriteError;

use crate::build::{Made, StepContext};
use crate::cancel::CancelToken;
use crate::error::{EngineError, ErrorKind};
use crate::ops::exec::snapshot;
use crate::snapshot::{Output, Snapshot};
use kiln_graph::{Action, Copy, File, Mkdir, Port, Unpack};
use kiln_layer::{Built, Directory, Tree, TreeError, diff_digest, diff_digest_until, prune_unchanged};
use kiln_store::NewLayer;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use write::LayerWriter;

/// Writes the op's layer and commits it. `earlier` is what the same step made last time.
pub(crate) fn execute(
    file: &File,
    inputs: &[Output],
    earlier: Option<&Earlier>,
    context: &StepContext<'_>,
) -> Result<Made, EngineError> {
    let base = match file.base {
        Some(port) => snapshot(inputs, port.0)?.clone(),
        None => Snapshot::empty(),
    };
    // A base that nothing is looked up in need not be here (`COPY --link`).
    let independent = file.actions.iter().all(|action| matches!(action, Action::Copy(copy) if is_independent(copy)));
    let base_tree: Arc<dyn Tree>;
    let _realized;
    if independent {
        base_tree =
            Arc::new(kiln_layer::Stack::new(Vec::new()).map_err(EngineError::internal("failed to open the base"))?);
    } else {
        let realized = context.realize(&base)?;
        base_tree = Arc::clone(&realized.tree);
        _realized = realized;
    }
    let temporary = context.temp_dir()?;
    let fs = temporary.path().join("fs");
    let flag = context.cancel().flag();
    let writer = LayerWriter::new(fs.clone(), Arc::clone(&base_tree), &flag).map_err(EngineError::write)?;
    for action in &file.actions {
        match action {
            Action::Copy(copy) => {
                copy_action(&writer, copy, &inputs[copy.from.0 as usize], earlier, context)?;
            }
            Action::Mkdir(mkdir) => writer.mkdir(mkdir).map_err(EngineError::write)?,
            Action::Mkfile(mkfile) => writer.mkfile(mkfile).map_err(EngineError::write)?,
        }
    }
    let mut built = writer.finish().map_err(EngineError::write)?;
    crate::ops::exec::copy_root_metadata(base_tree.as_ref(), &fs)?;
    let repeats = Directory::new(&fs).and_then(|layer| repeats_base(&layer, base_tree.as_ref(), Path::new("")));
    if repeats.map_err(EngineError::internal("failed to read the new layer"))? {
        leave_out_base(&fs, base_tree.as_ref(), &mut built, &flag)?;
    }
    let diff = built.diff;
    debug_assert_eq!(diff_digest(&fs).ok(), Some(diff), "what was noted is what was made");
    let new = NewLayer { content: diff.digest, size: diff.size_bytes, entries: diff.entries };
    let layer = context.store().commit_layer(&fs, new).map_err(EngineError::store)?;
    keep(context.store(), built);
    Ok(Made { layer: layer.id, diff: diff.digest, size: layer.size, injected: Vec::new(), ran: None })
}

/// Whether something below `path` in a new layer looks like what the base has there: a file, a link, or a directory of which the
/// layer has nothing but itself. Only what both have is looked at, which mostly is little.
fn repeats_base(layer: &Directory, base: &dyn Tree, path: &Path) -> Result<bool, TreeError> {
    for (name, entry) in layer.children(path)? {
        let path = path.join(name);
        let Some(below) = base.entry(&path)? else { continue };
        if entry.is_directory() && below.is_directory() {
            let same = (entry.mode, entry.uid, entry.gid) == (below.mode, below.uid, below.gid);
            if repeats_base(layer, base, &path)? || (same && layer.children(&path)?.is_empty()) {
                return Ok(true);
            }
        } else if (&entry.kind, entry.mtime) == (&below.kind, below.mtime)
            && (!entry.is_file() || entry.size == below.size)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// As in BuildKit, what is copied over its like leaves nothing: `COPY package.json .`, then `COPY . .`.
fn leave_out_base(fs: &Path, base: &dyn Tree, built: &mut Built, stop: &AtomicBool) -> Result<(), EngineError> {
    prune_unchanged(fs, base, stop).map_err(EngineError::internal("failed to read the new layer"))?;
    built.files.retain(|file| fs.join(&file.path).symlink_metadata().is_ok());
    built.diff = diff_digest_until(fs, stop).map_err(EngineError::internal("failed to read the new layer"))?;
    Ok(())
}

fn is_independent(copy: &Copy) -> bool {
    let by_name = |name: &kiln_graph::UserName| matches!(name, kiln_graph::UserName::Name(_));
    let named = copy.owner.as_ref().is_some_and(|o| by_name(&o.user) || o.group.as_ref().is_some_and(by_name));
    copy.link && !named
}

fn copy_action(
    writer: &LayerWriter<'_>,
    copy: &Copy,
    input: &Output,
    earlier: Option<&Earlier>,
    context: &StepContext<'_>,
) -> Result<(), EngineError> {
    let realized;
    let (from, selection): (&dyn Tree, Arc<Selection>) = match input {
        Output::Context(local) => (local.as_ref(), context.build.select_from_context(local, copy)?),
        Output::Snapshot(snapshot) => {
            realized = context.realize(snapshot)?;
            (realized.tree.as_ref(), context.build.select_from_snapshot(snapshot, realized.tree.as_ref(), copy)?)
        }
    };
    if copy.unpack == Unpack::No {
        return writer.copy(copy, from, &selection.matches, earlier).map_err(EngineError::write);
    }
    unpack::copy(writer, copy, from, &selection, context)
}

/// A copy of all that is at `source`: the contents of a directory, or the one file.
pub(crate) fn everything(source: &str, from_context: bool) -> Copy {
    Copy {
        from: Port(0),
        // A path with wildcards means itself here.
        sources: vec![escape(source)],
        dest: "/".to_owned(),
        owner: None,
        mode: None,
        unpack: Unpack::No,
        parents: false,
        exclude: Vec::new(),
        link: true,
        from_context,
    }
}

fn escape(path: &str) -> String {
    path.chars().flat_map(|c| "*?[\\".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Makes directories that a base may lack, in the empty layer `layer` over it.
pub(crate) fn make_directories<'a>(
    layer: &Path,
    base: Arc<dyn Tree>,
    paths: impl Iterator<Item = &'a str>,
    cancel: &CancelToken,
) -> Result<(), EngineError> {
    let flag = cancel.flag();
    let writer = LayerWriter::new(layer.to_owned(), base, &flag).map_err(EngineError::write)?;
    for path in paths {
        writer.mkdir(&Mkdir { path: path.to_owned(), mode: 0o755, owner: None }).map_err(EngineError::write)?;
    }
    writer.finish().map(drop).map_err(EngineError::write)
}

/// Copies a selection of a tree into a new directory.
pub(crate) fn copy_into(
    directory: &Path,
    from: &dyn Tree,
    copy: &Copy,
    cancel: &CancelToken,
) -> Result<(), EngineError> {
    let selection = select(from, copy, &cancel.flag()).map_err(EngineError::select)?;
    copy_into_layer(directory, from, copy, &selection, None, cancel).map(drop)
}

/// Copies what was selected of a tree into a new directory.
pub(crate) fn copy_into_layer(
    directory: &Path,
    from: &dyn Tree,
    copy: &Copy,
    selection: &Selection,
    earlier: Option<&Earlier>,
    cancel: &CancelToken,
) -> Result<Built, EngineError> {
    let nothing = kiln_layer::Stack::new(Vec::new()).map_err(EngineError::internal("failed to open an empty tree"))?;
    let flag = cancel.flag();
    let writer = LayerWriter::new(directory.to_owned(), Arc::new(nothing), &flag).map_err(EngineError::write)?;
    writer.copy(copy, from, &selection.matches, earlier).map_err(EngineError::write)?;
    writer.finish().map_err(EngineError::write)
}

impl EngineError {
    fn write(error: WriteError) -> Self {
        match error {
            WriteError::Cancelled => Self::cancelled(),
            WriteError::Tree(TreeError::TooManyLinks { .. }) => Self::user(error),
            WriteError::Build(_) | WriteError::Tree(_) => {
                Self::new(ErrorKind::Internal, "failed to write the new layer").with_source(error)
            }
            WriteError::User(error) => Self::user(error),
            error => Self::user(error),
        }
    }

    pub(crate) fn select(error: SelectError) -> Self {
        match error {
            // A context changes while it is walked; nothing else does.
            SelectError::Tree(
                TreeError::NotFound { path } | TreeError::NotADirectory { path } | TreeError::NotAFile { path },
            ) => Self::user(WriteError::Changed { path }),
            SelectError::Tree(TreeError::Io { path, source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Self::user(WriteError::Changed { path })
            }
            SelectError::Tree(error) => Self::new(ErrorKind::User, "failed to read what is copied").with_source(error),
            error => Self::user(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_the_base() {
        let base = tempfile::tempdir().unwrap();
        for path in ["run", "srv/data", "etc"] {
            std::fs::create_dir_all(base.path().join(path)).unwrap();
        }
        std::fs::write(base.path().join("etc/f"), "").unwrap();
        for (made, expected) in
            [("run", true), ("srv", true), ("new/run", false), ("srv/data/new", false), ("etc/new", false)]
        {
            let layer = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(layer.path().join(made)).unwrap();
            let open = |directory: &tempfile::TempDir| Directory::new(directory.path()).unwrap();
            let repeats = repeats_base(&open(&layer), &open(&base), Path::new("")).unwrap();
            assert_eq!(repeats, expected, "{made}");
        }
    }
}
