//! The mounted hierarchies of control groups, as `/proc/self/mountinfo` lists them (proc_pid_mountinfo(5)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error;
use crate::error::SpawnError;

/// The controllers of version 1 that a hierarchy may be mounted with. Named hierarchies, without any, belong to others.
const CONTROLLERS: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// Which interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    mount: PathBuf,
    controllers: Vec<String>,
}

/// All hierarchies that are mounted.
pub(super) fn mounted() -> io::Result<Vec<Hierarchy>> {
    let mut found = parse(&fs::read_to_string("/proc/self/mountinfo")?);
    for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.version == Version::Two) {
        let controllers = fs::read_to_string(hierarchy.mount.join("cgroup.controllers")).unwrap_or_default();
        hierarchy.controllers = controllers.split_whitespace().map(str::to_owned).collect();
    }
    Ok(found)
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(mount), mut after) = (before.split(' ').nth(4), after.split(' ')) else { continue };
        let (kind, options) = (after.next(), after.nth(1).unwrap_or_default());
        let (version, controllers) = match kind {
            Some("cgroup") => {
                let controllers = options.split(',').filter(|option| CONTROLLERS.contains(option));
                (Version::One, controllers.map(str::to_owned).collect::<Vec<_>>())
            }
            Some("cgroup2") => (Version::Two, Vec::new()),
            _ => continue,
        };
        let hierarchy = Hierarchy { version, mount: unescape(mount).into(), controllers };
        let empty = version == Version::One && hierarchy.controllers.is_empty();
        let again = found.iter().any(|other| {
            other.version == version && (version == Version::Two || other.controllers == hierarchy.controllers)
        });
        if !empty && !again {
            found.push(hierarchy);
        }
    }
    found
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

impl Hierarchy {
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|has| has == controller)
    }

    /// Makes the group below which sandboxes get theirs, with all groups above it, and passes the controllers down to it.
    pub(super) fn make_parent(&self, path: &str, needed: &[&str]) -> Result<PathBuf, SpawnError> {
        let mut group = self.mount.clone();
        self.delegate(&group, needed)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if matches!(name, "." | "..") {
                return Err(SpawnError::Invalid { what: format!("control group `{path}`") });
            }
            group.push(name);
            match fs::create_dir(&group) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error(format!("make the control group `{}`", group.display()), source));
                }
                _ => {}
            }
            self.prepare(&group)?;
            self.delegate(&group, needed)?;
        }
        Ok(group)
    }

    /// A new group of the `cpuset` controller's first version has neither processors nor memory, and takes no process.
    pub(super) fn prepare(&self, group: &Path) -> Result<(), SpawnError> {
        if self.version == Version::Two || !self.has("cpuset") {
            return Ok(());
        }
        let Some(parent) = group.parent() else { return Ok(()) };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = read(&group.join(file))?;
            if own.trim().is_empty() {
                write(&group.join(file), read(&parent.join(file))?.trim())?;
            }
        }
        Ok(())
    }

    /// Gives controllers to the groups inside a group of version 2.
    fn delegate(&self, group: &Path, needed: &[&str]) -> Result<(), SpawnError> {
        if self.version == Version::One {
            return Ok(());
        }
        let file = group.join("cgroup.subtree_control");
        let given = read(&file)?;
        let mut missing = needed.iter().filter(|controller| !given.split_whitespace().any(|has| has == **controller));
        missing.try_for_each(|controller| write(&file, &format!("+{controller}")))
    }
}

pub(super) fn read(file: &Path) -> Result<String, SpawnError> {
    fs::read_to_string(file).map_err(|source| error(format!("read `{}`", file.display()), source))
}

pub(super) fn write(file: &Path, value: &str) -> Result<(), SpawnError> {
    fs::write(file, value).map_err(|source| error(format!("write `{value}` to `{}`", file.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let one = |mount: &str, controllers: &[&str]| Hierarchy {
            version: Version::One,
            mount: mount.into(),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        };
        let two = |mount: &str| Hierarchy { version: Version::Two, mount: mount.into(), controllers: Vec::new() };
        let hybrid = "\
24 1 0:22 / / rw - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /a\\040b rw - cgroup cgroup rw,memory
35 30 0:30 / /again rw - cgroup cgroup rw,memory
broken line
";
        let expected = [
            two("/sys/fs/cgroup/unified"),
            one("/sys/fs/cgroup/cpu,cpuacct", &["cpu", "cpuacct"]),
            one("/a b", &["memory"]),
        ];
        assert_eq!(parse(hybrid), expected);
        assert_eq!(parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate\n"), [two("/sys/fs/cgroup")]);
        assert_eq!(parse(""), []);
        assert_eq!(unescape("a\\"), "a\\");
        assert_eq!(unescape("\\0é"), "\\0é");
    }
}
