//! rpm: a table of package headers in an SQLite database (rpm 4.16 and later). The older Berkeley DB and ndb formats are not read.
//!
//! A header is an index of entries `tag, type, offset, count` (each 32 bits, big-endian) after their number and the number of bytes
//! of data, and then that data (rpm's manual, *RPM V4 Package format*, Header).

use crate::MAX_PACKAGES;
use crate::package::{Ecosystem, Package};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::os::fd::AsRawFd;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE: u32 = 1044;

const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;

/// The packages of a database.
pub(crate) fn packages(database: &File, found_in: &str) -> Result<Vec<Package>, rusqlite::Error> {
    // The file is an image's and never changes; no journal beside it is looked for.
    let uri = format!("file:/proc/self/fd/{}?immutable=1", database.as_raw_fd());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(uri, flags)?;
    sql.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    // A view could be a query that never ends.
    sql.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'Packages' AND type = 'table'", [], |_| Ok(()))?;
    let mut select = sql.prepare("SELECT blob FROM Packages LIMIT ?")?;
    let mut rows = select.query([MAX_PACKAGES as i64])?;
    let mut packages = Vec::new();
    while let Some(row) = rows.next()? {
        packages.extend(package(row.get_ref(0)?.as_blob().unwrap_or_default(), found_in));
    }
    Ok(packages)
}

/// The package of a header.
fn package(header: &[u8], found_in: &str) -> Option<Package> {
    let header = Header::parse(header)?;
    let name = header.string(NAME)?;
    let version = format!("{}-{}", header.string(VERSION)?, header.string(RELEASE)?);
    // Keys of signers are kept as packages.
    if name == "gpg-pubkey" {
        return None;
    }
    Some(Package {
        ecosystem: Ecosystem::Rpm,
        version: header.number(EPOCH).map_or(version.clone(), |epoch| format!("{epoch}:{version}")),
        architecture: header.string(ARCH),
        source: header.string(SOURCE),
        supplier: header.string(VENDOR),
        license: header.string(LICENSE),
        found_in: found_in.to_owned(),
        name,
    })
}

struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let entries = be32(bytes, 0)? as usize;
        let size = be32(bytes, 4)? as usize;
        let start = entries.checked_mul(16)?.checked_add(8)?;
        Some(Self { index: bytes.get(8..start)?, data: bytes.get(start..start.checked_add(size)?)? })
    }

    /// The data of a tag of a type, from its offset on.
    fn data(&self, tag: u32, kind: u32) -> Option<&'a [u8]> {
        let entry = self.index.chunks_exact(16).find(|entry| be32(entry, 0) == Some(tag))?;
        if be32(entry, 4)? != kind {
            return None;
        }
        self.data.get(be32(entry, 8)? as usize..)
    }

    fn string(&self, tag: u32) -> Option<String> {
        let text = self.data(tag, TYPE_STRING)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        be32(self.data(tag, TYPE_INT32)?, 0)
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(entries: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in entries {
            for number in [*tag, *kind, data.len() as u32, 1] {
                index.extend(number.to_be_bytes());
            }
            data.extend(*value);
        }
        let sizes = [entries.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat();
        [sizes, index, data].concat()
    }

    #[test]
    fn a_database_gives_its_packages() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpmdb.sqlite");
        let sql = Connection::open(&path).unwrap();
        sql.execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)").unwrap();
        let bash = header(&[
            (NAME, TYPE_STRING, b"bash\0"),
            (VERSION, TYPE_STRING, b"5.2\0"),
            (RELEASE, TYPE_STRING, b"1.fc40\0"),
            (EPOCH, TYPE_INT32, &1u32.to_be_bytes()),
            (ARCH, TYPE_STRING, b"x86_64\0"),
            (LICENSE, TYPE_STRING, b"GPL-3.0-or-later\0"),
        ]);
        let key = header(&[
            (NAME, TYPE_STRING, b"gpg-pubkey\0"),
            (VERSION, TYPE_STRING, b"1\0"),
            (RELEASE, TYPE_STRING, b"1\0"),
        ]);
        for blob in [bash, key, b"nonsense".to_vec()] {
            sql.execute("INSERT INTO Packages (blob) VALUES (?)", [blob]).unwrap();
        }
        drop(sql);
        let found = packages(&File::open(&path).unwrap(), "db").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("bash", "1:5.2-1.fc40"));
        assert_eq!(found[0].license.as_deref(), Some("GPL-3.0-or-later"));
    }

    #[test]
    fn what_is_no_database_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpmdb.sqlite");
        std::fs::write(&path, "no database").unwrap();
        assert!(packages(&File::open(&path).unwrap(), "db").is_err());
        std::fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE VIEW Packages AS SELECT 1 AS blob").unwrap();
        assert!(packages(&File::open(&path).unwrap(), "db").is_err());
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            package(&bytes, "db");
        }
    }
}
