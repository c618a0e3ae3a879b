//! Reading an archive member by member, hashing the stream as it passes.
//!
//! Names, sizes and times come, in falling order of rank, from GNU long-name members, PAX records, and the header itself; a PAX
//! size counts for the member that follows the extension headers and never for one of these. Global PAX headers are skipped:
//! the layer formats give them no meaning. An archive may end with two blocks of zeros or with the stream.

use crate::tar::sparse::{self, Piece};
use crate::tar::{BLOCK, Member, MemberKind, TarError, pax};
use crate::tree::Time;
use kiln_digest::Digest;
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

/// Extension headers and sparse maps of one member may take so much. Extended attributes are at most 64 KiB each in Linux.
const MAX_EXTENSION: u64 = 1 << 20;

/// What is read from the stream at once.
const BUFFER: usize = 256 * 1024;

/// An archive that is being read.
pub(crate) struct Archive<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much of the stream has been taken into the buffer.
    filled: u64,
    limit: u64,
    hasher: Sha256,
    /// Data of the current member that was not taken yet, and the padding after it.
    left: u64,
    padding: u64,
}

/// What the extension headers say of the member that follows them.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link_path: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    sparse: sparse::Records,
}

impl<R: Read> Archive<R> {
    /// Reads from `reader`, at most `limit` bytes.
    pub(crate) fn new(reader: R, limit: u64) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            filled: 0,
            limit,
            hasher: Sha256::new(),
            left: 0,
            padding: 0,
        }
    }

    /// The next member, skipping what is left of the current one's data; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        let mut extension_bytes = 0;
        loop {
            let offset = self.offset();
            let Some(header) = self.header()? else { return Ok(None) };
            let fields = Fields { header: &header, offset };
            match header[156] {
                kind @ (b'x' | b'g' | b'L' | b'K') => {
                    let size = fields.size()?;
                    extension_bytes += size;
                    if extension_bytes > MAX_EXTENSION {
                        return Err(TarError::TooLarge { offset, limit: MAX_EXTENSION });
                    }
                    let data = self.take(size)?;
                    self.take(padding(size))?;
                    match kind {
                        b'x' => extensions
                            .take(&data)
                            .ok_or(TarError::Header { offset, reason: "malformed PAX records" })?,
                        b'L' => extensions.long_name = Some(until_nul(&data).to_vec()),
                        b'K' => extensions.long_link = Some(until_nul(&data).to_vec()),
                        _ => {}
                    }
                }
                _ => return self.member(&fields, extensions).map(Some),
            }
        }
    }

    /// Data of the current member that is in memory; empty at its end. What was used must be told to [`Archive::consume`].
    pub(crate) fn data(&mut self) -> Result<&[u8], TarError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        if self.start == self.end && self.fill()? == 0 {
            return Err(TarError::Truncated { offset: self.filled });
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.end - self.start);
        Ok(&self.buffer[self.start..self.start + length])
    }

    /// Marks so many bytes of [`Archive::data`] as used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.left -= bytes as u64;
    }

    /// Reads the stream to its end. Gives the reader, the digest of the whole stream, and its length.
    pub(crate) fn finish(mut self) -> Result<(R, Digest, u64), TarError> {
        loop {
            self.start = self.end;
            if self.fill()? == 0 {
                return Ok((self.reader, Digest::from_bytes(self.hasher.finalize().into()), self.filled));
            }
        }
    }

    fn offset(&self) -> u64 {
        self.filled - (self.end - self.start) as u64
    }

    /// Reads more into the buffer, after what is in it. 0 at the end of the stream.
    fn fill(&mut self) -> Result<usize, TarError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let read = loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.filled, source }),
                Ok(read) => break read,
            }
        };
        self.hasher.update(&self.buffer[self.end..self.end + read]);
        self.end += read;
        self.filled += read as u64;
        if self.filled > self.limit {
            return Err(TarError::TooLong { limit: self.limit });
        }
        Ok(read)
    }

    /// The next header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let offset = self.offset();
        let Some(block) = self.block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            return match self.block()? {
                None => Ok(None),
                Some(second) if second == [0; BLOCK] => Ok(None),
                Some(_) => Err(TarError::Header { offset, reason: "a single block of zeros within the archive" }),
            };
        }
        if !has_checksum(&block) {
            return Err(TarError::Header { offset, reason: "wrong checksum" });
        }
        Ok(Some(block))
    }

    /// The next 512 bytes; `None` if the stream ends before them.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        while self.end - self.start < BLOCK {
            if self.fill()? == 0 {
                return if self.start == self.end {
                    Ok(None)
                } else {
                    Err(TarError::Truncated { offset: self.filled })
                };
            }
        }
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.buffer[self.start..self.start + BLOCK]);
        self.start += BLOCK;
        Ok(Some(block))
    }

    /// Takes bytes that belong to headers; the caller has bounded the size.
    fn take(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut taken = Vec::new();
        while (taken.len() as u64) < size {
            if self.start == self.end && self.fill()? == 0 {
                return Err(TarError::Truncated { offset: self.filled });
            }
            let length = (size as usize - taken.len()).min(self.end - self.start);
            taken.extend_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
        }
        Ok(taken)
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        self.left += std::mem::take(&mut self.padding);
        while self.left > 0 {
            let length = self.data()?.len();
            self.consume(length);
        }
        Ok(())
    }

    fn member(&mut self, fields: &Fields<'_>, extensions: Extensions) -> Result<Member, TarError> {
        let Extensions { long_name, long_link, path, link_path, size, uid, gid, mtime, mut xattrs, sparse } =
            extensions;
        let header = fields.header;
        let path = long_name.or(sparse.name.clone()).or(path).unwrap_or_else(|| fields.name());
        let target = || long_link.or(link_path).unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
        let device = || Ok((fields.device(329)?, fields.device(337)?));
        let flag = header[156];
        let kind = match flag {
            0 | b'0' | b'7' if path.ends_with(b"/") => MemberKind::Directory,
            0 | b'0' | b'7' | b'S' => MemberKind::File,
            b'1' => MemberKind::HardLink(target()),
            b'2' => MemberKind::Symlink(target()),
            b'3' => device().map(|(major, minor)| MemberKind::Character { major, minor })?,
            b'4' => device().map(|(major, minor)| MemberKind::Block { major, minor })?,
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            kind => return Err(TarError::Kind { offset: fields.offset, kind }),
        };
        // Members that are all header have no data, whatever size they claim.
        let stored = match flag {
            0 | b'0' | b'7' | b'S' => size.map_or_else(|| fields.size(), Ok)?,
            _ => 0,
        };
        xattrs.sort();
        let mut member = Member {
            path,
            mode: fields.number(100..108, "mode")? as u32 & 0o7777,
            uid: fields.id(uid, 108..116, "uid")?,
            gid: fields.id(gid, 116..124, "gid")?,
            mtime: match mtime {
                Some(mtime) => mtime,
                None => Time::seconds(fields.signed(136..148, "mtime")?),
            },
            size: if kind == MemberKind::File { stored } else { 0 },
            kind,
            xattrs,
            sparse: None,
        };
        self.left = stored;
        self.padding = padding(stored);
        if flag == b'S' || sparse.map.is_some() || sparse.is_version_1() {
            self.sparse(fields, &sparse, &mut member)?;
        }
        Ok(member)
    }

    fn sparse(&mut self, fields: &Fields<'_>, records: &sparse::Records, member: &mut Member) -> Result<(), TarError> {
        let malformed = TarError::Header { offset: fields.offset, reason: "malformed sparse map" };
        let (numbers, size) = if fields.header[156] == b'S' {
            (self.gnu_map(fields)?, fields.number(483..495, "real size")?)
        } else if records.is_version_1() {
            (self.map_in_data(fields.offset)?, records.size.unwrap_or(0))
        } else {
            (records.map.clone().unwrap_or_default(), records.size.unwrap_or(0))
        };
        let pieces: Vec<Piece> = sparse::pieces(&numbers, size, self.left).ok_or(malformed)?;
        member.size = size;
        member.sparse = Some(pieces);
        Ok(())
    }

    /// The map of type `S`: four pieces in the header, more in blocks that follow it.
    fn gnu_map(&mut self, fields: &Fields<'_>) -> Result<Vec<u64>, TarError> {
        let mut numbers = Vec::new();
        push_pieces(fields, &fields.header[386..482], &mut numbers)?;
        let mut more = fields.header[482] != 0;
        while more {
            if (numbers.len() * 8) as u64 > MAX_EXTENSION {
                return Err(TarError::TooLarge { offset: fields.offset, limit: MAX_EXTENSION });
            }
            let block = self.block()?.ok_or(TarError::Truncated { offset: self.filled })?;
            push_pieces(fields, &block[..504], &mut numbers)?;
            more = block[504] != 0;
        }
        Ok(numbers)
    }

    /// The map of version 1.0: lines of numbers in front of the data, padded to whole blocks.
    fn map_in_data(&mut self, offset: u64) -> Result<Vec<u64>, TarError> {
        let malformed = || TarError::Header { offset, reason: "malformed sparse map" };
        let mut text = Vec::new();
        let mut lines = 0;
        let mut expected: Option<u64> = None;
        loop {
            if text.len() as u64 > MAX_EXTENSION {
                return Err(TarError::TooLarge { offset, limit: MAX_EXTENSION });
            }
            let unread = self.left.checked_sub(BLOCK as u64).ok_or_else(malformed)?;
            let block = self.block()?.ok_or(TarError::Truncated { offset: self.filled })?;
            self.left = unread;
            text.extend_from_slice(&block);
            lines += block.iter().filter(|&&byte| byte == b'\n').count() as u64;
            if expected.is_none() && lines > 0 {
                let count = text.split(|&byte| byte == b'\n').next().and_then(pax::decimal).ok_or_else(malformed)?;
                if count > MAX_EXTENSION {
                    return Err(TarError::TooLarge { offset, limit: MAX_EXTENSION });
                }
                expected = Some(1 + 2 * count);
            }
            if let Some(expected) = expected.filter(|&expected| lines >= expected) {
                let numbers = text.split(|&byte| byte == b'\n').take(expected as usize).skip(1);
                return numbers.map(pax::decimal).collect::<Option<_>>().ok_or_else(malformed);
            }
        }
    }
}

impl Extensions {
    /// Takes the records of one extended header; an empty value takes back an earlier one.
    fn take(&mut self, data: &[u8]) -> Option<()> {
        for (key, value) in pax::records(data)? {
            let given = !value.is_empty();
            match key {
                b"path" => self.path = given.then(|| value.to_vec()),
                b"linkpath" => self.link_path = given.then(|| value.to_vec()),
                b"size" if given => self.size = Some(pax::decimal(value)?),
                b"uid" if given => self.uid = Some(pax::decimal(value)?),
                b"gid" if given => self.gid = Some(pax::decimal(value)?),
                b"mtime" if given => self.mtime = Some(pax::time(value)?),
                b"size" => self.size = None,
                b"uid" => self.uid = None,
                b"gid" => self.gid = None,
                b"mtime" => self.mtime = None,
                _ if key.starts_with(b"GNU.sparse.") => self.sparse.take(key, value)?,
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| !name.is_empty()) {
                        let name = OsString::from_vec(name.to_vec());
                        self.xattrs.retain(|(known, _)| *known != name);
                        self.xattrs.push((name, value.to_vec()));
                    }
                }
            }
        }
        Some(())
    }
}

/// The fields of one header block.
struct Fields<'a> {
    header: &'a [u8; BLOCK],
    offset: u64,
}

impl Fields<'_> {
    /// The name, with the prefix that only POSIX headers have; in GNU headers the place holds other things.
    fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.header[..100]);
        let prefix = until_nul(&self.header[345..500]);
        if self.header[257..263] == *b"ustar\0" && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    /// The size of the data, as far as the header itself says.
    fn size(&self) -> Result<u64, TarError> {
        self.number(124..136, "size")
    }

    fn id(&self, extended: Option<u64>, range: std::ops::Range<usize>, reason: &'static str) -> Result<u32, TarError> {
        let id = match extended {
            Some(id) => id,
            None => self.number(range, reason)?,
        };
        // The largest id means "no change" to the kernel.
        u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or(self.error(reason))
    }

    fn device(&self, at: usize) -> Result<u32, TarError> {
        u32::try_from(self.number(at..at + 8, "device number")?).map_err(|_| self.error("device number"))
    }

    fn number(&self, range: std::ops::Range<usize>, reason: &'static str) -> Result<u64, TarError> {
        number(&self.header[range]).and_then(|number| u64::try_from(number).ok()).ok_or(self.error(reason))
    }

    fn signed(&self, range: std::ops::Range<usize>, reason: &'static str) -> Result<i64, TarError> {
        number(&self.header[range]).ok_or(self.error(reason))
    }

    fn error(&self, reason: &'static str) -> TarError {
        TarError::Header { offset: self.offset, reason }
    }
}

/// A number in octal digits, or in GNU's binary form for what octal digits can't hold.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement, big-endian, the top bit taken by the mark.
        let negative = first & 0x40 != 0;
        let seed: i128 = if negative { -1 } else { 0 };
        let mut value = (seed << 6) | i128::from(first & 0x3f);
        for &byte in &field[1..] {
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let end = field[start..].iter().position(is_blank).map_or(field.len(), |end| start + end);
    let digits = &field[start..end];
    if !field[end..].iter().all(is_blank) || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return None;
    }
    digits.iter().try_fold(0_i64, |number, digit| number.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
}

/// Whether the checksum is that of the header, its own field taken as spaces. Old tars added signed bytes.
fn has_checksum(header: &[u8; BLOCK]) -> bool {
    let counted = || header[..148].iter().chain(&[b' '; 8]).chain(&header[156..]);
    let unsigned: i64 = counted().map(|&byte| i64::from(byte)).sum();
    let signed = || counted().map(|&byte| i64::from(byte.cast_signed())).sum::<i64>();
    number(&header[148..156]).is_some_and(|given| given == unsigned || given == signed())
}

fn push_pieces(fields: &Fields<'_>, bytes: &[u8], numbers: &mut Vec<u64>) -> Result<(), TarError> {
    for piece in bytes.chunks_exact(24) {
        if piece[0] == 0 {
            break;
        }
        for field in [&piece[..12], &piece[12..]] {
            let number = number(field).and_then(|number| u64::try_from(number).ok());
            numbers.push(number.ok_or(fields.error("malformed sparse map"))?);
        }
    }
    Ok(())
}

/// What follows data of this size up to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}
