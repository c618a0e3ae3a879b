//! Prints how long it takes to start `/bin/true` in a sandbox and to see it end, as medians of 200.
//!
//! Needs root and a static busybox: `cargo run --release -p kiln-sandbox --example spawn_latency`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_sandbox::{Mount, MountKind, Network, Root, Sandbox, Security, Spec};

const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("kiln-spawn-latency-{}", std::process::id()));
    let lower = directory.join("lower");
    for name in ["bin", "etc", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(lower.join(name))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    fs::copy(busybox.ok_or("needs busybox-static")?, lower.join("bin/true"))?;
    let cache = directory.join("cache");
    fs::create_dir(&cache)?;
    let file = directory.join("file");
    fs::write(&file, "")?;

    let plain = |root: Root| Spec::new(root, vec!["/bin/true".to_owned()]);
    let full = |root: Root| {
        let kind =
            MountKind::Bind { source: cache.clone(), subpath: PathBuf::new(), read_only: false, recursive: false };
        let mount = Mount { target: "/root/.cache/go-build".into(), kind };
        let files = Some(file.clone());
        Spec { mounts: vec![mount], resolv_conf: files.clone(), hosts: files, ..plain(root) }
    };
    let ballast = vec![1u8; 200 << 20];
    println!("median of {ROUNDS}, with {} MiB in use, in microseconds    spawn  until exit", ballast.len() >> 20);
    measure("overlay", &directory, &lower, plain)?;
    measure("overlay, cache mount, resolv.conf, hosts, clean-up", &directory, &lower, full)?;
    measure("  same, without seccomp and masks", &directory, &lower, |root| Spec {
        security: Security::Insecure,
        ..full(root)
    })?;
    measure("  same, with a network namespace", &directory, &lower, |root| Spec {
        network: Network::None,
        ..full(root)
    })?;
    measure("  same, as user 1000", &directory, &lower, |root| {
        let mut spec = full(root);
        spec.user.uid = 1000;
        spec
    })?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}

fn measure(what: &str, directory: &Path, lower: &Path, spec: impl Fn(Root) -> Spec) -> Result<(), Box<dyn Error>> {
    let mut spawned = Vec::new();
    let mut ended = Vec::new();
    for _ in 0..ROUNDS {
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let root = Root::Overlay { lower: vec![lower.to_owned()], upper: upper.clone(), work: work.clone() };
        let spec = spec(root);
        let start = Instant::now();
        let mut child = Sandbox::spawn(&spec)?;
        spawned.push(start.elapsed());
        if !child.wait()?.success() {
            return Err("true failed".into());
        }
        child.stubs().clean_up()?;
        ended.push(start.elapsed());
        drop(child);
        fs::remove_dir_all(&upper)?;
        fs::remove_dir_all(&work)?;
    }
    println!("{what:<66}{:>6}{:>12}", median(&mut spawned).as_micros(), median(&mut ended).as_micros());
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
