//! Limits as files of a control group, in both versions of the interface.

use std::path::Path;

use super::hierarchy::{Hierarchy, Version, write};
use crate::error::SpawnError;
use crate::spec::Limits;

/// The kernel's own period, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Writes the limits of `controllers` into a new group.
pub(super) fn apply(
    hierarchy: &Hierarchy,
    group: &Path,
    limits: &Limits,
    controllers: &[&str],
) -> Result<(), SpawnError> {
    for (name, value, optional) in files(hierarchy.version, limits, controllers) {
        let file = group.join(name);
        // A kernel that does not count swap has no file for it; what nobody asked for is then left out.
        if optional && !file.exists() {
            continue;
        }
        write(&file, &value)?;
    }
    Ok(())
}

/// Files with what is written to them, and whether one may be missing.
fn files(version: Version, limits: &Limits, controllers: &[&str]) -> Vec<(&'static str, String, bool)> {
    let mut files = Vec::new();
    for controller in controllers {
        match (*controller, version) {
            ("memory", Version::One) => {
                files.extend(limits.memory.map(|memory| ("memory.limit_in_bytes", memory.to_string(), false)));
                // The sum of both, which must not be less than the memory.
                files.extend(
                    swap(limits).map(|(total, asked)| ("memory.memsw.limit_in_bytes", total.to_string(), !asked)),
                );
            }
            ("memory", Version::Two) => {
                files.extend(limits.memory.map(|memory| ("memory.max", memory.to_string(), false)));
                files.extend(swap(limits).map(|(total, asked)| {
                    let only_swap = match u64::try_from(total) {
                        Ok(total) => total.saturating_sub(limits.memory.unwrap_or(0)).to_string(),
                        Err(_) => "max".to_owned(),
                    };
                    ("memory.swap.max", only_swap, !asked)
                }));
            }
            ("cpu", Version::One) => {
                files.extend(limits.cpu_shares.map(|shares| ("cpu.shares", shares.to_string(), false)));
                files.extend(limits.cpu_period.map(|period| ("cpu.cfs_period_us", period.to_string(), false)));
                files.extend(limits.cpu_quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string(), false)));
            }
            ("cpu", Version::Two) => {
                files.extend(limits.cpu_shares.map(|shares| ("cpu.weight", weight(shares).to_string(), false)));
                if limits.cpu_period.is_some() || limits.cpu_quota.is_some() {
                    let quota = limits.cpu_quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                    let period = limits.cpu_period.unwrap_or(DEFAULT_PERIOD);
                    files.push(("cpu.max", format!("{quota} {period}"), false));
                }
            }
            ("cpuset", _) => {
                files.extend(limits.cpuset_cpus.clone().map(|cpus| ("cpuset.cpus", cpus, false)));
                files.extend(limits.cpuset_mems.clone().map(|mems| ("cpuset.mems", mems, false)));
            }
            _ => {}
        }
    }
    files
}

/// Memory and swap together, and whether that was asked for. Docker allows as much swap as memory.
fn swap(limits: &Limits) -> Option<(i64, bool)> {
    match (limits.memory_swap, limits.memory) {
        (Some(total), _) => Some((total, true)),
        (None, Some(memory)) => Some((i64::try_from(memory.saturating_mul(2)).unwrap_or(-1), false)),
        (None, None) => None,
    }
}

/// Shares from 2 to 262144 as a weight from 1 to 10000, as all runtimes convert them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, limits: &Limits) -> Vec<String> {
        let files = files(version, limits, &limits.controllers());
        files
            .into_iter()
            .map(|(name, value, optional)| format!("{name}={value}{}", if optional { "?" } else { "" }))
            .collect()
    }

    #[test]
    fn both_versions() {
        let limits = Limits {
            memory: Some(1000),
            memory_swap: None,
            cpu_shares: Some(1024),
            cpu_period: None,
            cpu_quota: Some(50_000),
            cpuset_cpus: Some("0-1".to_owned()),
            cpuset_mems: None,
        };
        let one = [
            "memory.limit_in_bytes=1000",
            "memory.memsw.limit_in_bytes=2000?",
            "cpu.shares=1024",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
        ];
        assert_eq!(written(Version::One, &limits), one);
        let two =
            ["memory.max=1000", "memory.swap.max=1000?", "cpu.weight=39", "cpu.max=50000 100000", "cpuset.cpus=0-1"];
        assert_eq!(written(Version::Two, &limits), two);
        for (swap, one, two) in [
            (-1, "memory.memsw.limit_in_bytes=-1", "memory.swap.max=max"),
            (1500, "memory.memsw.limit_in_bytes=1500", "memory.swap.max=500"),
            (1000, "memory.memsw.limit_in_bytes=1000", "memory.swap.max=0"),
        ] {
            let limits = Limits { memory: Some(1000), memory_swap: Some(swap), ..Limits::default() };
            assert_eq!(written(Version::One, &limits)[1], one);
            assert_eq!(written(Version::Two, &limits)[1], two);
        }
        let period = Limits { cpu_period: Some(10_000), ..Limits::default() };
        assert_eq!(written(Version::Two, &period), ["cpu.max=max 10000"]);
        assert_eq!(written(Version::Two, &Limits::default()), Vec::<String>::new());
    }

    #[test]
    fn weights() {
        for (shares, expected) in [(0, 1), (2, 1), (1024, 39), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
