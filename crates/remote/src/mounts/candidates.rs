//! What an export has seen of a tree, in little space: rows of one size in the order of the paths; the paths and the chunks themselves
//! are one after the other in two long buffers. Cache mounts have hundreds of thousands of files, and two allocations for each were most
//! of the memory that an export took.
//!
//! Rows are left out and never added later, so a buffer may hold what no row points at any more.

use super::chunk::Chunk;
use super::go::BuildCaches;
use super::listing::{ItemRef, What, Xattr, names_size};
use super::memo::Stat;
use super::walk::Seen;
use kiln_layer::Time;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What may travel, in the order of the paths.
#[derive(Default)]
pub(crate) struct Candidates {
    rows: Vec<Row>,
    paths: Vec<u8>,
    chunks: Vec<Chunk>,
    /// What few have.
    extras: Vec<Extra>,
    overflown: bool,
}

/// One file, directory or link.
pub(crate) struct Row {
    path: Span,
    chunks: Span,
    /// Its extra, or [`NO_EXTRA`].
    extra: u32,
    pub(crate) kind: RowKind,
    /// A file whose chunks are not known.
    pub(crate) unread: bool,
    pub(crate) left_out: bool,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The time with which it travels.
    pub(crate) mtime: Time,
    pub(crate) stat: Stat,
}

/// What a row is; see [`What`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Directory,
    File,
    Symlink,
    Link,
}

/// Where in a buffer something is.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Default)]
struct Extra {
    /// Of a link, as in [`What`].
    target: Vec<u8>,
    xattrs: Vec<Xattr>,
}

const NO_EXTRA: u32 = u32::MAX;

impl Span {
    /// Of so many elements at the end of a buffer of `end`; nothing if that is beyond what a span can say.
    fn ending_at(end: usize, length: usize) -> Option<Self> {
        let start = end.checked_sub(length)?.try_into().ok()?;
        u32::try_from(end).ok().and(Some(Self { start, length: length.try_into().ok()? }))
    }

    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }
}

impl Candidates {
    /// Adds what a walk has seen, and is after all that was added before.
    pub(crate) fn push(&mut self, Seen { item, stat }: Seen) {
        if self.overflown {
            return;
        }
        let path = item.path.as_os_str().as_bytes();
        self.paths.extend_from_slice(path);
        let Some(path) = Span::ending_at(self.paths.len(), path.len()) else {
            self.overflown = true;
            return;
        };
        let (kind, target) = match item.what {
            What::Directory => (RowKind::Directory, Vec::new()),
            What::File(_) => (RowKind::File, Vec::new()),
            What::Symlink(target) => (RowKind::Symlink, target),
            What::Link(target) => (RowKind::Link, target),
        };
        self.rows.push(Row {
            path,
            chunks: Span::default(),
            extra: NO_EXTRA,
            kind,
            unread: false,
            left_out: false,
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            mtime: item.mtime,
            stat,
        });
        let at = self.rows.len() - 1;
        if !target.is_empty() {
            self.extra_mut(at).target = target;
        }
        self.set_xattrs(at, item.xattrs);
    }

    /// Whether there is more than any cache mount that travels has.
    pub(crate) fn is_overflown(&self) -> bool {
        self.overflown
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn row(&self, at: usize) -> &Row {
        &self.rows[at]
    }

    pub(crate) fn row_mut(&mut self, at: usize) -> &mut Row {
        &mut self.rows[at]
    }

    pub(crate) fn path(&self, at: usize) -> &Path {
        self.path_of(&self.rows[at])
    }

    fn path_of(&self, row: &Row) -> &Path {
        Path::new(OsStr::from_bytes(&self.paths[row.path.range()]))
    }

    /// The row of a path.
    pub(crate) fn find(&self, path: &Path) -> Option<&Row> {
        let at = self.rows.binary_search_by(|row| self.path_of(row).cmp(path)).ok()?;
        Some(&self.rows[at])
    }

    /// The chunks that a file is made of.
    pub(crate) fn chunks(&self, at: usize) -> &[Chunk] {
        &self.chunks[self.rows[at].chunks.range()]
    }

    /// Says what a file is made of.
    pub(crate) fn set_chunks(&mut self, at: usize, chunks: &[Chunk]) {
        let span = self.rows[at].chunks;
        // A file that is read once more is nearly always the same.
        if chunks.len() == span.length as usize {
            self.chunks[span.range()].copy_from_slice(chunks);
            return;
        }
        self.chunks.extend_from_slice(chunks);
        match Span::ending_at(self.chunks.len(), chunks.len()) {
            Some(span) => self.rows[at].chunks = span,
            None => self.overflown = true,
        }
    }

    pub(crate) fn xattrs(&self, at: usize) -> &[Xattr] {
        self.extra(at).map_or(&[], |extra| &extra.xattrs)
    }

    pub(crate) fn set_xattrs(&mut self, at: usize, xattrs: Vec<Xattr>) {
        if !xattrs.is_empty() || self.extra(at).is_some() {
            self.extra_mut(at).xattrs = xattrs;
        }
    }

    /// What a link leads to; nothing for what is no link.
    pub(crate) fn target(&self, at: usize) -> &[u8] {
        self.extra(at).map_or(&[], |extra| &extra.target)
    }

    fn extra(&self, at: usize) -> Option<&Extra> {
        self.extras.get(self.rows[at].extra as usize)
    }

    fn extra_mut(&mut self, at: usize) -> &mut Extra {
        let row = &mut self.rows[at];
        if row.extra == NO_EXTRA {
            // There are as many rows at least, whose paths have been counted in 32 bits.
            row.extra = self.extras.len() as u32;
            self.extras.push(Extra::default());
        }
        &mut self.extras[row.extra as usize]
    }

    /// The bytes that a file was seen to have.
    pub(crate) fn seen_size(&self, at: usize) -> u64 {
        let row = &self.rows[at];
        if row.kind == RowKind::File { row.stat.size } else { 0 }
    }

    /// The bytes of all files, as they were read.
    pub(crate) fn size(&self) -> u64 {
        (0..self.len()).flat_map(|at| self.chunks(at)).map(|chunk| u64::from(chunk.size)).sum()
    }

    /// The bytes of all paths and attributes.
    pub(crate) fn names_size(&self) -> u64 {
        (0..self.len()).map(|at| names_size(self.path(at), self.xattrs(at))).sum()
    }

    /// Everything as it travels.
    pub(crate) fn items(&self) -> impl Iterator<Item = ItemRef<'_>> {
        (0..self.len()).map(|at| {
            let Row { kind, mode, uid, gid, mtime, .. } = self.rows[at];
            let what = match kind {
                RowKind::Directory => What::Directory,
                RowKind::File => What::File(self.chunks(at)),
                RowKind::Symlink => What::Symlink(self.target(at)),
                RowKind::Link => What::Link(self.target(at)),
            };
            ItemRef { path: self.path(at), what, mode, uid, gid, mtime, xattrs: self.xattrs(at) }
        })
    }

    /// Where Go's build caches are.
    pub(crate) fn go_caches(&self) -> BuildCaches {
        BuildCaches::find(self.rows.iter().filter(|row| row.kind == RowKind::Directory).map(|row| self.path_of(row)))
    }

    /// Takes out the rows that are left out.
    pub(crate) fn drop_left_out(&mut self) {
        self.rows.retain(|row| !row.left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::listing::Item;
    use kiln_layer::{Directory, Tree};
    use std::sync::atomic::AtomicBool;

    #[test]
    fn what_was_seen_is_given_back() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        std::fs::create_dir(at("a")).unwrap();
        for path in ["a/b", "a.b"] {
            std::fs::write(at(path), path).unwrap();
        }
        std::fs::hard_link(at("a/b"), at("c")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("d")).unwrap();
        let directory = Directory::new(tree.path()).unwrap();
        let (mut rows, mut seen) = (Candidates::default(), Vec::new());
        let going = AtomicBool::new(false);
        super::super::walk::walk(&directory, &going, |item| seen.push(item.item)).unwrap();
        super::super::walk::walk(&directory, &going, |item| rows.push(item)).unwrap();
        // The contents of the first file change their number, those of the second don't, as attributes come and go.
        let xattrs = vec![(b"user.k".to_vec(), b"v".to_vec())];
        let chunks = [Chunk::of(b"one"), Chunk::of(b"two"), Chunk::of(b"three")];
        let files: Vec<usize> = (0..rows.len()).filter(|&at| rows.row(at).kind == RowKind::File).collect();
        rows.set_chunks(files[0], &chunks[..2]);
        rows.set_chunks(files[1], &chunks[..1]);
        rows.set_chunks(files[0], &chunks);
        rows.set_chunks(files[1], &chunks[2..]);
        rows.set_xattrs(files[0], xattrs.clone());
        rows.set_xattrs(files[1], xattrs.clone());
        rows.set_xattrs(files[1], Vec::new());
        seen[files[0]] = Item { what: What::File(chunks.to_vec()), xattrs, ..seen[files[0]].clone() };
        seen[files[1]].what = What::File(chunks[2..].to_vec());
        assert!(rows.items().eq(seen.iter().map(Item::borrow)));
        assert_eq!(rows.size(), 16);
        assert_eq!(rows.names_size(), seen.iter().map(Item::names_size).sum::<u64>());
        assert_eq!(rows.seen_size(files[0]), directory.entry(rows.path(files[0])).unwrap().unwrap().size);
        let left = rows.path(0).to_owned();
        rows.row_mut(0).left_out = true;
        rows.drop_left_out();
        assert!(rows.find(&left).is_none() && rows.find(Path::new("c")).is_some());
        assert!(rows.items().eq(seen[1..].iter().map(Item::borrow)));
    }
}
