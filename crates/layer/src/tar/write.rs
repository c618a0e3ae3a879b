//! Writing the one canonical form: POSIX `ustar` headers, preceded by a PAX header only for what doesn't fit, no user or group
//! names, whole seconds. The same members give the same bytes on any machine.

use crate::at::Xattr;
use crate::tar::{BLOCK, pax};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A member to be written. The path of a directory ends with a slash.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) link: &'a [u8],
    /// The type flag.
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: &'a [Xattr],
}

impl<'a> Header<'a> {
    /// An empty file of root's that nobody may use, of the beginning of 1970.
    pub(crate) fn file(path: &'a [u8]) -> Self {
        Self { path, link: b"", flag: b'0', mode: 0, uid: 0, gid: 0, size: 0, mtime: 0, device: (0, 0), xattrs: &[] }
    }

    /// The member's header, with its PAX header in front where one is needed.
    pub(crate) fn blocks(&self) -> Vec<u8> {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut record = |key: &[u8], value: &[u8]| records.push((key.to_vec(), value.to_vec()));
        let mut header = [0; BLOCK];

        match fit(self.path) {
            Some((prefix, name)) => {
                header[..name.len()].copy_from_slice(name);
                header[345..345 + prefix.len()].copy_from_slice(prefix);
            }
            None => {
                record(b"path", self.path);
                put_ascii(&mut header[..100], self.path);
            }
        }
        if self.link.len() <= 100 && self.link.is_ascii() {
            header[157..157 + self.link.len()].copy_from_slice(self.link);
        } else {
            record(b"linkpath", self.link);
            put_ascii(&mut header[157..257], self.link);
        }
        let numbers = [
            (100..108, "mode", i64::from(self.mode)),
            (108..116, "uid", i64::from(self.uid)),
            (116..124, "gid", i64::from(self.gid)),
            (124..136, "size", i64::try_from(self.size).unwrap_or(i64::MAX)),
            (136..148, "mtime", self.mtime),
            (329..337, "SCHILY.devmajor", i64::from(self.device.0)),
            (337..345, "SCHILY.devminor", i64::from(self.device.1)),
        ];
        for (field, key, number) in numbers {
            if !put_octal(&mut header[field.clone()], number) {
                record(key.as_bytes(), number.to_string().as_bytes());
                put_octal(&mut header[field], 0);
            }
        }
        for (name, value) in self.xattrs {
            record(&[b"SCHILY.xattr.", name.as_bytes()].concat(), value);
        }
        header[156] = self.flag;
        seal(&mut header);

        let mut blocks = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            records.sort();
            extended(&mut blocks, self.path, &records);
        }
        blocks.extend_from_slice(&header);
        blocks
    }
}

/// Appends a PAX header with these records.
fn extended(blocks: &mut Vec<u8>, path: &[u8], records: &[(Vec<u8>, Vec<u8>)]) {
    let mut data = Vec::new();
    for (key, value) in records {
        pax::push(&mut data, key, value);
    }
    let mut header = [0; BLOCK];
    let name = path.strip_suffix(b"/").unwrap_or(path).rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    put_ascii(&mut header[..100], &[b"PaxHeaders/", name].concat());
    for (field, number) in
        [(100..108, 0o644), (108..116, 0), (116..124, 0), (124..136, data.len() as i64), (136..148, 0)]
    {
        put_octal(&mut header[field], number);
    }
    put_octal(&mut header[329..337], 0);
    put_octal(&mut header[337..345], 0);
    header[156] = b'x';
    seal(&mut header);
    blocks.extend_from_slice(&header);
    blocks.extend_from_slice(&data);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
}

/// Splits a path into the header's prefix and name, if it fits.
fn fit(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The last slash that leaves a prefix of at most 155 bytes, not counting the one that ends a directory's path.
    let last = path.len().saturating_sub(2).min(155);
    let slash = path[..=last].iter().rposition(|&byte| byte == b'/').filter(|&slash| slash > 0)?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (name.len() <= 100).then_some((prefix, name))
}

/// As much of a text as fits, for readers that don't know PAX.
fn put_ascii(field: &mut [u8], text: &[u8]) {
    let ascii = text.iter().filter(|byte| byte.is_ascii() && **byte != 0);
    for (to, from) in field.iter_mut().zip(ascii) {
        *to = *from;
    }
}

/// Octal digits up to a final NUL; `false` if the number doesn't fit.
fn put_octal(field: &mut [u8], number: i64) -> bool {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    if number < 0 || text.len() > digits {
        return false;
    }
    field[..digits].copy_from_slice(text.as_bytes());
    true
}

/// Writes magic and checksum.
fn seal(header: &mut [u8; BLOCK]) {
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// The path as tar has it, with a slash at the end of a directory's.
pub(crate) fn member_path(path: &OsStr, directory: bool) -> Vec<u8> {
    let mut path = path.as_bytes().to_vec();
    if directory {
        path.push(b'/');
    }
    path
}
