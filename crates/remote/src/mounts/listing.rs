//! What a cache mount holds, without the bytes: one item for each file, in the order of a walk.
//!
//! On the wire a listing is a stream of postcard items, cut into chunks as a file is, so that a change sends the part around it. Each
//! path is written as what it shares with the one before and the rest.
//!
//! A listing that was decoded is safe to follow: paths are plain and each comes once, after the directory that holds it; a hard link
//! leads to a file before it; numbers are bounded ([`MAX_ITEMS`], [`MAX_LISTING`], [`MAX_NAMES`], [`MAX_SIZE`]), and so is the memory
//! that few bytes can ask for.

use super::chunk::{Chunk, MAX_CHUNK};
use kiln_layer::{Meta, Time, is_file_attribute};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Most bytes of a listing.
pub(crate) const MAX_LISTING: u64 = 128 << 20;
/// Most files, directories and links of a cache mount.
pub(crate) const MAX_ITEMS: usize = 1 << 20;
/// Most bytes of all files together.
pub(crate) const MAX_SIZE: u64 = 256 << 30;
/// Most bytes that all paths and attributes have together. A path that begins as the one before costs a few bytes on the wire, and all
/// of them here.
pub(crate) const MAX_NAMES: u64 = 512 << 20;
/// Most attributes of one file: the kernel lists at most 64 KiB of their names.
const MAX_XATTRS: usize = 10_000;
/// Most bytes of a path and of a link's target, the kernel's own limit.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Plain, relative to the mount's root.
    pub(crate) path: PathBuf,
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<Xattr>,
}

/// The name and the value of an extended attribute.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// What an item is, with chunks and targets of its own or borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What<Chunks = Vec<Chunk>, Target = Vec<u8>> {
    Directory,
    /// The chunks that it is made of.
    File(Chunks),
    /// Its target, as written.
    Symlink(Target),
    /// Another name of the file at this path.
    Link(Target),
}

/// An [`Item`] that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemRef<'a> {
    pub(crate) path: &'a Path,
    pub(crate) what: What<&'a [Chunk], &'a [u8]>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: &'a [Xattr],
}

/// Why a listing cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It cannot be decoded.
    #[error("malformed item")]
    Malformed(#[from] postcard::Error),
    /// A path that is not plain, not in order, or not in a directory of the listing.
    #[error("item `{}` is out of place", .0.display())]
    Place(PathBuf),
    /// An item that says something impossible of itself.
    #[error("item `{}` cannot be", .0.display())]
    Item(PathBuf),
    /// Its files are not as many, or not as large, as the index says.
    #[error("it lists other files than its index says")]
    Sum,
    /// More than a cache mount may hold.
    #[error("it lists more than a cache mount may hold")]
    TooLarge,
}

/// An item as it is read; the [`Encoder`] writes the same.
#[derive(Deserialize)]
struct Line {
    shared: u16,
    rest: Vec<u8>,
    what: What,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    #[serde(deserialize_with = "few")]
    xattrs: Vec<Xattr>,
}

/// Attributes, of which two bytes could ask for fifty: none is read beyond [`MAX_XATTRS`].
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Xattr>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Xattr>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {MAX_XATTRS} attributes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut xattrs = Vec::new();
            while let Some(xattr) = all.next_element()? {
                if xattrs.len() == MAX_XATTRS {
                    return Err(A::Error::custom("too many attributes"));
                }
                xattrs.push(xattr);
            }
            Ok(xattrs)
        }
    }
    deserializer.deserialize_seq(Few)
}

impl Item {
    /// The bytes of a file.
    pub(crate) fn size(&self) -> u64 {
        match &self.what {
            What::File(chunks) => chunks.iter().map(|chunk| u64::from(chunk.size)).sum(),
            _ => 0,
        }
    }

    /// The bytes of its path and of its attributes, as they are in memory.
    pub(crate) fn names_size(&self) -> u64 {
        names_size(&self.path, &self.xattrs)
    }

    #[cfg(test)]
    pub(crate) fn borrow(&self) -> ItemRef<'_> {
        let Self { path, mode, uid, gid, mtime, xattrs, .. } = self;
        let what = match &self.what {
            What::Directory => What::Directory,
            What::File(chunks) => What::File(&chunks[..]),
            What::Symlink(target) => What::Symlink(&target[..]),
            What::Link(target) => What::Link(&target[..]),
        };
        ItemRef { path, what, mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, xattrs }
    }

    /// What a file or directory gets, with the time given.
    pub(crate) fn meta(&self, mtime: Time) -> Meta {
        let attribute = |(name, value): &Xattr| (OsString::from_vec(name.clone()), value.clone());
        let xattrs = self.xattrs.iter().map(attribute).collect();
        Meta { mode: self.mode, uid: self.uid, gid: self.gid, mtime, xattrs }
    }
}

pub(crate) fn names_size(path: &Path, xattrs: &[Xattr]) -> u64 {
    let xattr = |(name, value): &Xattr| name.len() + value.len() + size_of::<Xattr>();
    (path.as_os_str().len() + xattrs.iter().map(xattr).sum::<usize>()) as u64
}

/// The bytes of a listing, made as they are read: all of them at once would be a good part of what an export may take.
pub(crate) struct Encoder<I> {
    items: I,
    paths: PathWriter,
    line: Vec<u8>,
    /// How much of the line has been read.
    read: usize,
}

impl<'a, I: Iterator<Item = ItemRef<'a>>> Encoder<I> {
    /// Of these items, in their order.
    pub(crate) fn new(items: I) -> Self {
        Self { items, paths: PathWriter::default(), line: Vec::new(), read: 0 }
    }

    fn encode(&mut self, item: &ItemRef<'_>) {
        let (shared, rest) = self.paths.write(item.path);
        let ItemRef { what, mode, uid, gid, mtime, xattrs, .. } = item;
        // The members of a `Line`.
        let line = (shared, rest, what, mode, uid, gid, (mtime.secs, mtime.nanos), xattrs);
        let mut bytes = std::mem::take(&mut self.line);
        bytes.clear();
        self.line = postcard::to_extend(&line, bytes).expect("an item is plain data");
        self.read = 0;
    }
}

impl<'a, I: Iterator<Item = ItemRef<'a>>> Read for Encoder<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.line.len() {
            let Some(item) = self.items.next() else { return Ok(0) };
            self.encode(&item);
        }
        let length = buffer.len().min(self.line.len() - self.read);
        buffer[..length].copy_from_slice(&self.line[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

/// The items of a listing.
///
/// # Errors
/// [`ListingError`] for anything that is not to be followed.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Item>, ListingError> {
    decode_within(bytes, MAX_NAMES)
}

/// With at most so many bytes of paths and attributes.
fn decode_within(mut bytes: &[u8], most_names: u64) -> Result<Vec<Item>, ListingError> {
    let mut items: Vec<Item> = Vec::new();
    let mut paths = PathReader::default();
    // The directories above the last item, and it itself if it is one.
    let mut above: Vec<PathBuf> = Vec::new();
    let (mut size, mut names) = (0_u64, 0_u64);
    while !bytes.is_empty() {
        let (line, rest): (Line, _) = postcard::take_from_bytes(bytes)?;
        bytes = rest;
        let path = paths.read(line.shared, &line.rest).ok_or_else(|| ListingError::Place(bytes_path(&line.rest)))?;
        if !is_plain(&path) || items.last().is_some_and(|last| last.path >= path) {
            return Err(ListingError::Place(path));
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        while above.last().is_some_and(|directory| directory != parent) {
            above.pop();
        }
        if above.is_empty() && !parent.as_os_str().is_empty() {
            return Err(ListingError::Place(path));
        }
        if matches!(line.what, What::Directory) {
            above.push(path.clone());
        }
        if !is_possible(&line, &items) {
            return Err(ListingError::Item(path));
        }
        let (secs, nanos) = line.mtime;
        let Line { what, mode, uid, gid, xattrs, .. } = line;
        let item = Item { path, what, mode, uid, gid, mtime: Time { secs, nanos }, xattrs };
        size = size.saturating_add(item.size());
        names += item.names_size();
        items.push(item);
        if items.len() > MAX_ITEMS || size > MAX_SIZE || names > most_names {
            return Err(ListingError::TooLarge);
        }
    }
    Ok(items)
}

/// Whether what an item says of itself can be.
fn is_possible(line: &Line, before: &[Item]) -> bool {
    let what = match &line.what {
        What::Directory => true,
        What::File(chunks) => chunks.iter().all(|chunk| (1..=MAX_CHUNK).contains(&(chunk.size as usize))),
        What::Symlink(target) => (1..=MAX_PATH).contains(&target.len()) && !target.contains(&0),
        What::Link(target) => {
            let target = Path::new(OsStr::from_bytes(target));
            let found = before.binary_search_by(|item| item.path.as_path().cmp(target));
            found.is_ok_and(|at| matches!(before[at].what, What::File(_)))
        }
    };
    let xattrs = line.xattrs.iter().all(|(name, _)| is_file_attribute(OsStr::from_bytes(name)) && !name.contains(&0));
    what && xattrs && line.mode <= 0o7777 && line.mtime.1 < 1_000_000_000
}

/// Whether a path is made of ordinary names alone, as they are written.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= MAX_NAME && !name.contains(&0);
    bytes.len() <= MAX_PATH && bytes.split(|&byte| byte == b'/').all(name)
}

pub(crate) fn bytes_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Writes each path as what it shares with the one before and the rest.
#[derive(Default)]
pub(crate) struct PathWriter(Vec<u8>);

impl PathWriter {
    pub(crate) fn write<'p>(&mut self, path: &'p Path) -> (u16, &'p [u8]) {
        let bytes = path.as_os_str().as_bytes();
        let shared = self.0.iter().zip(bytes).take_while(|(a, b)| a == b).count().min(usize::from(u16::MAX));
        self.0.clear();
        self.0.extend_from_slice(bytes);
        (shared as u16, &bytes[shared..])
    }
}

/// Reads what a [`PathWriter`] wrote.
#[derive(Default)]
pub(crate) struct PathReader(Vec<u8>);

impl PathReader {
    pub(crate) fn read(&mut self, shared: u16, rest: &[u8]) -> Option<PathBuf> {
        let shared = usize::from(shared);
        if shared > self.0.len() || shared + rest.len() > MAX_PATH {
            return None;
        }
        self.0.truncate(shared);
        self.0.extend_from_slice(rest);
        Some(bytes_path(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(items: &[Item]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Encoder::new(items.iter().map(Item::borrow)).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn item(path: &str, what: What) -> Item {
        let mtime = Time { secs: -5, nanos: 999_999_999 };
        let xattrs = vec![(b"user.k".to_vec(), b"v\0".to_vec())];
        Item { path: path.into(), what, mode: 0o4755, uid: 1, gid: u32::MAX, mtime, xattrs }
    }

    fn file(path: &str) -> Item {
        item(path, What::File(vec![Chunk::of(b"kiln"); 3]))
    }

    #[test]
    fn items_come_back() {
        let items = vec![
            item("a", What::Directory),
            item("a/b", What::Directory),
            file("a/b/c"),
            item("a/b/d", What::Link(b"a/b/c".to_vec())),
            item("a/e", What::Symlink(b"/../x".to_vec())),
            item("a.b", What::File(Vec::new())),
            item("é \n", What::Directory),
        ];
        assert_eq!(decode(&encode(&items)).unwrap(), items);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_not_to_be_followed_is_refused() {
        let directory = |path| item(path, What::Directory);
        let place: &[Vec<Item>] = &[
            vec![file("/etc/passwd")],
            vec![file("..")],
            vec![directory("a"), file("a/../b")],
            vec![directory("a"), file("a//b")],
            vec![directory("a"), file("a/./b")],
            vec![file("")],
            vec![file("a\0b")],
            vec![file(&"n".repeat(256))],
            vec![file("a"), file("a")],
            vec![file("b"), file("a")],
            vec![file("a/b")],
            vec![file("a"), file("a/b")],
            vec![item("a", What::Symlink(b"/".to_vec())), file("a/b")],
            vec![directory("a"), directory("b"), file("b/c"), file("a/c")],
        ];
        for items in place {
            let error = decode(&encode(items)).unwrap_err();
            assert!(matches!(error, ListingError::Place(_)), "{items:?}: {error}");
        }
        let xattr = |name: &str| Item { xattrs: vec![(name.into(), Vec::new())], ..file("a") };
        let impossible: &[Vec<Item>] = &[
            vec![item("a", What::Link(b"b".to_vec())), file("b")],
            vec![directory("a"), item("b", What::Link(b"a".to_vec()))],
            vec![item("a", What::Link(b"../x".to_vec()))],
            vec![item("a", What::Symlink(Vec::new()))],
            vec![item("a", What::Symlink(b"a\0".to_vec()))],
            vec![item("a", What::File(vec![Chunk { size: 0, ..Chunk::of(b"k") }]))],
            vec![Item { mode: 0o170_000, ..file("a") }],
            vec![Item { mtime: Time { secs: 0, nanos: 1_000_000_000 }, ..file("a") }],
            vec![xattr("trusted.overlay.redirect")],
            vec![xattr("security.selinux")],
        ];
        for items in impossible {
            let error = decode(&encode(items)).unwrap_err();
            assert!(matches!(error, ListingError::Item(_)), "{items:?}: {error}");
        }
    }

    #[test]
    fn few_bytes_do_not_ask_for_much_memory() {
        let mut items: Vec<Item> =
            (1..=15).map(|depth| item(&vec!["d".repeat(255); depth].join("/"), What::Directory)).collect();
        let deep = items[14].path.clone();
        items.extend(
            (0..1000)
                .map(|number| Item { path: deep.join(format!("{number:04}")), ..item("", What::File(Vec::new())) }),
        );
        let (bytes, names) = (encode(&items), items.iter().map(Item::names_size).sum::<u64>());
        assert!((bytes.len() as u64) < names / 50, "a path costs little where it begins as the one before");
        assert_eq!(decode_within(&bytes, names).unwrap(), items);
        assert!(matches!(decode_within(&bytes, names - 1), Err(ListingError::TooLarge)));

        let mut many = file("a");
        many.xattrs = vec![(b"user.k".to_vec(), Vec::new()); MAX_XATTRS];
        assert_eq!(decode(&encode(std::slice::from_ref(&many))).unwrap(), [many.clone()]);
        many.xattrs.push((Vec::new(), Vec::new()));
        assert!(matches!(decode(&encode(&[many])), Err(ListingError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_listing_is_decoded_or_refused(at in 0_usize..100, byte in any::<u8>()) {
            let mut bytes = encode(&[item("a", What::Directory), file("a/b"), item("c", What::Link(b"a/b".to_vec()))]);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode(&bytes);
        }
    }
}
