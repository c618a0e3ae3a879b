//! The last bytes of a blob: an empty gzip member (RFC 1952), whose extra field says where the member with the table of contents begins.

/// How long it is.
pub(super) const LENGTH: usize = 51;

/// The gzip header with an extra field of 26 bytes, which is one subfield `SG` of 22.
const HEAD: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0];
const MARK: &[u8] = b"STARGZ";
/// An empty stored block, and the checksum and the size of nothing.
const TAIL: [u8; 13] = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// The footer for a table of contents that begins there.
pub(super) fn encode(offset: u64) -> [u8; LENGTH] {
    let mut footer = [0; LENGTH];
    footer[..16].copy_from_slice(&HEAD);
    footer[16..32].copy_from_slice(format!("{offset:016x}").as_bytes());
    footer[32..38].copy_from_slice(MARK);
    footer[38..].copy_from_slice(&TAIL);
    footer
}

/// Where the table of contents begins; nothing if this is no footer.
pub(super) fn decode(footer: &[u8; LENGTH]) -> Option<u64> {
    let digits = std::str::from_utf8(&footer[16..32]).ok()?;
    let offset = u64::from_str_radix(digits, 16).ok()?;
    (*footer == encode(offset)).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_is_an_empty_gzip_member_and_comes_back() {
        for offset in [0, 0xabc, u64::MAX] {
            let footer = encode(offset);
            assert_eq!(decode(&footer), Some(offset));
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&footer[..]), &mut bytes).unwrap();
            assert!(bytes.is_empty());
        }
        assert_eq!(decode(&[0; LENGTH]), None);
        let mut other = encode(7);
        other[20] = b'+';
        assert_eq!(decode(&other), None);
    }
}
