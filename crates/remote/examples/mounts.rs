//! Prints how fast a directory travels as a cache mount, and how much of it:
//! `cargo run --release -p kiln-remote --example mounts -- DIR [COMMAND]`. DIR is exported to a cache in a directory, exported again
//! unchanged, again after the shell command (`go build` after an edit, say), and imported. What is written goes below the
//! system's directory for temporary files (`TMPDIR=/dev/shm` leaves the disk out).

use kiln_registry::{Client, Config, Credentials};
use kiln_remote::{Access, CacheLocation, Exported, Limits, Memo, connect, export_mount, import_mount};
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let tree = arguments.next().map(PathBuf::from).ok_or("which directory?")?;
    let work = tempfile::tempdir()?;
    let stop = Arc::new(AtomicBool::new(false));
    let access = Access {
        client: Client::new(Config::default(), Credentials::none()),
        stop: Arc::clone(&stop),
        pushed: Vec::new(),
        broken: HashSet::new(),
    };
    let location =
        CacheLocation::Local { directory: work.path().join("cache"), tag: "latest".to_owned(), digest: None };
    let cache = connect(&location, &access)?;
    let export = |memo: Memo, what: &str, of: u64| -> Outcome<Exported> {
        let start = Instant::now();
        let exported = export_mount(&tree, memo, &Limits::default(), &*cache, &stop)?;
        let share = 100.0 * exported.sent as f64 / of.max(1) as f64;
        print(what, exported.size, start.elapsed());
        println!("    {} files, {} bytes sent ({share:.1} %), of {}", exported.files, exported.sent, exported.total);
        Ok(exported)
    };
    let Exported { memo, sent: first, .. } = export(Memo::default(), "first export", 0)?;
    let mut last = export(memo, "unchanged", first)?;
    if let Some(command) = arguments.next() {
        let status = Command::new("sh").arg("-c").arg(command).status()?;
        if !status.success() {
            return Err("the command failed".into());
        }
        last = export(last.memo, "changed", first)?;
    }
    let index = last.index;
    drop(last);
    let into = work.path().join("imported");
    std::fs::create_dir(&into)?;
    let start = Instant::now();
    let imported = import_mount(&index, &into, Limits::MAX_SIZE, &*cache, &stop)?;
    print("import", imported.size, start.elapsed());
    println!("    {} files, {} bytes fetched", imported.files, imported.fetched);
    Ok(())
}

/// Prints how fast something was, and the most memory that the process had since the last call.
fn print(what: &str, bytes: u64, time: Duration) {
    let rate = bytes as f64 / 1e6 / time.as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
    println!(
        "{what:12} {:8.2} MB in {:6.2} s: {rate:6.0} MB/s, peak memory {peak}",
        bytes as f64 / 1e6,
        time.as_secs_f64()
    );
    // 5 is the number in proc(5) that sets the peak back to what is in use; without the right to do so the peaks only grow.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
