//! `--memory` and the other limits of steps, `--cgroup-parent`, and what steps may ask for with `--allow`.

use crate::support::{Kiln, Ran};
use std::fs;
use std::path::{Path, PathBuf};

/// Whether a build under limits works here; says `skipped` if not.
fn limited(ran: &Ran) -> bool {
    let usable = ran.status != Some(4);
    if !usable {
        println!("skipped: no usable control groups: {}", ran.stderr);
    }
    usable
}

/// The directories of a control group in all hierarchies.
fn groups(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    mounts.map(|mount| Path::new(mount).join(name)).filter(|path| path.is_dir()).collect()
}

#[test]
fn a_step_that_wants_too_much_memory() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo start; dd if=/dev/zero of=/dev/null bs=300M count=1\n");
    kiln.build::<&str>([]).succeeds().logs("start");
    kiln.write("Dockerfile", "FROM base\nRUN echo again; dd if=/dev/zero of=/dev/null bs=300M count=1\n");
    let parent = format!("kiln-test-oom-{}", std::process::id());
    let ran = kiln.build(["-m", "64m", "--memory-swap=64m", "--cgroup-parent", &parent]);
    if !limited(&ran) {
        return;
    }
    ran.exits(1).logs("again").stderr_has("failed: killed: out of memory (limit 64 MiB)").stderr_has("Dockerfile:2");
    for group in groups(&parent) {
        assert_eq!(fs::read_dir(&group).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
        fs::remove_dir(group).unwrap();
    }
    // A limit says nothing about the result.
    kiln.write("Dockerfile", "FROM base\nRUN echo same\n");
    kiln.build(["-m", "64m"]).succeeds().logs("same");
    kiln.build::<&str>([]).succeeds().cached("RUN");
}

#[test]
fn all_limits_at_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN grep Cpus_allowed_list /proc/self/status\n");
    let ran = kiln.build([
        "--memory=100m",
        "--memory-swap=-1",
        "--cpu-period=50000",
        "--cpu-quota=40000",
        "-c",
        "512",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
    ]);
    if limited(&ran) {
        ran.succeeds().logs("Cpus_allowed_list:\t0");
    }
}

#[test]
fn a_run_has_limits_too() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\n");
    kiln.build(["-t", "app"]).succeeds();
    let ran = kiln.run([
        "run",
        "--memory",
        "32m",
        "--memory-swap",
        "32m",
        "app",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=300M",
        "count=1",
    ]);
    if limited(&ran) && ran.status != Some(125) {
        ran.exits(137).stderr_has("warning: killed: out of memory (limit 32 MiB)");
    }
}

#[test]
fn what_steps_may_ask_for() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --security=insecure grep CapEff /proc/self/status\nRUN --network=host true\n",
    );
    kiln.build(["--allow", "network.host"])
        .exits(1)
        .stderr_has("`--security=insecure` is not allowed")
        .stderr_has("Dockerfile:2")
        .stderr_has("`--allow security.insecure`");
    kiln.build(["--allow", "security.insecure", "--network=none"])
        .exits(1)
        .stderr_has("`--network=host` is not allowed in a build with `--network=none`")
        .stderr_has("`--allow network.host`");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap().to_owned();
    kiln.build(["--allow", "security.insecure"]).succeeds().logs(&own);
    kiln.build(["--network=none", "--allow", "security.insecure,network.host"]).succeeds();
    kiln.build(["--allow", "everything"]).exits(2).stderr_has("unknown entitlement `everything`");
    kiln.build(["--allow", "device=gpu"]).exits(4).stderr_has("devices are not supported");
}

#[test]
fn an_insecure_step_is_still_in_namespaces_of_its_own() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --security=insecure mount -t tmpfs none /mnt && touch /mnt/x && echo \"mounted as $$\"\n\
         RUN test ! -e /mnt/x && grep CapEff /proc/self/status\n",
    );
    kiln.write("mnt/keep", "");
    let dockerfile = fs::read_to_string(kiln.context().join("Dockerfile")).unwrap();
    kiln.write("Dockerfile", dockerfile.replacen("FROM base\n", "FROM base\nCOPY mnt /mnt\n", 1));
    let ran = kiln.build(["--allow=security.insecure"]);
    ran.succeeds().logs("mounted as 1").logs("CapEff:\t00000000a80425fb");
    assert_eq!(super::errors::mounts(&kiln), "");
}
