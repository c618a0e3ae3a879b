//! A writer that is killed at any instant leaves the old cache or the new one, whole.

use super::*;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the process that is killed: the directory that it writes to.
const DIRECTORY: &str = "KILN_TEST_CACHE_DIRECTORY";
const KILLS: u64 = 8;

fn cache(path: &Path) -> Box<dyn Remote> {
    open(&format!("type=local,src={}", path.display()), &access(Credentials::none()))
}

#[test]
fn a_writer_that_is_killed_spoils_nothing() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let cache = cache(Path::new(&directory));
        for round in 0.. {
            let (manifest, contents) = example(round, 20_000);
            export(cache.as_ref(), &manifest, &contents).unwrap();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let mut generations = Vec::new();
    for kill in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::a_writer_that_is_killed_spoils_nothing", "--nocapture"])
            .env(DIRECTORY, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Whenever it is: what it leaves is looked at, not how far it came.
        std::thread::sleep(Duration::from_millis(20 + kill * 7));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let Some(manifest) = cache(&path).manifest().unwrap() else { continue };
        for (blob, _) in manifest.blobs() {
            assert_eq!(BlobRef::of_bytes(&read(cache(&path).as_ref(), &blob).unwrap()), blob);
        }
        generations.push(manifest.created);
    }
    let (manifest, contents) = example(1_000_000, 100);
    export(cache(&path).as_ref(), &manifest, &contents).unwrap();
    cache(&path).collect_garbage(Duration::ZERO).unwrap();
    assert_eq!(cache(&path).manifest().unwrap(), Some(manifest));
    let left = std::fs::read_dir(path.join("blobs/sha256")).unwrap().count();
    assert!(left <= contents.len() + 2, "{left} blobs, garbage among them");
}
