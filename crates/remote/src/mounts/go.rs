//! Go's build cache, of which single entries may be left out, and whose times are not those of other caches.
//!
//! It is a directory with 256 directories `00` to `ff`. An entry is a file `HEX-a` (what an action gave) or `HEX-d` (bytes, named by their
//! own digest) in one of these. Go moves an entry's time when it is used, at most once an hour, and at most once a day deletes what has
//! not been used for five days; `trim.txt` says when it did so last.
//!
//! - An entry's time is exported as the day it was last used: of a cache in use, little changes from one export to the next.
//! - What was imported is at most [`STALE`] old, and `trim.txt` is of now: the first build of a fresh machine deletes nothing. It is old
//!   enough, though, for a use to move its time.
//! - An entry that nobody has used since it was imported is exported with the time that it was imported with.

use kiln_layer::Time;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const DAY: i64 = 24 * 60 * 60;
/// A day less than what Go deletes.
const STALE: i64 = 4 * DAY;
/// When Go last looked for what to delete.
pub(crate) const TRIM_FILE: &str = "trim.txt";

/// Where in a tree Go's build caches are; nearly always there is none, or the root is one.
#[derive(Debug, Default)]
pub(crate) struct BuildCaches(Vec<PathBuf>);

impl BuildCaches {
    /// Those of a tree with these directories.
    pub(crate) fn find<'a>(directories: impl Iterator<Item = &'a Path>) -> Self {
        let mut fans: HashMap<&Path, usize> = HashMap::new();
        for directory in directories {
            if let (Some(parent), Some(name)) = (directory.parent(), directory.file_name())
                && is_fan(name)
            {
                *fans.entry(parent).or_default() += 1;
            }
        }
        Self(fans.into_iter().filter(|(_, count)| *count == 256).map(|(path, _)| path.to_owned()).collect())
    }

    /// The roots of the caches.
    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.0
    }

    /// Whether a path is an entry's, without which the cache is as good.
    pub(crate) fn has_entry(&self, path: &Path) -> bool {
        let Some((fan, name)) = path.parent().zip(path.file_name()) else { return false };
        let Some((root, fan)) = fan.parent().zip(fan.file_name()) else { return false };
        let name = name.as_bytes();
        is_fan(fan) && (name.ends_with(b"-a") || name.ends_with(b"-d")) && self.0.iter().any(|known| known == root)
    }

    /// Whether a path is that of an entry which is named by its own bytes, so that these never change.
    pub(crate) fn has_immutable(&self, path: &Path) -> bool {
        path.as_os_str().as_bytes().ends_with(b"-d") && self.has_entry(path)
    }

    /// Whether a path is that of the file that says when Go last deleted something. It isn't exported.
    pub(crate) fn has_trim_file(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == TRIM_FILE)
            && path.parent().is_some_and(|parent| self.0.iter().any(|root| root == parent))
    }
}

/// `00` to `ff`.
fn is_fan(name: &OsStr) -> bool {
    matches!(name.as_bytes(), [a, b] if [a, b].iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')))
}

/// The time with which an entry is exported.
pub(crate) fn day_of(mtime: Time) -> Time {
    Time::seconds(mtime.secs - mtime.secs.rem_euclid(DAY))
}

/// The time that an imported entry gets.
pub(crate) fn imported(recorded: Time, now: Time) -> Time {
    recorded.max(Time::seconds(now.secs - STALE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fans(below: &str) -> Vec<PathBuf> {
        (0..256).map(|n| Path::new(below).join(format!("{n:02x}"))).collect()
    }

    fn find(directories: &[PathBuf]) -> BuildCaches {
        BuildCaches::find(directories.iter().map(PathBuf::as_path))
    }

    #[test]
    fn build_caches_are_found_by_their_directories() {
        let mut directories = fans("go-build");
        let caches = find(&directories);
        assert_eq!(caches.roots(), [Path::new("go-build")]);
        for (path, entry) in [
            ("go-build/a7/a7f0-d", true),
            ("go-build/a7/a7f0-a", true),
            ("go-build/a7/a7f0", false),
            ("go-build/fuzz/a7f0-d", false),
            ("go-build/README-d", false),
            ("other/a7/a7f0-d", false),
            ("a7f0-d", false),
        ] {
            assert_eq!(caches.has_entry(Path::new(path)), entry, "{path}");
            assert_eq!(caches.has_immutable(Path::new(path)), entry && path.ends_with("-d"), "{path}");
        }
        assert!(caches.has_trim_file(Path::new("go-build/trim.txt")) && !caches.has_trim_file(Path::new("trim.txt")));
        directories.pop();
        assert_eq!(find(&directories).roots().len(), 0);
        assert_eq!(find(&fans("")).roots(), [Path::new("")]);
    }

    #[test]
    fn times_are_days_and_never_too_old() {
        let now = Time { secs: 1000 * DAY + 7, nanos: 8 };
        assert_eq!(day_of(now), Time::seconds(1000 * DAY));
        assert_eq!(day_of(Time::seconds(-1)), Time::seconds(-DAY));
        assert_eq!(imported(Time::seconds(3), now), Time::seconds(996 * DAY + 7));
        assert_eq!(imported(Time::seconds(999 * DAY), now), Time::seconds(999 * DAY));
    }
}
