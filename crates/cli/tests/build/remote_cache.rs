//! Builds that go on from what another machine has left in a cache: two stores that share nothing but a directory.

use crate::support::{Kiln, Ran};
use kiln_digest::Digest;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const DOCKERFILE: &str = "FROM base AS build\nWORKDIR /src\nCOPY go.mod .\nRUN echo download > /downloaded\nCOPY . .\n\
                          RUN cat main > /app && rm -rf /tmp\n\
                          FROM base\nRUN echo final > /final\nCOPY --from=build /app /app\nRUN echo end\n";

/// Two machines with the same sources.
struct Machines {
    laptop: Kiln,
    runner: Kiln,
}

impl Machines {
    fn new(dockerfile: &str) -> Option<Self> {
        let machines = Self { laptop: Kiln::for_builds()?, runner: Kiln::for_builds()? };
        for kiln in [&machines.laptop, &machines.runner] {
            kiln.write("Dockerfile", dockerfile).write("go.mod", "module x\n").write("main", "one\n");
        }
        Some(machines)
    }

    /// The directory that both can reach.
    fn cache(&self) -> PathBuf {
        self.laptop.path("cache")
    }

    fn to(&self, more: &str) -> String {
        format!("--cache-to=type=local,dest={},mode=max{more}", self.cache().display())
    }

    fn from(&self) -> String {
        format!("--cache-from=type=local,src={}", self.cache().display())
    }

    /// Builds on the laptop and leaves the cache.
    fn export(&self) -> Ran {
        let ran = self.laptop.build(["-t", "app", &self.to("")]);
        ran.succeeds();
        ran
    }

    fn import(&self) -> Ran {
        let ran = self.runner.build(["-t", "app", &self.from()]);
        ran.succeeds();
        ran
    }

    /// The id of the image that was built.
    fn image(kiln: &Kiln) -> String {
        let ran = kiln.run(["images", "--no-trunc"]);
        ran.succeeds()
            .stdout()
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"))
            .expect("an image")
            .to_owned()
    }
}

/// All steps of the image, and of the stage before.
const STEPS: [&str; 8] = [
    "WORKDIR /src",
    "COPY go.mod",
    "RUN echo download",
    "COPY . .",
    "RUN cat main",
    "RUN echo final",
    "COPY --from=build",
    "RUN echo end",
];

#[test]
fn another_machine_builds_nothing_again_and_makes_the_same_image() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    machines.export().stderr_has("exporting cache to directory");
    let ran = machines.import();
    for step in STEPS {
        ran.cached_from(step, "directory");
    }
    assert_eq!(Machines::image(&machines.runner), Machines::image(&machines.laptop));
    // Of the stage before, nothing was needed.
    let fetched = ran.step("fetching cached layers").iter().filter(|line| line.ends_with(" done")).count();
    assert_eq!(fetched, 3, "{ran}");
    // What was fetched is known now; the rest is looked up again.
    fs::remove_dir_all(machines.cache()).expect("the cache");
    let again = machines.runner.build(["-t", "app"]);
    again.succeeds().cached("RUN echo final").executed("RUN cat main");
}

#[test]
fn only_what_changed_is_built() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    machines.export();
    machines.runner.write("main", "two\n");
    let ran = machines.import();
    for step in ["WORKDIR /src", "COPY go.mod", "RUN echo download", "RUN echo final"] {
        ran.cached_from(step, "directory");
    }
    ran.executed("COPY . .").executed("RUN cat main").executed("COPY --from=build");
    machines.runner.run(["run", "app", "cat", "/app", "/final"]).succeeds().stdout_is("two\nfinal\n");
    let why = machines.runner.run(["why", "RUN echo final"]);
    assert!(why.stdout().contains("cached from directory"), "{why}");
}

#[test]
fn a_build_that_has_everything_waits_for_no_cache() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    machines.export();
    fs::write(machines.cache().join("index.json"), "no JSON").expect("an index");
    let ran = machines.laptop.build(["-t", "app", &machines.from()]);
    ran.succeeds().stderr_lacks("importing cache").stderr_lacks("warning").cached("RUN echo end");
}

#[test]
fn caches_that_cannot_be_used_are_warnings() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one > /one\n") else { return };
    machines.export();
    let index = machines.cache().join("index.json");
    let before = fs::read_to_string(&index).expect("an index");
    let builds_by_itself = |what: &str| {
        let kiln = Kiln::for_builds().expect("as before");
        kiln.write("Dockerfile", "FROM base\nRUN echo one > /one\n");
        let ran = kiln.build(["-t", "app", &machines.from()]);
        ran.succeeds().stderr_has("2 steps ran").stderr_has("warning").stderr_has(what);
        kiln.run(["run", "app", "cat", "/one"]).succeeds().stdout_is("one\n");
    };
    fs::write(&index, "no JSON").expect("an index");
    builds_by_itself("malformed");
    fs::write(&index, &before).expect("an index");
    // Each blob once without its bytes, and once with others.
    for entry in
        fs::read_dir(machines.cache().join("blobs/sha256")).expect("blobs").map(|entry| entry.expect("a blob").path())
    {
        let bytes = fs::read(&entry).expect("a blob");
        let mut other = bytes.clone();
        other[bytes.len() / 2] ^= 1;
        fs::write(&entry, other).expect("a blob");
        builds_by_itself("cache");
        fs::remove_file(&entry).expect("a blob");
        builds_by_itself("cache");
        fs::write(&entry, bytes).expect("a blob");
    }
}

#[test]
fn a_record_that_lies_of_its_layer_is_not_believed() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one > /one\n") else { return };
    machines.export();
    // The same records, with the layer of another step below the diff id and the digest of this one.
    let other = Machines::new("FROM base\nRUN echo two > /two\n").expect("as before");
    other.export();
    let (mut manifest, foreign) = (manifest(&machines.cache()), manifest(&other.cache()));
    manifest["layers"][0]["blob"] = foreign["layers"][0]["blob"].clone();
    copy_blobs(&other.cache(), &machines.cache());
    replace(&machines.cache(), &manifest);
    let ran = machines.import();
    ran.stderr_has("2 steps ran").stderr_has("unpacks to");
    machines.runner.run(["run", "app", "cat", "/one"]).succeeds().stdout_is("one\n");
}

#[test]
fn a_chain_of_caches_is_one() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one\nCOPY main /main\n") else { return };
    machines.export();
    let branch = machines.laptop.path("branch");
    let to = format!("--cache-to=type=local,dest={},mode=max", branch.display());
    machines.laptop.write("main", "branch\n");
    machines.laptop.write("Dockerfile", "FROM base\nRUN echo two\nCOPY main /main\n");
    machines.laptop.build([&to]).succeeds();
    let from = format!("--cache-from=type=local,src={}", branch.display());
    let missing = format!("--cache-from=type=local,src={}", machines.laptop.path("none").display());
    let dockerfile = "FROM base AS one\nRUN echo one\nFROM base\nRUN echo two\nCOPY --from=one /bin/sh /sh\n";
    machines.runner.write("Dockerfile", dockerfile);
    let ran = machines.runner.build([&missing, &from, &machines.from()]);
    ran.succeeds().cached_from("RUN echo one", "/cache`").cached_from("RUN echo two", "/branch`");
    ran.stderr_has("there is no cache yet").stderr_lacks("warning");
}

#[test]
fn the_smaller_mode_has_the_steps_of_the_image() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let to = format!("--cache-to=type=local,dest={}", machines.cache().display());
    machines.laptop.build([&to]).succeeds();
    let ran = machines.import();
    ran.cached_from("RUN echo final", "directory").executed("RUN cat main").cached_from("RUN echo end", "directory");
}

#[test]
fn a_failed_build_leaves_the_old_cache() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one\nCOPY main /main\n") else { return };
    machines.export();
    let before = fs::read(machines.cache().join("index.json")).expect("an index");
    machines.laptop.write("Dockerfile", "FROM base\nRUN echo two\nRUN exit 3\n");
    machines.laptop.build([&machines.to("")]).exits(1);
    assert_eq!(fs::read(machines.cache().join("index.json")).expect("an index"), before);
    machines.import().cached_from("RUN echo one", "directory");
}

#[test]
fn an_export_that_fails_fails_the_build_unless_it_may() {
    let Some(machines) = Machines::new("FROM base\nRUN echo one\n") else { return };
    fs::write(machines.cache(), "a file where a directory should be").expect("a file");
    machines.laptop.build([&machines.to("")]).exits(1).stderr_has("cache");
    let ran = machines.laptop.build([&machines.to(",ignore-error=true")]);
    ran.succeeds().stderr_has("warning").stderr_has("the cache was not exported");
}

#[test]
fn a_second_export_sends_no_layer_again() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let first = machines.export();
    let sent = |ran: &Ran| {
        let line = ran.stderr.lines().find_map(|line| line.split("sent ").nth(1)).expect("a summary").to_owned();
        line.split(' ').next().and_then(|bytes| bytes.parse::<u64>().ok()).expect("bytes")
    };
    assert!(sent(&first) > 1000, "{first}");
    // From a machine that never had the layers of the stage before.
    machines.runner.write("main", "two\n");
    let ran = machines.runner.build(["-t", "app", &machines.from(), &machines.to("")]);
    ran.succeeds().cached_from("RUN echo download", "directory").executed("RUN cat main");
    let third = Kiln::for_builds().expect("as before");
    third.write("Dockerfile", DOCKERFILE).write("go.mod", "module x\n").write("main", "two\n");
    third.build([&machines.from()]).succeeds().cached_from("RUN cat main", "directory");
    assert!(sent(&ran) < 3 * sent(&first), "{ran}");
}

/// The manifest of a cache in a directory.
fn manifest(cache: &Path) -> Value {
    let blobs = fs::read_dir(cache.join("blobs/sha256")).expect("blobs").flatten();
    let documents = blobs.filter_map(|entry| serde_json::from_slice::<Value>(&fs::read(entry.path()).ok()?).ok());
    documents.into_iter().find(|document| document.get("records").is_some()).expect("a manifest")
}

fn copy_blobs(from: &Path, to: &Path) {
    for entry in fs::read_dir(from.join("blobs/sha256")).expect("blobs").flatten() {
        fs::copy(entry.path(), to.join("blobs/sha256").join(entry.file_name())).expect("a copy");
    }
}

/// Makes a cache hold another manifest, with all digests right.
fn replace(cache: &Path, manifest: &Value) {
    let put = |document: &Value| {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::of_bytes(&bytes);
        fs::write(cache.join("blobs/sha256").join(digest.hex()), &bytes).expect("a blob");
        (digest.to_string(), bytes.len())
    };
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).expect("a document")).expect("JSON");
    let mut index = read(&cache.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").replace("sha256:", "");
    let mut image = read(&cache.join("blobs/sha256").join(digest));
    let (digest, size) = put(manifest);
    (image["config"]["digest"], image["config"]["size"]) = (digest.into(), size.into());
    let (digest, size) = put(&image);
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = (digest.into(), size.into());
    fs::write(cache.join("index.json"), index.to_string()).expect("an index");
}
