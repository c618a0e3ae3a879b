//! One member of the archive: as it is written, as the table of contents has it, and the bytes of a file.

use crate::pack::PackError;
use crate::tar::read::Archive;
use crate::tar::sparse::Piece;
use crate::tar::write::Header;
use crate::tar::{Member, MemberKind, TarError};
use crate::tree::Time;
use kiln_digest::Digest;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// What the table of contents says of a member.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) size: u64,
    /// In seconds since 1970.
    pub(super) mtime: i64,
    pub(super) link: Option<String>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) device: Option<(u32, u32)>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a file's bytes.
    pub(super) digest: Option<Digest>,
    /// Where these are, one after the other.
    pub(super) places: Vec<Place>,
}

/// Some bytes of a file in the blob.
pub(super) struct Place {
    /// The number of the gzip member.
    pub(super) block: usize,
    /// Where they begin in the file.
    pub(super) offset: u64,
    /// How many they are; 0 for all up to the file's end.
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// A member whose names are all text.
pub(super) struct Described {
    member: Member,
    name: String,
    link: Option<String>,
}

impl Described {
    pub(super) fn new(mut member: Member) -> Result<Self, PackError> {
        if member.kind == MemberKind::Directory && !member.path.ends_with(b"/") {
            member.path.push(b'/');
        }
        let text = |bytes: &[u8]| {
            let path = || PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
            String::from_utf8(bytes.to_vec()).map_err(|_| PackError::NotText { path: path() })
        };
        let name = text(&member.path)?;
        let link = match &member.kind {
            MemberKind::Symlink(target) | MemberKind::HardLink(target) => Some(text(target)?),
            _ => None,
        };
        for (attribute, _) in &member.xattrs {
            text(attribute.as_encoded_bytes())?;
        }
        Ok(Self { member, name, link })
    }

    /// A file of the format's own.
    pub(super) fn landmark(name: &str, size: u64) -> Self {
        let member = Member {
            path: name.as_bytes().to_vec(),
            kind: MemberKind::File,
            mode: 0o444,
            uid: 0,
            gid: 0,
            mtime: Time::seconds(0),
            size,
            xattrs: Vec::new(),
            sparse: None,
        };
        Self { member, name: name.to_owned(), link: None }
    }

    /// The name without what says that it begins at the root.
    pub(super) fn plain_name(&self) -> &str {
        self.name.trim_start_matches("./").trim_start_matches('/')
    }

    pub(super) fn size(&self) -> u64 {
        self.member.size
    }

    pub(super) fn header(&self) -> Header<'_> {
        let Member { path, kind, mode, uid, gid, mtime, size, xattrs, .. } = &self.member;
        let (flag, device) = match kind {
            MemberKind::File => (b'0', (0, 0)),
            MemberKind::HardLink(_) => (b'1', (0, 0)),
            MemberKind::Symlink(_) => (b'2', (0, 0)),
            MemberKind::Character { major, minor } => (b'3', (*major, *minor)),
            MemberKind::Block { major, minor } => (b'4', (*major, *minor)),
            MemberKind::Directory => (b'5', (0, 0)),
            MemberKind::Fifo => (b'6', (0, 0)),
        };
        let link = self.link.as_deref().unwrap_or_default().as_bytes();
        Header {
            path,
            link,
            flag,
            mode: *mode,
            uid: *uid,
            gid: *gid,
            size: *size,
            mtime: mtime.secs,
            device,
            // A further name has what the file has.
            xattrs: if flag == b'1' { &[] } else { xattrs },
        }
    }

    pub(super) fn into_entry(self) -> Entry {
        let Self { member: Member { kind, mode, uid, gid, mtime, size, xattrs, .. }, name, link } = self;
        let (kind, device) = match kind {
            MemberKind::File => ("reg", None),
            MemberKind::HardLink(_) => ("hardlink", None),
            MemberKind::Symlink(_) => ("symlink", None),
            MemberKind::Character { major, minor } => ("char", Some((major, minor))),
            MemberKind::Block { major, minor } => ("block", Some((major, minor))),
            MemberKind::Directory => ("dir", None),
            MemberKind::Fifo => ("fifo", None),
        };
        let xattrs = xattrs.into_iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value)).collect();
        let mtime = mtime.secs;
        Entry { name, kind, size, mtime, link, mode, uid, gid, device, xattrs, digest: None, places: Vec::new() }
    }
}

/// The bytes of a file, the holes of a sparse one as zeros.
pub(super) struct Contents<'a, R> {
    archive: &'a mut Archive<R>,
    /// The pieces that have data, from the one on that is read.
    pieces: std::collections::VecDeque<Piece>,
    at: u64,
}

impl<'a, R: Read> Contents<'a, R> {
    pub(super) fn new(archive: &'a mut Archive<R>, sparse: Option<Vec<Piece>>, size: u64) -> Self {
        let pieces = sparse.unwrap_or_else(|| vec![Piece { offset: 0, length: size }]);
        Self { archive, pieces: pieces.into(), at: 0 }
    }

    /// Appends the next bytes to a block.
    pub(super) fn append(&mut self, block: &mut Vec<u8>, length: u64) -> Result<(), TarError> {
        let end = self.at + length;
        while self.at < end {
            let read = match self.pieces.front() {
                Some(piece) if piece.offset + piece.length <= self.at => {
                    self.pieces.pop_front();
                    continue;
                }
                Some(piece) if piece.offset <= self.at => {
                    let wanted = (piece.offset + piece.length).min(end) - self.at;
                    let data = self.archive.data()?;
                    if data.is_empty() {
                        return Err(TarError::Truncated { offset: self.at });
                    }
                    let length = data.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
                    block.extend_from_slice(&data[..length]);
                    self.archive.consume(length);
                    length as u64
                }
                next => {
                    let hole = next.map_or(end, |piece| piece.offset.min(end)) - self.at;
                    block.resize(block.len() + hole as usize, 0);
                    hole
                }
            };
            self.at += read;
        }
        Ok(())
    }
}
