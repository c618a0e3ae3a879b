//! Builds that go on from what another machine has left in a cache: two stores that share nothing but a directory, a registry or a
//! bucket.

mod broken;
mod commands;
mod exporting;
mod inline;
mod mounts;
mod places;
mod recipes;
mod writers;

use crate::support::{Kiln, Ran};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const DOCKERFILE: &str = "FROM base AS build\nWORKDIR /src\nCOPY go.mod .\nRUN echo download > /downloaded\nCOPY . .\n\
                          RUN cat main > /app && rm -rf /tmp\n\
                          FROM base\nRUN echo final > /final\nCOPY --from=build /app /app\nRUN echo end\n";

/// A step with a cache mount, after one that changes.
const MOUNTED: &str = "FROM base AS build\nCOPY main /main\n\
                       RUN --mount=type=cache,id=things,target=/c ls /c; cat /main >> /c/log; cat /c/log; stat -c %Y-%a /c/log\n\
                       RUN --mount=type=cache,id=others,target=/d,uid=1000,gid=1000,mode=700 stat -c %u:%g:%a /d; date > /d/d; cat /main\n\
                       FROM base\nRUN echo end\nCOPY --from=build /main /main\n";

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
