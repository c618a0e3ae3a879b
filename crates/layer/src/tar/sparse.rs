//! Sparse files, in the forms that GNU tar has written over the years: the map is in the header (type `S`), in PAX records
//! (versions 0.0 and 0.1), or in front of the data (version 1.0).

use crate::tar::pax::decimal;

/// A piece of a sparse file that has data; what lies between the pieces reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What the PAX records say of a sparse file.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) major: Option<u64>,
    pub(crate) minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// The numbers of a map in the records: offset, length, offset, length.
    pub(crate) map: Option<Vec<u64>>,
}

impl Records {
    /// Takes a record whose key starts with `GNU.sparse.`; `None` if its value is no number.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"GNU.sparse.major" => self.major = Some(decimal(value)?),
            b"GNU.sparse.minor" => self.minor = Some(decimal(value)?),
            b"GNU.sparse.name" => self.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.size = Some(decimal(value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|&byte| byte == b',').map(decimal).collect::<Option<_>>()?;
                self.map = Some(numbers);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.map.get_or_insert_default().push(decimal(value)?);
            }
            _ => {}
        }
        Some(())
    }

    /// Whether the map comes in front of the data.
    pub(crate) fn is_version_1(&self) -> bool {
        self.major == Some(1) && self.minor == Some(0)
    }
}

/// Pairs the numbers of a map, and checks that the pieces are in order, lie within `size`, and have `data` bytes in all.
pub(crate) fn pieces(numbers: &[u64], size: u64, data: u64) -> Option<Vec<Piece>> {
    let mut end = 0;
    let mut total: u64 = 0;
    let mut pieces = Vec::with_capacity(numbers.len() / 2);
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    for pair in pairs {
        let piece = Piece { offset: pair[0], length: pair[1] };
        if piece.offset < end {
            return None;
        }
        end = piece.offset.checked_add(piece.length)?;
        total = total.checked_add(piece.length)?;
        if piece.length > 0 {
            pieces.push(piece);
        }
    }
    (end <= size && total == data).then_some(pieces)
}
