//! Cache mounts that travel with a cache.

use super::{MOUNTED, Machines, published, sent};
use crate::support::Kiln;
use std::fs;

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
