//! What is told of cache mounts, and how they are emptied: `kiln cache`, `--no-cache-mounts`.

use crate::support::Kiln;
use serde_json::Value;

const DOCKERFILE: &str =
    "FROM base\nARG N\nRUN --mount=type=cache,id=c,target=/c echo x >> /c/log && echo lines $(wc -l < /c/log)\n";

fn build(kiln: &Kiln, arguments: &[&str]) -> crate::support::Ran {
    kiln.write("Dockerfile", DOCKERFILE);
    kiln.build(arguments)
}

fn list(kiln: &Kiln) -> Vec<Value> {
    let ran = kiln.run(["cache", "ls", "--json"]);
    ran.succeeds();
    ran.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn uses_and_users_are_told() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, &["--build-arg", "N=1"]).succeeds().logs("lines 1");
    build(&kiln, &["--build-arg", "N=2"]).succeeds().logs("lines 2");
    let listed = list(&kiln);
    build(&kiln, &["--build-arg", "N=2"]).succeeds().cached("RUN");
    assert_eq!(list(&kiln), listed, "a cached build writes nothing");
    let [cache] = &listed[..] else { panic!("one cache: {listed:?}") };
    assert_eq!((&cache["name"], &cache["uses"], &cache["hits"]), (&"c".into(), &2.into(), &1.into()));
    let steps = cache["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 1, "{steps:?}");
    let step = steps[0].as_str().expect("a step");
    assert!(step.contains("Dockerfile:3 ") && step.contains("RUN --mount=type=cache,id=c"), "{step}");
    kiln.run(["cache", "ls"]).succeeds().stdout_has("1/2").stdout_has("Dockerfile:3");
    kiln.run(["du", "-v"]).succeeds().stdout_has("cache mount");
}

#[test]
fn caches_are_removed_by_id_and_name() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, &[]).succeeds().logs("lines 1");
    let id = list(&kiln)[0]["id"].as_str().expect("an id").to_owned();
    kiln.run(["cache", "rm", &id[..12]]).succeeds().stdout_has("removed 1 cache mount");
    assert!(list(&kiln).is_empty());
    build(&kiln, &["--no-cache"]).succeeds().logs("lines 1");
    kiln.run(["cache", "rm", "c"]).succeeds();
    build(&kiln, &["--no-cache"]).succeeds().logs("lines 1");
    kiln.run(["cache", "rm", "--all", "--force"]).succeeds();
    kiln.run(["cache", "rm", "--all", "--force"]).succeeds().stdout_has("nothing to remove");
}

#[test]
fn running_again_keeps_caches_unless_told() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, &[]).succeeds().logs("lines 1");
    build(&kiln, &["--no-cache"]).succeeds().logs("lines 2");
    build(&kiln, &["--no-cache", "--no-cache-mounts"]).succeeds().logs("lines 1");
    // One cache that two steps use is emptied once.
    kiln.write(
        "Dockerfile",
        format!("{DOCKERFILE}{}", DOCKERFILE.lines().last().expect("a step").replace("x >>", "y >>")),
    );
    kiln.build(["--no-cache", "--no-cache-mounts"]).succeeds().logs("lines 1").logs("lines 2");
}

#[test]
fn an_explicit_cache_is_never_an_automatic_one() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,id=auto/x,target=/c touch /c/f\n");
    kiln.build::<&str>([]).succeeds();
    assert_eq!(list(&kiln)[0]["name"], "./auto/x");
}
