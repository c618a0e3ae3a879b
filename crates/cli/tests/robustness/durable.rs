//! What a crash of the machine leaves of a cache in a directory. Seen with `strace`: nothing gets a name before its bytes are on the disk.

use crate::cached::Calls;
use crate::support::{Kiln, has_program};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn a_published_cache_is_on_the_disk() {
    let Some(kiln) = Kiln::for_builds() else { return };
    if !has_program("strace") {
        return;
    }
    let dockerfile = "FROM base\nCOPY main /main\nRUN --mount=type=cache,target=/c cp /main /c/main\n";
    let cache = kiln.path("cache");
    let mut before = BTreeSet::new();
    for main in ["one", "two"] {
        kiln.write("Dockerfile", dockerfile).write("main", main);
        kiln.build::<&str>([]).succeeds();
        let export = kiln.command(["cache", "export", &format!("type=local,dest={}", cache.display())]);
        let calls = Calls::of(&export, &kiln.path("strace"));
        let renamed =
            calls.position(|name, line| ["linkat", "renameat"].contains(&name) && line.contains("\"index.json\""));
        let renamed = renamed.expect("the index gets its name");
        let synced = |path: &str| calls.position(|name, line| name == "fsync" && line.contains(&format!("{path}>")));
        let blobs: BTreeSet<_> = fs::read_dir(cache.join("blobs/sha256"))
            .expect("blobs")
            .map(|entry| entry.expect("a blob").file_name().into_string().expect("a digest"))
            .collect();
        let new: Vec<_> = blobs.difference(&before).collect();
        assert!(new.len() >= 6, "{new:?}");
        for blob in new {
            let at = synced(blob).unwrap_or_else(|| panic!("{blob} is not on the disk"));
            assert!(at < renamed, "{blob} gets there after the index");
        }
        assert!(synced("/blobs/sha256").expect("the names of blobs") < renamed);
        let index = calls.position(|name, line| name == "fsync" && (line.contains(".partial-") || line.contains("/#")));
        assert!(index.expect("the index") < renamed);
        assert!(calls.last(|name, line| name == "fsync" && line.contains("/cache>")).expect("its name") > renamed);
        before = blobs;
    }
}
