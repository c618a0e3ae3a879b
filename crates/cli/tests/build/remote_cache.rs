//! Builds that go on from what another machine has left in a cache: two stores that share nothing but a directory, or a
//! registry.

use crate::docker_registry::{DockerRegistry, Setup};
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
    let (mut manifest, foreign) = (published(&machines.cache()), published(&other.cache()));
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

/// A step with a cache mount, after one that changes.
const MOUNTED: &str = "FROM base AS build\nCOPY main /main\n\
                       RUN --mount=type=cache,id=things,target=/c ls /c; cat /main >> /c/log; cat /c/log; stat -c %Y-%a /c/log\n\
                       RUN --mount=type=cache,id=others,target=/d,uid=1000,gid=1000,mode=700 stat -c %u:%g:%a /d; date > /d/d; cat /main\n\
                       FROM base\nRUN echo end\nCOPY --from=build /main /main\n";

#[test]
fn cache_mounts_travel() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export().logs("one");
    machines.runner.write("main", "two\n");
    let ran = machines.import();
    ran.logs("log").logs("one").logs("two").logs("1000:1000:700").stderr_has("importing cache mount `things`");
    // What is here goes on from what is here.
    machines.runner.write("main", "three\n");
    machines.import().logs("one").logs("two").logs("three").stderr_lacks("importing cache mount");
    // The mount of a machine that never ran its step is handed on, to another place as well.
    let third = Kiln::for_builds().expect("as before");
    third.write("Dockerfile", MOUNTED).write("go.mod", "module x\n").write("main", "one\n");
    let (other, from) = (third.path("other"), machines.from());
    let to = format!("--cache-to=type=local,dest={},mode=max", other.display());
    third.build([&from, &to]).succeeds().cached_from("RUN --mount=type=cache,id=things", "directory");
    assert_eq!(third.run(["cache", "ls", "--json"]).succeeds().stdout(), "");
    fs::remove_dir_all(machines.cache()).expect("the cache");
    let fourth = Kiln::for_builds().expect("as before");
    fourth.write("Dockerfile", MOUNTED).write("main", "four\n");
    let ran = fourth.build([format!("--cache-from=type=local,src={}", other.display())]);
    ran.succeeds().logs("one").logs("four");
}

#[test]
fn which_cache_mounts_travel() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.laptop.write("unused/Dockerfile", "FROM base\nRUN --mount=type=cache,id=unused,target=/u touch /u/u\n");
    let unused = machines.laptop.context().join("unused");
    let base = machines.laptop.base();
    machines.laptop.run(["build", "--build-context", &base, unused.to_str().expect("a path")]).succeeds();
    for (attribute, expected) in [
        ("", &["others|700 1000:1000", "things"][..]),
        (",mounts=none", &[]),
        (",mounts=all", &["others|700 1000:1000", "things", "unused"]),
        (",mounts=id=unused", &["unused"]),
    ] {
        machines.laptop.build([&machines.to(attribute)]).succeeds();
        let document = published(&machines.cache());
        let mounts = document["mounts"].as_array().expect("mounts");
        assert_eq!(mounts.iter().map(|mount| mount["key"].as_str().expect("a key")).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_broken_cache_mount_is_a_warning_and_an_empty_mount() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let document = published(&machines.cache());
    let things = &document["mounts"][1];
    for blob in [&things["index"], &things["packs"][0]] {
        let hex = blob["digest"].as_str().expect("a digest").replace("sha256:", "");
        fs::write(machines.cache().join("blobs/sha256").join(hex), "other bytes").expect("a blob");
        let runner = Kiln::for_builds().expect("as before");
        runner.write("Dockerfile", MOUNTED).write("main", "two\n");
        let ran = runner.build([machines.from()]);
        ran.succeeds().stderr_has("the cache mount `things` from").logs("two");
        assert!(!ran.logged("one"), "{ran}");
    }
}

#[test]
fn a_second_export_of_a_cache_mount_sends_what_changed() {
    let dockerfile = "FROM base\nCOPY main /main\n\
                      RUN --mount=type=cache,target=/c test -e /c/big || head -c 3000000 /dev/urandom > /c/big; cp /main /c/small\n";
    let Some(machines) = Machines::new(dockerfile) else { return };
    let first = machines.laptop.build([machines.to("")]);
    first.succeeds();
    assert!(sent(&first) > 3_000_000, "{first}");
    machines.laptop.write("main", "two\n");
    let second = machines.laptop.build([machines.to("")]);
    second.succeeds();
    assert!(sent(&second) < 100_000, "{second}");
    // So does one by a machine that got the mount from there.
    machines.runner.write("main", "three\n");
    let third = machines.runner.build([machines.from(), machines.to("")]);
    third.succeeds().stderr_has("importing cache mount");
    assert!(sent(&third) < 100_000, "{third}");
}

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

#[test]
fn through_a_registry() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let reference = format!("{}/team/cache:main", registry.address());
    machines.laptop.build([format!("--cache-to=type=registry,ref={reference},mode=max")]).succeeds();
    machines.runner.write("main", "two\n");
    let from = format!("--cache-from={reference}");
    let ran = machines.runner.build([&from]);
    ran.succeeds().cached_from("RUN echo end", &reference).logs("one").logs("two");
    let missing = format!("--cache-from={}/team/cache:none", registry.address());
    machines.runner.write("main", "three\n");
    machines.runner.build([&missing]).succeeds().stderr_has("there is no cache yet").stderr_lacks("warning");
}

/// The bytes that an export says it sent.
fn sent(ran: &Ran) -> u64 {
    let line = ran.stderr.lines().find_map(|line| line.split(" sent ").nth(1)).expect("a summary");
    line.split(' ').next().and_then(|bytes| bytes.parse().ok()).expect("bytes")
}

/// The manifest that a cache in a directory has now.
fn published(cache: &Path) -> Value {
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).expect("a document")).expect("JSON");
    let blob = |descriptor: &Value| {
        let hex = descriptor["digest"].as_str().expect("a digest").replace("sha256:", "");
        read(&cache.join("blobs/sha256").join(hex))
    };
    blob(&blob(&read(&cache.join("index.json"))["manifests"][0])["config"])
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
