//! What a builder has made, so that its layer need not be walked to be measured.

use super::Meta;
use crate::at::Xattr;
use crate::diff::{Diff, Found, measure};
use crate::tree::{Entry, Kind, Time};
use kiln_digest::ContentDigest;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A regular file of a layer that was built, but for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFile {
    /// Where it is.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub content: ContentDigest,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

/// A device and an inode on it.
pub(super) type Inode = (u64, u64);

/// What happened at one path.
#[derive(Debug)]
pub(super) enum What {
    /// A regular file; its inode, should it have other names.
    File { content: ContentDigest, meta: Meta, size: u64, inode: Option<Inode> },
    /// A link, device, pipe or socket.
    Node(Kind, Meta),
    /// What is there gets another name, and so an identity.
    Named(Inode),
    /// A further name.
    Name(Inode),
    /// A directory was made, or given other metadata.
    Directory(Meta),
    /// The directory hides what the base has below it.
    Opaque,
    /// What the base has is gone.
    Whiteout,
    /// What the layer had is gone, with all below.
    Gone,
}

/// All that happened, in order as far as one path is concerned.
#[derive(Debug, Default)]
pub(super) struct Record {
    events: Vec<(PathBuf, What)>,
    /// Whether anything was removed again, which is rare.
    removed: bool,
}

impl Record {
    pub(super) fn note(&mut self, path: &Path, what: What) {
        self.removed |= matches!(what, What::Gone);
        self.events.push((path.to_owned(), what));
    }

    /// The layer's measure as [`crate::diff_digest`] gives it, and its regular files with but one name, in the order of a walk.
    pub(super) fn finish(self) -> (Diff, Vec<BuiltFile>) {
        let mut inodes = HashMap::new();
        let states = if self.removed { replay(self.events, &mut inodes) } else { sort(self.events, &mut inodes) };
        let mut firsts = HashMap::new();
        let mut found: Vec<Found> = Vec::with_capacity(states.len());
        let mut named = Vec::with_capacity(states.len());
        for (path, State { shape, inode, opaque }) in states {
            let first = inode.map(|inode| *firsts.entry(inode).or_insert(found.len()));
            let same_as = first.filter(|first| *first != found.len());
            let shape = inode.and_then(|inode| inodes.get(&inode).cloned()).or(shape);
            let Some(Shape { kind, meta, size, content }) = shape.filter(|shape| shape.kind != Kind::Socket) else {
                continue;
            };
            let Meta { mode, uid, gid, mtime, xattrs } = meta;
            let (mode, ctime) = (mode & 0o7777, Time::default());
            let entry = Entry { kind, mode, uid, gid, size, mtime, ctime, dev: 0, ino: 0, nlink: 1 };
            found.push(Found { path, entry, xattrs, opaque, content, same_as });
            named.push(inode.is_some());
        }
        let diff = measure(&found);
        let files = found.into_iter().zip(named).filter(|(_, named)| !named).filter_map(|(found, _)| {
            let Entry { mode, uid, gid, .. } = found.entry;
            Some(BuiltFile { path: found.path, content: found.content?, mode, uid, gid, xattrs: found.xattrs })
        });
        (diff, files.collect())
    }
}

/// What is at a path in the end.
#[derive(Debug, Default)]
struct State {
    /// Unknown of a further name, until all is known.
    shape: Option<Shape>,
    inode: Option<Inode>,
    opaque: bool,
}

#[derive(Debug, Clone)]
struct Shape {
    kind: Kind,
    meta: Meta,
    size: u64,
    content: Option<ContentDigest>,
}

impl State {
    /// Takes one more event; what has an inode is also put among the `inodes`, as it may outlive its path.
    fn take(&mut self, what: What, inodes: &mut HashMap<Inode, Shape>) {
        let bare = |kind, meta| Some(Shape { kind, meta, size: 0, content: None });
        let (shape, inode) = match what {
            What::File { content, meta, size, inode } => {
                (Some(Shape { kind: Kind::File, meta, size, content: Some(content) }), inode)
            }
            What::Node(kind, meta) => (bare(kind, meta), None),
            What::Named(inode) => (self.shape.take(), Some(inode)),
            What::Name(inode) => (None, Some(inode)),
            What::Whiteout => (bare(Kind::Character { major: 0, minor: 0 }, Meta::default()), None),
            What::Gone => (None, None),
            What::Directory(meta) => {
                self.shape = bare(Kind::Directory, meta);
                return;
            }
            What::Opaque => {
                self.opaque = true;
                return;
            }
        };
        if let (Some(shape), Some(inode)) = (&shape, inode) {
            inodes.insert(inode, shape.clone());
        }
        *self = Self { shape, inode, opaque: false };
    }
}

/// The states when nothing was removed: then the paths' order among each other says nothing.
fn sort(mut events: Vec<(PathBuf, What)>, inodes: &mut HashMap<Inode, Shape>) -> Vec<(PathBuf, State)> {
    events.sort_by(|a, b| a.0.cmp(&b.0));
    let mut states: Vec<(PathBuf, State)> = Vec::with_capacity(events.len());
    for (path, what) in events {
        match states.last_mut().filter(|(last, _)| *last == path) {
            Some((_, state)) => state.take(what, inodes),
            None => {
                let mut state = State::default();
                state.take(what, inodes);
                states.push((path, state));
            }
        }
    }
    states
}

/// The states when something was removed: event by event.
fn replay(events: Vec<(PathBuf, What)>, inodes: &mut HashMap<Inode, Shape>) -> Vec<(PathBuf, State)> {
    let mut states: BTreeMap<PathBuf, State> = BTreeMap::new();
    for (path, what) in events {
        if matches!(what, What::Gone) {
            let below = states.range(path.clone()..).map(|(known, _)| known);
            let gone: Vec<PathBuf> = below.take_while(|known| known.starts_with(&path)).cloned().collect();
            gone.iter().for_each(|path| drop(states.remove(path)));
        } else {
            states.entry(path).or_default().take(what, inodes);
        }
    }
    states.into_iter().collect()
}
