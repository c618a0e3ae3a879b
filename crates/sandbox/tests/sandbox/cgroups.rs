//! Control groups: limits, what is left of them, and what an abandoned one becomes.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_sandbox::{Cgroup, ExitStatus, Limits, SpawnError};
use rustix::fs::{FlockOperation, flock};

use crate::fixture::{Trial, finish, need_root};

/// A parent that no other test uses, removed at the end where it is empty.
struct Parent(String);

impl Parent {
    fn new(name: &str) -> Self {
        Self(format!("kiln-test-{name}-{}", std::process::id()))
    }

    fn cgroup(&self, limits: Limits) -> Option<Cgroup> {
        Some(Cgroup { parent: Some(self.0.clone()), limits })
    }

    /// The places of this parent in all hierarchies.
    fn places(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let mounts = mounts.filter_map(|line| line.split(' ').nth(4));
        mounts.map(|mount| Path::new(mount).join(&self.0)).filter(|place| place.is_dir()).collect()
    }

    /// The groups of sandboxes below it.
    fn groups(&self) -> Vec<PathBuf> {
        let entries = self.places().into_iter().flat_map(|place| fs::read_dir(place).unwrap());
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for place in self.places() {
            let _ = fs::remove_dir(place);
        }
    }
}

/// Runs a script under limits; nothing, with the reason, where this machine has no control groups to give.
fn trial(script: &str, cgroup: Option<Cgroup>) -> Option<Trial> {
    let mut trial = Trial::sh("true");
    trial.spec.cgroup = cgroup.clone();
    match trial.spawn() {
        Err(error @ (SpawnError::Cgroup { .. } | SpawnError::NoController { .. })) => {
            println!("skipped: no usable control groups: {}", crate::fixture::chain(&error));
            return None;
        }
        started => drop(started.unwrap()),
    }
    let mut trial = Trial::sh(script);
    trial.spec.cgroup = cgroup;
    Some(trial)
}

#[test]
fn memory_is_limited() {
    need_root!();
    let parent = Parent::new("memory");
    let limits = Limits { memory: Some(32 << 20), memory_swap: Some(32 << 20), ..Limits::default() };
    let Some(trial) = trial("exec dd if=/dev/zero of=/dev/null bs=200M count=1", parent.cgroup(limits)) else { return };
    let exit = trial.run().exit;
    assert_eq!(exit.status, ExitStatus::Signal(9));
    assert!(exit.out_of_memory);
    assert_eq!(parent.groups(), Vec::<PathBuf>::new());
}

#[test]
fn a_kill_by_others_is_no_lack_of_memory() {
    need_root!();
    let parent = Parent::new("kill");
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    let Some(trial) = trial("sleep 100", parent.cgroup(limits)) else { return };
    let mut child = trial.spawn().unwrap();
    assert!(!parent.groups().is_empty());
    child.kill();
    let ran = finish(&mut child);
    assert_eq!(ran.exit.status, ExitStatus::Signal(9));
    assert!(!ran.exit.out_of_memory);
    assert_eq!(parent.groups(), Vec::<PathBuf>::new());
}

#[test]
fn each_limit_is_a_file() {
    need_root!();
    let parent = Parent::new("files");
    let limits = Limits {
        memory: Some(100 << 20),
        memory_swap: None,
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(20_000),
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
    };
    let Some(trial) = trial("grep Cpus_allowed_list: /proc/self/status; sleep 100", parent.cgroup(limits)) else {
        return;
    };
    let mut child = trial.spawn().unwrap();
    let groups = parent.groups();
    let read = |names: [&str; 2]| {
        let found = groups.iter().flat_map(|group| names.map(|name| group.join(name)));
        let text = found.filter_map(|file| fs::read_to_string(file).ok()).next().unwrap();
        text.trim().to_owned()
    };
    assert_eq!(read(["memory.max", "memory.limit_in_bytes"]), (100 << 20).to_string());
    assert!(["20", "512"].contains(&read(["cpu.weight", "cpu.shares"]).as_str()));
    assert!(["20000 50000", "20000"].contains(&read(["cpu.max", "cpu.cfs_quota_us"]).as_str()));
    assert_eq!(read(["cpuset.cpus", "cpuset.cpus"]), "0");
    let mut line = [0; 64];
    let read = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(String::from_utf8_lossy(&line[..read]), "Cpus_allowed_list:\t0\n");
    drop(child);
    assert_eq!(parent.groups(), Vec::<PathBuf>::new());
}

#[test]
fn the_sandbox_sees_its_groups_as_roots() {
    need_root!();
    let parent = Parent::new("namespace");
    let limits = Limits { memory: Some(64 << 20), cpu_shares: Some(100), ..Limits::default() };
    let Some(trial) = trial("cat /proc/self/cgroup", parent.cgroup(limits)) else { return };
    let shown = trial.output();
    assert!(!shown.contains("kiln"), "{shown}");
    assert!(
        shown
            .lines()
            .filter(|line| line.contains("memory") || line.starts_with("0::"))
            .all(|line| line.ends_with(":/"))
    );
}

#[test]
fn abandoned_groups_are_removed() {
    need_root!();
    let parent = Parent::new("abandoned");
    let Some(trial) = trial("true", parent.cgroup(Limits::default())) else { return };
    let mut locks = Vec::new();
    for place in parent.places() {
        fs::create_dir_all(place.join("kiln-1-1/inner")).unwrap();
        fs::create_dir(place.join("other")).unwrap();
        // One whose maker lives.
        let alive = place.join("kiln-1-2");
        fs::create_dir(&alive).unwrap();
        let lock = fs::File::open(&alive).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        locks.push((alive, lock));
    }
    assert!(!locks.is_empty());
    trial.output();
    for place in parent.places() {
        assert!(!place.join("kiln-1-1").exists());
        for kept in ["kiln-1-2", "other"] {
            fs::remove_dir(place.join(kept)).unwrap();
        }
    }
}

#[test]
fn a_limit_that_the_kernel_refuses() {
    need_root!();
    let parent = Parent::new("refused");
    let Some(mut trial) = trial("true", parent.cgroup(Limits { cpu_shares: Some(2), ..Limits::default() })) else {
        return;
    };
    trial.spec.cgroup = parent.cgroup(Limits { cpuset_cpus: Some("100000".to_owned()), ..Limits::default() });
    assert!(trial.failure().contains("write `100000` to"), "{}", trial.failure());
    assert_eq!(parent.groups(), Vec::<PathBuf>::new());
    trial.spec.cgroup = Some(Cgroup { parent: Some("../outside".to_owned()), limits: Limits::default() });
    assert!(trial.failure().contains("control group `../outside`"));
}
