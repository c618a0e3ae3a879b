//! What is told of earlier builds: one file each below `history/`, opaque to the store.
//!
//! A file is named by the time at which its build ended, so that names sort as builds do. It appears before it is whole: who reads it
//! while it is written, or after a kill in the middle, finds something that is no history, and passes it over. Nothing but
//! `kiln why` and `kiln history` ever need one.

use crate::error::{Error, Result};
use crate::ids::ParseIdError;
use crate::open::Store;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name of an earlier build: 16 hexadecimal digits, ascending with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId(u64);

impl HistoryId {
    /// The time in milliseconds, and something that tells processes of the same millisecond apart.
    fn fresh() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        Self(millis << 20 | u64::from(std::process::id() ^ now.subsec_nanos()) & 0xf_ffff)
    }
}

impl HistoryId {
    /// When the build ended.
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0 >> 20)
    }

    /// That time in milliseconds since 1970.
    pub(crate) fn millis(self) -> i64 {
        i64::try_from(self.0 >> 20).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for HistoryId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match u64::from_str_radix(text, 16) {
            Ok(number) if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(Self(number)),
            _ => Err(ParseIdError(text.to_owned())),
        }
    }
}

impl Store {
    /// Keeps what is told of a build, and forgets all but the newest `keep`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_history(&self, bytes: &[u8], keep: usize) -> Result<HistoryId> {
        let directory = self.history_directory();
        let (id, mut file) = loop {
            let id = HistoryId::fresh();
            let path = directory.join(id.to_string());
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => break (id, file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
                    made.map_err(|error| Error::io("make", &directory, error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("make", &path, error)),
            }
        };
        file.write_all(bytes).map_err(|error| Error::io("write", &directory.join(id.to_string()), error))?;
        for old in self.history()?.into_iter().skip(keep) {
            self.forget_history(old)?;
        }
        Ok(id)
    }

    /// The builds that something is told of, the newest first, with the bytes that this takes.
    pub(crate) fn history_sizes(&self) -> Result<Vec<(HistoryId, u64)>> {
        let directory = self.history_directory();
        let mut sizes = Vec::new();
        for id in self.history()? {
            let path = directory.join(id.to_string());
            match fs::symlink_metadata(&path) {
                Ok(file) => sizes.push((id, file.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", &path, error)),
            }
        }
        Ok(sizes)
    }

    pub(crate) fn forget_history(&self, id: HistoryId) -> Result<()> {
        let path = self.history_directory().join(id.to_string());
        match fs::remove_file(&path) {
            // Another process forgets the same ones.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// The builds that something is told of, the newest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn history(&self) -> Result<Vec<HistoryId>> {
        let directory = self.history_directory();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| Error::io("list", &directory, error))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| Error::io("list", &directory, error))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<HistoryId>().ok()));
        }
        ids.sort_unstable_by(|one, other| other.cmp(one));
        Ok(ids)
    }

    /// What is told of a build; `None` when it has been forgotten.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_history(&self, id: HistoryId) -> Result<Option<Vec<u8>>> {
        let path = self.history_directory().join(id.to_string());
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    fn history_directory(&self) -> PathBuf {
        self.0.root.join("history")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::new_store;
    use crate::{PruneOptions, Pruned};

    #[test]
    fn the_newest_are_kept_in_order() {
        let (_root, store) = new_store();
        assert_eq!(store.history().unwrap(), []);
        let ids: Vec<_> = (0..5_u8).map(|number| store.put_history(&[number], 3).unwrap()).collect();
        let mut kept = store.history().unwrap();
        assert_eq!(kept.len(), 3);
        kept.reverse();
        let mut sorted = kept.clone();
        sorted.sort();
        assert_eq!(kept, sorted);
        for (number, id) in ids.iter().enumerate() {
            let bytes = store.read_history(*id).unwrap();
            assert_eq!(bytes, kept.contains(id).then(|| vec![number as u8]));
            assert_eq!(id.to_string().parse::<HistoryId>().unwrap(), *id);
        }
        for wrong in ["", "12", "+123456789abcdef", "0123456789abcdefg", "../../../../etc"] {
            assert!(wrong.parse::<HistoryId>().is_err(), "{wrong}");
        }
        let sizes = store.history_sizes().unwrap();
        assert_eq!(sizes.iter().map(|(_, size)| size).sum::<u64>(), 3);
        assert!(kept[0].time().elapsed().unwrap() < Duration::from_secs(3600));
        let prune = |all| store.prune(&PruneOptions { all, ..PruneOptions::default() }).unwrap();
        assert_eq!(prune(false), Pruned::default());
        assert_eq!(prune(true), Pruned { builds: 3, bytes: 3, ..Pruned::default() });
        assert_eq!(store.history().unwrap(), []);
    }
}
