//! The reader against archives made by hand, against another reader, and against noise.

use super::read::Archive;
use super::sparse::Piece;
use super::write::Header;
use super::*;
use proptest::prelude::*;
use std::io::Read;

fn header<'a>(path: &'a [u8], flag: u8, size: u64) -> Header<'a> {
    Header { path, link: b"", flag, mode: 0o644, uid: 0, gid: 0, size, mtime: 7, device: (0, 0), xattrs: &[] }
}

/// A header and its data, padded.
fn with_data(header: &Header<'_>, data: &[u8]) -> Vec<u8> {
    let mut bytes = header.blocks();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// An extension member: PAX records, or one of GNU's long names.
fn extension(flag: u8, data: &[u8]) -> Vec<u8> {
    with_data(&header(b"extension", flag, data.len() as u64), data)
}

fn records(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        pax::push(&mut data, key.as_bytes(), value.as_bytes());
    }
    extension(b'x', &data)
}

/// All members with their data.
fn read(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, TarError> {
    let mut archive = Archive::new(bytes, 1 << 30);
    let mut members = Vec::new();
    while let Some(member) = archive.next()? {
        let mut data = Vec::new();
        loop {
            let some = archive.data()?;
            if some.is_empty() {
                break;
            }
            let length = some.len();
            data.extend_from_slice(some);
            archive.consume(length);
        }
        members.push((member, data));
    }
    archive.finish()?;
    Ok(members)
}

fn read_one(parts: &[Vec<u8>]) -> (Member, Vec<u8>) {
    let mut members = read(&parts.concat()).unwrap();
    assert_eq!(members.len(), 1);
    members.remove(0)
}

#[test]
fn extension_headers_rank() {
    let file = with_data(&header(b"short", b'0', 5), b"bytes");
    let (member, data) = read_one(&[
        records(&[("path", "from/pax"), ("uid", "4000000000"), ("mtime", "12.0345"), ("SCHILY.xattr.user.a", "b=c")]),
        file.clone(),
    ]);
    assert_eq!((member.path.as_slice(), member.uid, data.as_slice()), (&b"from/pax"[..], 4_000_000_000, &b"bytes"[..]));
    assert_eq!(member.mtime, Time { secs: 12, nanos: 34_500_000 });
    assert_eq!(member.xattrs, [("user.a".into(), b"b=c".to_vec())]);

    let long = extension(b'L', b"from/gnu\0");
    let (member, _) = read_one(&[records(&[("path", "from/pax")]), long.clone(), file.clone()]);
    assert_eq!(member.path, b"from/gnu");
    let (member, _) = read_one(&[extension(b'g', b"11 path=no\n"), file.clone()]);
    assert_eq!(member.path, b"short", "global records mean nothing");
    let (member, _) = read_one(&[records(&[("path", "from/pax")]), records(&[("path", "")]), file.clone()]);
    assert_eq!(member.path, b"short", "an empty value takes back");

    // A PAX size is the member's, never that of an extension header in between.
    let stale = with_data(&header(b"short", b'0', 1), b"bytes");
    let (member, data) = read_one(&[records(&[("size", "5")]), long, stale]);
    assert_eq!((member.size, data.as_slice()), (5, &b"bytes"[..]));
    // What has no data has none, whatever it claims.
    let claims = header(b"link", b'2', 5).blocks();
    assert_eq!(read(&[claims, file].concat()).unwrap().len(), 2);
}

#[test]
fn malformed_headers_are_refused() {
    let file = with_data(&header(b"f", b'0', 0), b"");
    let number = |at: usize, text: &[u8]| {
        let mut bytes = file.clone();
        bytes[at..at + text.len()].copy_from_slice(text);
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..BLOCK].iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes
    };
    let pax = |data: &[u8]| [extension(b'x', data), file.clone()].concat();
    let table: [(&str, Vec<u8>); 15] = [
        ("letters in the size", number(124, b"00x00000000\0")),
        ("negative size", number(124, &[0xff; 12])),
        ("size past 64 bits", number(124, &[0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])),
        ("text after the size", number(124, b"0 0\0\0\0\0\0\0\0\0\0")),
        ("record longer than the header", pax(b"99 path=x\n")),
        ("record without newline", pax(b"9 path=xy")),
        ("record without length", pax(b"path=x\n")),
        ("record of length 0", pax(b"0 path=x\n")),
        ("record without key", pax(b"5 =x\n")),
        ("path with NUL", pax(b"11 path=a\0b\n")),
        ("negative size in a record", pax(b"11 size=-5\n")),
        ("huge size in a record", pax(b"29 size=99999999999999999999\n")),
        ("user that means no change", pax(b"18 uid=4294967295\n")),
        ("time with letters", pax(b"11 mtime=x\n")),
        ("one block of zeros", [vec![0; BLOCK], file.clone()].concat()),
    ];
    for (what, bytes) in table {
        assert!(matches!(read(&bytes), Err(TarError::Header { .. })), "{what}: {:?}", read(&bytes));
    }
}

#[test]
fn times_and_lengths_of_records() {
    let time = |text: &str| pax::time(text.as_bytes()).map(|time| (time.secs, time.nanos));
    assert_eq!(time("1"), Some((1, 0)));
    assert_eq!(time("1.5"), Some((1, 500_000_000)));
    assert_eq!(time("1.0000000019"), Some((1, 1)));
    assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
    assert_eq!(time("-0.5"), Some((-1, 500_000_000)));
    for bad in ["", ".", "-", "1.x", "99999999999999999999", "+1"] {
        assert_eq!(time(bad), None, "{bad}");
    }
    for length in 0..1200 {
        let (mut data, value) = (Vec::new(), vec![b'v'; length]);
        pax::push(&mut data, b"key", &value);
        assert_eq!(pax::records(&data), Some(vec![(&b"key"[..], &value[..])]), "value of {length} bytes");
    }
}

#[test]
fn maps_of_sparse_files_are_checked() {
    let piece = |offset, length| Piece { offset, length };
    assert_eq!(sparse::pieces(&[0, 5, 10, 5, 20, 0], 20, 10), Some(vec![piece(0, 5), piece(10, 5)]));
    let table: [(&str, &[u64], u64, u64); 6] = [
        ("overlap", &[0, 5, 4, 5], 20, 10),
        ("beyond the end", &[10, 15], 20, 15),
        ("less data", &[0, 5], 20, 6),
        ("more data", &[0, 5], 20, 4),
        ("overflow", &[u64::MAX, 2], 20, 2),
        ("half a pair", &[0, 5, 10], 20, 5),
    ];
    for (what, numbers, size, data) in table {
        assert_eq!(sparse::pieces(numbers, size, data), None, "{what}");
    }
    let claims = |records: &[(&str, &str)], data: &[u8]| {
        let file = with_data(&header(b"f", b'0', data.len() as u64), data);
        read(&[self::records(records), file].concat())
    };
    let version_1 = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "1000")];
    let map = |text: &[u8]| [text, &vec![0; BLOCK - text.len()], b"data"].concat();
    assert_eq!(claims(&version_1, &map(b"1\n996\n4\n")).unwrap()[0].1, b"data");
    for text in ["1\n996\n5\n", "2\n0\n4\n", "999999999\n", "x\n", "\n"] {
        assert!(claims(&version_1, &map(text.as_bytes())).is_err(), "{text:?}");
    }
}

/// A member to be written at random.
fn member() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u8, u32, i64, Vec<u8>)> {
    let path = prop::collection::vec("[a-z\u{e9}]{1,60}", 1..6).prop_map(|names| names.join("/").into_bytes());
    let id = prop::sample::select(vec![0_u32, 1000, 2_097_151, 2_097_152, 4_000_000_000]);
    let time = prop::sample::select(vec![0_i64, 1, -1, 8_589_934_591, 8_589_934_592]);
    let flag = prop::sample::select(vec![b'0', b'0', b'1', b'2', b'6']);
    (path.clone(), path, flag, id, time, prop::collection::vec(any::<u8>(), 0..1500))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is written is read back, by this reader and by another.
    #[test]
    fn members_round_trip(members in prop::collection::vec(member(), 1..8)) {
        let mut bytes = Vec::new();
        for (path, link, flag, id, mtime, data) in &members {
            let is_link = matches!(flag, b'1' | b'2');
            let data: &[u8] = if *flag == b'0' { data } else { b"" };
            let link: &[u8] = if is_link { link } else { b"" };
            bytes.extend(with_data(&Header {
                path, link, flag: *flag, mode: 0o4711, uid: *id, gid: *id, size: data.len() as u64, mtime: *mtime,
                device: (0, 0), xattrs: &[],
            }, data));
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        let ours = read(&bytes).unwrap();
        prop_assert_eq!(ours.len(), members.len());
        let mut theirs = ::tar::Archive::new(&bytes[..]);
        for ((expected, (member, data)), their) in members.iter().zip(ours).zip(theirs.entries().unwrap()) {
            let (path, link, flag, id, mtime, contents) = expected;
            let mut their = their.unwrap();
            let kind = match flag {
                b'0' => MemberKind::File,
                b'1' => MemberKind::HardLink(link.clone()),
                b'2' => MemberKind::Symlink(link.clone()),
                _ => MemberKind::Fifo,
            };
            prop_assert_eq!(&member.path, path);
            prop_assert_eq!(&*their.path_bytes(), &path[..]);
            prop_assert_eq!(&member.kind, &kind);
            if let MemberKind::HardLink(_) | MemberKind::Symlink(_) = kind {
                let target = their.link_name_bytes().map(|name| name.into_owned());
                prop_assert_eq!(target.as_ref(), Some(link));
            }
            prop_assert_eq!((member.uid, member.gid, member.mode), (*id, *id, 0o4711));
            prop_assert_eq!(their.header().uid().unwrap(), u64::from(*id));
            prop_assert_eq!(member.mtime, Time::seconds(*mtime));
            if *flag == b'0' {
                let mut their_data = Vec::new();
                their.read_to_end(&mut their_data).unwrap();
                prop_assert_eq!(&data, contents);
                prop_assert_eq!(&their_data, contents);
            }
        }
    }

    /// Damage anywhere is an error or another archive, never a panic and never endless.
    #[test]
    fn damage_is_survived(
        members in prop::collection::vec(member(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        for (path, link, flag, id, mtime, data) in &members {
            bytes.extend(with_data(&Header {
                path, link, flag: *flag, mode: 0, uid: *id, gid: 0, size: data.len() as u64, mtime: *mtime, device: (0, 0), xattrs: &[],
            }, data));
        }
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            // Most damage would only be a wrong checksum.
            let block = at / BLOCK * BLOCK;
            if bytes[block + 257..block + 262] == *b"ustar" {
                bytes[block + 148..block + 156].fill(b' ');
                let sum: u32 = bytes[block..block + BLOCK].iter().map(|&byte| u32::from(byte)).sum();
                bytes[block + 148..block + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        let _ = read(&bytes);
        let _ = read(&bytes[..cut.index(bytes.len())]);
    }
}
