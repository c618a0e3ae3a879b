//! The table of contents: JSON with an entry for each member of the archive, and one more for each further chunk of a large file.

use super::member::{Entry, Place};
use super::{TOC, footer};
use crate::tar::read::Archive;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::GzDecoder;
use kiln_digest::{Digest, DigestWriter};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

/// The table of contents of these entries, whose gzip members begin where `starts` says.
#[derive(Clone, Copy)]
pub(super) struct Toc<'a> {
    entries: &'a [Entry],
    starts: &'a [u64],
}

/// An entry as it is written.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_minor: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> Toc<'a> {
    pub(super) fn new(entries: &'a [Entry], starts: &'a [u64]) -> Self {
        Self { entries, starts }
    }

    fn lines(self) -> impl Iterator<Item = Line<'a>> {
        self.entries.iter().flat_map(move |entry| {
            let chunk = move |place| self.at(place, Line { name: &entry.name, kind: "chunk", ..Line::default() });
            [self.member(entry)].into_iter().chain(entry.places.iter().skip(1).map(chunk))
        })
    }

    fn member(self, entry: &'a Entry) -> Line<'a> {
        let line = Line {
            name: &entry.name,
            kind: entry.kind,
            size: entry.size,
            modtime: modtime(entry.mtime),
            link_name: entry.link.as_deref(),
            mode: Some(entry.mode),
            uid: Some(entry.uid),
            gid: Some(entry.gid),
            dev_major: entry.device.map(|(major, _)| major),
            dev_minor: entry.device.map(|(_, minor)| minor),
            xattrs: entry.xattrs.iter().map(|(name, value)| (&**name, STANDARD.encode(value))).collect(),
            digest: entry.digest.map(|digest| digest.to_string()),
            ..Line::default()
        };
        match entry.places.first() {
            Some(place) => self.at(place, line),
            None => line,
        }
    }

    fn at(self, place: &Place, line: Line<'a>) -> Line<'a> {
        Line {
            offset: Some(self.starts[place.block]),
            chunk_offset: place.offset,
            chunk_size: place.size,
            chunk_digest: Some(place.digest.to_string()),
            ..line
        }
    }
}

impl Serialize for Toc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Lines<'a>(Toc<'a>);

        impl Serialize for Lines<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.lines())
            }
        }

        #[derive(Serialize)]
        struct Document<'a> {
            version: u32,
            entries: Lines<'a>,
        }

        Document { version: 1, entries: Lines(*self) }.serialize(serializer)
    }
}

/// A time in RFC 3339; nothing for the beginning of 1970, which stands for an unknown one, and for years of more than four digits.
fn modtime(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok().filter(|_| seconds != 0)?;
    Some(time.to_string())
}

/// No table of contents is larger: that of a million files has less.
const MAX_TOC: u64 = 1 << 30;

/// The digest of a blob's table of contents, by which the blob's descriptor vouches for it; nothing if the blob is not eStargz.
///
/// # Errors
/// What reading the blob gives.
pub fn toc_digest(blob: &File) -> io::Result<Option<Digest>> {
    let mut blob = blob;
    let Some(end) = blob.metadata()?.len().checked_sub(footer::LENGTH as u64) else { return Ok(None) };
    let mut last = [0; footer::LENGTH];
    blob.seek(SeekFrom::Start(end))?;
    blob.read_exact(&mut last)?;
    let Some(start) = footer::decode(&last).filter(|start| *start < end) else { return Ok(None) };
    blob.seek(SeekFrom::Start(start))?;
    // Whatever else may follow such a footer is no table of contents, and the blob an ordinary one.
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(blob.take(end - start))), MAX_TOC);
    let Ok(Some(member)) = archive.next() else { return Ok(None) };
    if member.path != TOC.as_bytes() {
        return Ok(None);
    }
    let mut digest = DigestWriter::new(io::sink());
    loop {
        let Ok(data) = archive.data() else { return Ok(None) };
        if data.is_empty() {
            return Ok(Some(digest.finish().1));
        }
        digest.write_all(data)?;
        let length = data.len();
        archive.consume(length);
    }
}
