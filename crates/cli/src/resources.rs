//! What a process may use of the machine: the options of that name that `docker build` and `docker run` share.

use crate::error::UsageError;
use crate::values;
use clap::Args;
use kiln_graph::Resources;
use std::ops::RangeInclusive;

/// Docker's least, below which no shell starts.
const MIN_MEMORY: u64 = 6 << 20;

/// Options that limit a process, each by a file of its control group.
#[derive(Debug, Args)]
pub(crate) struct ResourceArgs {
    /// The most memory that it may use, for instance 512m
    #[arg(short, long, value_name = "BYTES", value_parser = memory)]
    memory: Option<u64>,
    /// The most memory and swap together; -1 for any [default: twice the memory]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = memory_swap)]
    memory_swap: Option<i64>,
    /// Its weight when all want the processor; that of others is 1024
    #[arg(short, long, value_name = "WEIGHT", value_parser = clap::value_parser!(u64).range(0..=262_144))]
    cpu_shares: Option<u64>,
    /// The period that --cpu-quota is for, in microseconds [default: 100000]
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u64).range(1_000..))]
    cpu_quota: Option<u64>,
    /// The processors that it may use, for instance 0-2,5
    #[arg(long, value_name = "LIST", value_parser = processors)]
    cpuset_cpus: Option<String>,
    /// The memory nodes that it may use, for instance 0-1
    #[arg(long, value_name = "LIST", value_parser = memory_nodes)]
    cpuset_mems: Option<String>,
}

impl ResourceArgs {
    /// The limits, if they fit together.
    pub(crate) fn resources(self) -> Result<Resources, UsageError> {
        if let Some(total) = self.memory_swap {
            let Some(memory) = self.memory else {
                return Err(UsageError::new("`--memory-swap` needs `--memory`"));
            };
            if total >= 0 && total.unsigned_abs() < memory {
                return Err(UsageError::new("`--memory-swap` is memory and swap together, and less than `--memory`"));
            }
        }
        Ok(Resources {
            memory: self.memory,
            memory_swap: self.memory_swap,
            // Docker's way of saying nothing.
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
        })
    }
}

/// `--cgroup-parent`: a path below the root of the control groups.
pub(crate) fn cgroup_parent(text: &str) -> Result<String, UsageError> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(UsageError::new(format!("bad control group `{text}`")).hint("expected a path, such as `/builds`"));
    }
    Ok(parts.join("/"))
}

fn memory(text: &str) -> Result<u64, UsageError> {
    let size = values::size(text)?;
    if size < MIN_MEMORY {
        return Err(UsageError::new(format!("`{text}` is too little for any program")).hint("the least is 6m"));
    }
    Ok(size)
}

fn memory_swap(text: &str) -> Result<i64, UsageError> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(values::size(text)?).map_err(|_| UsageError::new(format!("bad size `{text}`")))
}

fn processors(text: &str) -> Result<String, UsageError> {
    list(text, "processor", "/sys/devices/system/cpu/online")
}

fn memory_nodes(text: &str) -> Result<String, UsageError> {
    list(text, "memory node", "/sys/devices/system/node/online")
}

/// A list of what this machine has, as far as the file tells.
fn list(text: &str, what: &str, online: &str) -> Result<String, UsageError> {
    let asked =
        ranges(text).ok_or_else(|| UsageError::new(format!("bad list `{text}`")).hint("for example `0-2,5`"))?;
    let online = std::fs::read_to_string(online).unwrap_or_default();
    let Some(there) = ranges(online.trim()) else { return Ok(text.to_owned()) };
    let is_there = |number: &u32| there.iter().any(|range| range.contains(number));
    match asked.into_iter().find_map(|mut range| range.find(|number| !is_there(number))) {
        None => Ok(text.to_owned()),
        Some(missing) => Err(UsageError::new(format!("there is no {what} {missing} in `{text}`"))
            .hint(format!("this machine has `{}`", online.trim()))),
    }
}

/// Numbers and ranges of numbers, separated by commas.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    text.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let online = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&online, "0-3,5\n").unwrap();
        let check = |text: &str| list(text, "thing", online.path().to_str().unwrap());
        for good in ["0", "0-3", "0,2", "0-2,5"] {
            assert_eq!(check(good).unwrap(), good);
        }
        for bad in ["", "a", "3-1", "0,", "0-", "-1"] {
            assert_eq!(check(bad).unwrap_err().message, format!("bad list `{bad}`"));
        }
        for (text, missing) in [("4", 4), ("2-9", 4), ("0-3,5-4294967295", 6)] {
            let error = check(text).unwrap_err();
            assert_eq!(error.message, format!("there is no thing {missing} in `{text}`"));
            assert_eq!(error.hint.as_deref(), Some("this machine has `0-3,5`"));
        }
        assert_eq!(list("4000", "thing", "/no/such/file").unwrap(), "4000");
    }

    #[test]
    fn parents() {
        assert_eq!(cgroup_parent("/a//b/").unwrap(), "a/b");
        for bad in ["", "/", "../x", "a/../b", "./a"] {
            assert!(cgroup_parent(bad).is_err(), "{bad}");
        }
    }
}
