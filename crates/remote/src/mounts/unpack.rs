//! Chunks into the files that they are parts of, in whatever order they come, from several threads.
//!
//! A file of one chunk is made, written and given its metadata at once. A larger one is filled by whoever has its chunks, and gets its
//! metadata from whoever writes the last. Directories are made first and get theirs last, so that no time moves afterwards. Everything is
//! made by single names under directories that were made here; nothing but files, directories and links is ever made.

use super::chunk::Chunk;
use super::go::{self, BuildCaches};
use super::listing::{Item, What, bytes_path};
use kiln_digest::ContentDigest;
use kiln_layer::{Kind, Meta, Target, Time, make_file, make_node, set_meta, set_meta_at, set_new_meta};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to write `{path}`")]
pub struct UnpackError {
    /// The path within the mount.
    path: PathBuf,
    /// The system's reason.
    source: io::Error,
}

/// A tree that is being made.
pub(crate) struct Unpacking<'a> {
    target: Target,
    items: &'a [Item],
    go: &'a BuildCaches,
    now: Time,
    /// Sorted, so that the places of one chunk are side by side.
    places: Vec<Place>,
    /// Whether a chunk has been written, for the first of its places.
    written: Vec<AtomicBool>,
    /// The bytes that each item still lacks.
    lacks: Vec<AtomicU64>,
}

/// Where a chunk belongs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    chunk: Chunk,
    item: u32,
    offset: u64,
}

fn failed<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> UnpackError {
    move |source| UnpackError { path: path.to_owned(), source: source.into() }
}

impl<'a> Unpacking<'a> {
    /// Makes the directories, and the files that have no bytes.
    pub(crate) fn start(into: &Path, items: &'a [Item], go: &'a BuildCaches) -> Result<Self, UnpackError> {
        let target = Target::new(into).map_err(failed(into))?;
        let mut places = Vec::new();
        for (number, item) in (0..).zip(items) {
            if let What::File(chunks) = &item.what {
                let mut offset = 0;
                for &chunk in chunks {
                    places.push(Place { chunk, item: number, offset });
                    offset += u64::from(chunk.size);
                }
            }
        }
        places.sort_unstable();
        let written = places.iter().map(|_| AtomicBool::new(false)).collect();
        let lacks = items.iter().map(|item| AtomicU64::new(item.size())).collect();
        let unpacking = Self { target, items, go, now: Time::now(), places, written, lacks };
        for item in items {
            match &item.what {
                What::Directory => {
                    let (parent, _) = unpacking.place(item)?;
                    unpacking.target.make_directory(parent.as_fd(), &item.path).map_err(failed(&item.path))?;
                }
                What::File(chunks) if chunks.is_empty() => unpacking.write_whole(item, &[])?,
                _ => {}
            }
        }
        Ok(unpacking)
    }

    /// Whether a chunk is needed and not there yet.
    pub(crate) fn wants(&self, chunk: &Chunk) -> bool {
        let first = self.first_place(chunk);
        self.places.get(first).is_some_and(|place| place.chunk == *chunk)
            && !self.written[first].load(Ordering::Relaxed)
    }

    fn first_place(&self, chunk: &Chunk) -> usize {
        self.places.partition_point(|place| place.chunk < *chunk)
    }

    /// What one thread writes with.
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { unpacking: self, open: None }
    }

    /// A chunk that nobody has brought, if there is one.
    pub(crate) fn missing(&self) -> Option<ContentDigest> {
        let mut firsts =
            (0..self.places.len()).filter(|&at| at == 0 || self.places[at - 1].chunk != self.places[at].chunk);
        firsts.find(|&at| !self.written[at].load(Ordering::Relaxed)).map(|at| self.places[at].chunk.id)
    }

    /// Makes the links, and gives the directories their metadata.
    pub(crate) fn finish(self) -> Result<(), UnpackError> {
        for item in self.items {
            match &item.what {
                What::Symlink(target) => self.make_symlink(item, target)?,
                What::Link(target) => self.make_link(item, &bytes_path(target))?,
                _ => {}
            }
        }
        for root in self.go.roots() {
            self.write_trim_file(root)?;
        }
        for item in self.items.iter().rev().filter(|item| item.what == What::Directory) {
            let directory = self.directory(&item.path, &item.path)?;
            set_meta(directory.as_fd(), &item.meta(item.mtime)).map_err(failed(&item.path))?;
        }
        Ok(())
    }

    /// The directory that an item belongs to, and its name there.
    fn place<'i>(&self, item: &'i Item) -> Result<(Arc<OwnedFd>, &'i OsStr), UnpackError> {
        let parent = item.path.parent().unwrap_or(Path::new(""));
        Ok((self.directory(parent, &item.path)?, item.path.file_name().unwrap_or_default()))
    }

    fn directory(&self, path: &Path, of: &Path) -> Result<Arc<OwnedFd>, UnpackError> {
        self.target.directory(path).and_then(|directory| directory.ok_or(Errno::NOENT)).map_err(failed(of))
    }

    fn meta(&self, item: &Item) -> Meta {
        let imported = || go::imported(item.mtime, self.now);
        item.meta(if self.go.has_entry(&item.path) { imported() } else { item.mtime })
    }

    fn write_whole(&self, item: &Item, bytes: &[u8]) -> Result<(), UnpackError> {
        let (parent, name) = self.place(item)?;
        let mut file = File::from(make_file(parent.as_fd(), name, item.mode).map_err(failed(&item.path))?);
        file.write_all(bytes).map_err(failed(&item.path))?;
        set_new_meta(file.as_fd(), &self.meta(item)).map_err(failed(&item.path))
    }

    fn make_symlink(&self, item: &Item, target: &[u8]) -> Result<(), UnpackError> {
        let (parent, name) = self.place(item)?;
        let kind = Kind::Symlink(OsString::from_vec(target.to_vec()));
        make_node(parent.as_fd(), name, &kind)
            .and_then(|()| set_meta_at(parent.as_fd(), name, &item.meta(item.mtime), &kind))
            .map_err(failed(&item.path))
    }

    fn make_link(&self, item: &Item, target: &Path) -> Result<(), UnpackError> {
        let (parent, name) = self.place(item)?;
        let from = self.directory(target.parent().unwrap_or(Path::new("")), &item.path)?;
        let first = target.file_name().unwrap_or_default();
        rustix::fs::linkat(&from, first, &parent, name, AtFlags::empty()).map_err(failed(&item.path))
    }

    /// Says that Go has looked for old entries just now. The file belongs to whom the cache belongs.
    fn write_trim_file(&self, root: &Path) -> Result<(), UnpackError> {
        let path = root.join(go::TRIM_FILE);
        let of =
            |path: &Path| self.items.binary_search_by(|item| item.path.as_path().cmp(path)).map(|at| &self.items[at]);
        let (Err(_), Ok(neighbour)) = (of(&path), of(&root.join("00"))) else { return Ok(()) };
        let mtime = self.now;
        let file =
            Item { path, what: What::File(Vec::new()), mode: 0o644, mtime, xattrs: Vec::new(), ..neighbour.clone() };
        self.write_whole(&file, self.now.secs.to_string().as_bytes())
    }
}

/// What one thread writes with.
pub(crate) struct Writer<'a> {
    unpacking: &'a Unpacking<'a>,
    /// The last file of several chunks: the next one is most likely of the same.
    open: Option<(u32, File)>,
}

impl Writer<'_> {
    /// Writes a chunk to all its places, unless somebody has.
    pub(crate) fn write(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<(), UnpackError> {
        let unpacking = self.unpacking;
        let first = unpacking.first_place(&chunk);
        if unpacking.written.get(first).is_none_or(|written| written.swap(true, Ordering::Relaxed)) {
            return Ok(());
        }
        for place in unpacking.places[first..].iter().take_while(|place| place.chunk == chunk) {
            let item = &unpacking.items[place.item as usize];
            match &item.what {
                What::File(chunks) if chunks.len() == 1 => unpacking.write_whole(item, bytes)?,
                _ => self.write_part(place, item, bytes)?,
            }
        }
        Ok(())
    }

    fn write_part(&mut self, place: &Place, item: &Item, bytes: &[u8]) -> Result<(), UnpackError> {
        let unpacking = self.unpacking;
        let file = match self.open.take() {
            Some((number, file)) if number == place.item => file,
            _ => {
                let (parent, name) = unpacking.place(item)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR);
                File::from(file.map_err(failed(&item.path))?)
            }
        };
        file.write_all_at(bytes, place.offset).map_err(failed(&item.path))?;
        let lacks = &unpacking.lacks[place.item as usize];
        // Whoever brings the last bytes sees that the others have written theirs.
        if lacks.fetch_sub(bytes.len() as u64, Ordering::AcqRel) == bytes.len() as u64 {
            return set_meta(file.as_fd(), &unpacking.meta(item)).map_err(failed(&item.path));
        }
        self.open = Some((place.item, file));
        Ok(())
    }
}
