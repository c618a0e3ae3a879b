//! `kiln images`, `rmi`, `du` and `prune`.

use crate::support::Kiln;
use serde_json::Value;

fn two_images() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write("Dockerfile", "FROM base\nRUN head -c 1000000 /dev/zero > /big\n");
    kiln.build(["-t", "app", "-t", "example.com/team/app:2"]).succeeds();
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --mount=type=cache,target=/c head -c 500000 /dev/zero > /c/cached; echo other > /other\n",
    );
    kiln.build(["-t", "other"]).succeeds();
    Some(kiln)
}

fn names(kiln: &Kiln) -> Vec<String> {
    let ran = kiln.run(["images", "--json"]);
    ran.succeeds();
    let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
    ran.stdout().lines().map(name).collect()
}

#[test]
fn listing() {
    let Some(kiln) = two_images() else { return };
    let ran = kiln.run(["images"]);
    ran.succeeds().stdout_has("app:latest").stdout_has("example.com/team/app:2").stdout_has(" ago");
    assert_eq!(
        names(&kiln),
        ["docker.io/library/app:latest", "docker.io/library/other:latest", "example.com/team/app:2"]
    );
    let line = kiln.run(["images", "--json"]).stdout();
    let image: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert!(image["size"].as_u64().unwrap() > 1_000_000, "{image}");
    assert!(image["id"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn an_empty_store() {
    let kiln = Kiln::new();
    kiln.run(["images"]).succeeds().stdout_is("NAME   ID   PLATFORM   CREATED   SIZE\n");
    kiln.run(["du"]).succeeds().stdout_has("total: 0B");
    kiln.run(["prune", "--all", "--force"]).succeeds().stdout_is("nothing to remove\n");
    kiln.run(["rmi", "nothing"]).exits(1).stderr_has("`nothing`").stderr_has("hint: `kiln images`");
}

#[test]
fn removing() {
    let Some(kiln) = two_images() else { return };
    kiln.run(["rmi", "app"]).succeeds().stdout_has("app:latest");
    assert_eq!(names(&kiln), ["docker.io/library/other:latest", "example.com/team/app:2"]);
    kiln.run(["rmi", "app"]).exits(1);
    let id = kiln.run(["images", "-q"]).stdout().lines().last().unwrap().to_owned();
    kiln.run(["rmi", &id]).succeeds();
    assert_eq!(names(&kiln), ["docker.io/library/other:latest"]);
    // The build is still cached, since nothing was pruned.
    kiln.write("Dockerfile", "FROM base\nRUN head -c 1000000 /dev/zero > /big\n");
    kiln.build(["-t", "app"]).succeeds().cached("RUN head");
}

#[test]
fn a_name_moves_to_the_next_build() {
    let Some(kiln) = two_images() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo new\n");
    kiln.build(["-t", "app"]).succeeds();
    assert_eq!(names(&kiln).iter().filter(|name| name.ends_with("/app:latest")).count(), 1);
}

#[test]
fn disk_usage() {
    let Some(kiln) = two_images() else { return };
    kiln.run(["du"]).succeeds().stdout_has("layers").stdout_has("cache mounts").stdout_has("total: ");
    kiln.run(["du", "--verbose"]).succeeds().stdout_has("app:latest").stdout_has("/c");
    let json: Value = serde_json::from_slice(&kiln.run(["du", "--json"]).stdout).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let mount = rows.iter().find(|row| row["kind"] == "cache mount").expect("a cache mount");
    assert!(mount["size"].as_u64().unwrap() >= 500_000, "{mount}");
    assert!(json["total"].as_u64().unwrap() > 1_500_000);
}

#[test]
fn pruning() {
    let Some(kiln) = two_images() else { return };
    kiln.run(["rmi", "app", "example.com/team/app:2"]).succeeds();
    kiln.run(["prune", "--force"]).succeeds().stdout_has("1 layer");
    kiln.write("Dockerfile", "FROM base\nRUN head -c 1000000 /dev/zero > /big\n");
    kiln.build(["-t", "app"]).succeeds().executed("RUN head");
    // Images and cache mounts stay.
    kiln.run(["run", "other", "cat", "/other"]).succeeds().stdout_is("other\n");
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,target=/c ls /c\n");
    kiln.build::<&str>([]).succeeds().logs("cached");

    kiln.run(["prune", "--all", "--force"]).succeeds().stdout_has("cache mount");
    kiln.run(["run", "other", "cat", "/other"]).succeeds().stdout_is("other\n");
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,target=/c ls /c; echo again\n");
    let ran = kiln.build::<&str>([]);
    ran.succeeds();
    assert!(!ran.logged("cached"), "{ran}");
    // An empty store is as good as a new one.
    kiln.run(["rmi", "app", "other"]).succeeds();
    kiln.run(["prune", "--all", "--force"]).succeeds();
    kiln.build(["-t", "app"]).succeeds();
}

#[test]
fn prune_spares_what_it_is_told_to() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,target=/c cat /c/x || echo made > /c/x\n");
    kiln.build::<&str>([]).succeeds();
    kiln.run(["prune", "--all", "--force", "--filter", "until=24h"]).succeeds().stdout_is("nothing to remove\n");
    kiln.build::<&str>([]).succeeds().cached("RUN");
    kiln.run(["prune", "--all", "--force", "--max-used-space", "1g"]).succeeds();
    kiln.build::<&str>([]).succeeds().cached("RUN");
    let pruned = kiln.run(["prune", "--all", "--force", "--keep-mounts"]).stdout();
    assert!(pruned.contains("removed") && !pruned.contains("cache mount"), "{pruned}");
    kiln.build::<&str>([]).succeeds().logs("made");
    kiln.run(["prune", "-a", "-f", "--keep-storage=0", "--filter=unused-for=0s"]).succeeds();
    kiln.build::<&str>([]).succeeds();
    let du = kiln.run(["images", "--json"]).stdout();
    assert!(du.contains("\"name\":null"), "{du}");
}

#[test]
fn a_limit_that_is_not_reached_removes_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo unnamed > /unnamed\n");
    kiln.build::<&str>([]).succeeds();
    kiln.run(["prune", "--force", "--max-used-space", "100g"]).succeeds();
    assert_eq!(kiln.run(["images", "--quiet"]).stdout().lines().count(), 1);
    kiln.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    kiln.build(["--platform", "linux/amd64,linux/arm64"]).succeeds();
    kiln.run(["prune", "--force", "--max-used-space", "1"]).succeeds();
    assert_eq!(kiln.run(["images", "--quiet"]).stdout(), "");
}
