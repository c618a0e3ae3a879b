//! Exports that are killed, and several at once.

use super::{MOUNTED, Machines, published};
use crate::support::Kiln;
use kiln_digest::Digest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn two_exports_at_once_leave_one_of_them() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.runner.write("main", "two\n");
    let (to, base) = (machines.to(""), machines.laptop.base());
    let start = |kiln: &Kiln| kiln.spawn(["build", "--build-context", &base, &to, "."]);
    let both = [start(&machines.laptop), start(&machines.runner)];
    for child in both {
        assert!(child.wait_with_output().expect("kiln ends").status.success());
    }
    let third = Kiln::for_builds().expect("as before");
    third.write("Dockerfile", MOUNTED).write("main", "three\n");
    let ran = third.build([machines.from()]);
    ran.succeeds().stderr_lacks("warning").cached_from("RUN echo end", "directory");
    assert!(ran.logged("one") != ran.logged("two"), "{ran}");
}

/// A layer and a cache mount, of which an export has to pack and send some megabytes each time.
const LARGE: &str = "FROM base\nCOPY main /main\n\
                     RUN --mount=type=cache,id=things,target=/c head -c 2000000 /dev/urandom > /large; cp /large /c/large; cp /main /c/main\n";

const KILLS: u64 = 20;

#[test]
fn an_export_that_is_killed_leaves_the_old_cache_or_the_new() {
    let Some(machines) = Machines::new(LARGE) else { return };
    machines.export();
    let mut seen = BTreeSet::new();
    for kill in 0..KILLS {
        machines.laptop.write("main", format!("{kill}\n"));
        let mut child = machines
            .laptop
            .build_command([machines.to("")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kiln");
        let mut told = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("exporting cache to") && told.read_line(&mut line).expect("text") > 0 {}
        // Whenever it is: what it leaves is looked at, not how far it came.
        std::thread::sleep(Duration::from_millis(kill * 4));
        child.kill().expect("a child");
        // Also of one that was faster.
        let _ = told.read_to_string(&mut line);
        child.wait().expect("a child");
        let document = published(&machines.cache());
        assert_whole(&machines.cache(), &document);
        seen.insert(document["records"]["digest"].as_str().expect("a digest").to_owned());
    }
    println!("{} of {KILLS} exports came to their end", seen.len() - 1);
    machines.laptop.write("main", "last\n");
    machines.laptop.build([machines.to("")]).succeeds().stderr_lacks("warning");
    machines.runner.write("main", "last\n");
    machines.import().stderr_lacks("warning").cached_from("RUN --mount", "directory");
}

/// Every blob that a cache names is there, and is what its name says.
fn assert_whole(cache: &Path, document: &Value) {
    let named = document["layers"].as_array().expect("layers").iter().map(|layer| &layer["blob"]);
    let mounts = document["mounts"].as_array().expect("mounts").iter();
    let mounts =
        mounts.flat_map(|mount| [&mount["index"]].into_iter().chain(mount["packs"].as_array().expect("packs")));
    for blob in named.chain(mounts).chain([&document["records"]]) {
        let digest: Digest = blob["digest"].as_str().and_then(|text| text.parse().ok()).expect("a digest");
        let bytes = fs::read(cache.join("blobs/sha256").join(digest.hex())).expect("a blob");
        assert_eq!((Digest::of_bytes(&bytes), Some(bytes.len() as u64)), (digest, blob["size"].as_u64()));
    }
}
