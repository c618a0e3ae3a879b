//! Exports whose sources or whose old cache are damaged, lost or out of reach: what can be had goes on, what is lost is told and made
//! good, and nothing that others count on disappears.

use super::{MOUNTED, Machines, published};
use crate::docker_registry::{DockerRegistry, Setup};
use crate::faulty_proxy::{Fault, FaultyProxy};
use crate::moto::{BUCKET, Moto};
use crate::support::Kiln;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The file of a blob.
fn file(cache: &Path, blob: &Value) -> PathBuf {
    cache.join("blobs/sha256").join(blob["digest"].as_str().expect("a digest").replace("sha256:", ""))
}

/// Other bytes, as many.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("a blob");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs/sha256")).expect("a directory");
    for name in ["index.json", "oci-layout"] {
        fs::copy(from.join(name), to.join(name)).expect("a copy");
    }
    for entry in fs::read_dir(from.join("blobs/sha256")).expect("blobs").flatten() {
        fs::copy(entry.path(), to.join("blobs/sha256").join(entry.file_name())).expect("a copy");
    }
}

fn third(dockerfile: &str, main: &str) -> Kiln {
    let kiln = Kiln::for_builds().expect("as before");
    kiln.write("Dockerfile", dockerfile).write("go.mod", "module x\n").write("main", main);
    kiln
}

fn mounts(document: &Value) -> Vec<&str> {
    document["mounts"].as_array().expect("mounts").iter().map(|mount| mount["key"].as_str().expect("a key")).collect()
}

/// Two layers that are larger than the others, and that no image needs.
const UNNEEDED: &str = "FROM base AS build\nRUN seq 1 9000 > /a\nRUN seq 1 20000 > /b\nCOPY main /main\n\
                        FROM base\nRUN echo final > /final\nCOPY --from=build /main /app\n";

#[test]
fn a_layer_that_another_cache_does_not_give_is_left_out() {
    let Some(machines) = Machines::new(UNNEEDED) else { return };
    machines.export();
    let mut layers = published(&machines.cache())["layers"].as_array().expect("layers").clone();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer["blob"]["size"].as_u64()));
    let other = machines.runner.path("other");
    let to = format!("--cache-to=type=local,dest={},mode=max", other.display());
    damage(&file(&machines.cache(), &layers[0]["blob"]));
    fs::remove_file(file(&machines.cache(), &layers[1]["blob"])).expect("a blob");
    // Nothing needs either but the export.
    let ran = machines.runner.build([&machines.from(), &to]);
    ran.succeeds().stderr_has("was left out of the cache: what directory").stderr_has("has no blob `sha256:");
    let mut left: Vec<_> = published(&other)["layers"].as_array().expect("layers").clone();
    left.sort_by_key(|layer| std::cmp::Reverse(layer["blob"]["size"].as_u64()));
    assert_eq!(left.len(), layers.len() - 2);
    assert!(layers[..2].iter().all(|layer| !left.contains(layer)));
    // No step is there whose layer is not.
    let third = third(UNNEEDED, "one\n");
    let ran = third.build(["-t", "app", &format!("--cache-from=type=local,src={}", other.display())]);
    ran.succeeds().stderr_lacks("warning").executed("RUN seq 1 9000").cached_from("RUN echo final", "directory");
    third.run(["run", "app", "cat", "/app", "/final"]).succeeds().stdout_is("one\nfinal\n");
}

#[test]
fn a_cache_mount_that_the_place_has_lost_is_taken_from_another_cache_or_left_out() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let other = machines.laptop.path("other");
    copy(&machines.cache(), &other);
    let things = published(&machines.cache())["mounts"][1].clone();
    assert_eq!(things["key"], "things");
    let pack = file(&machines.cache(), &things["packs"][0]);
    fs::remove_file(&pack).expect("a pack");
    // The runner has neither mount, and needs none.
    let also = format!("--cache-from=type=local,src={}", other.display());
    let ran = machines.runner.build([&also, &machines.to("")]);
    ran.succeeds().stderr_lacks("warning");
    assert!(pack.exists() && mounts(&published(&machines.cache())).len() == 2);
    fs::remove_file(&pack).expect("a pack");
    let ran = machines.runner.build([&machines.from(), &machines.to("")]);
    ran.succeeds()
        .stderr_has("the cache mount `things` was left out of the cache: directory")
        .stderr_has("has lost blob");
    let left = published(&machines.cache());
    assert!(mounts(&left).len() == 1 && mounts(&left)[0].starts_with("others"), "{left}");
    machines.runner.build([&machines.from(), &machines.to("")]).succeeds().stderr_lacks("warning");
}

/// A mount that holds the same on each machine, times included.
const SAME: &str = "FROM base\nRUN echo one > /one\nCOPY main /main\n\
                    RUN --mount=type=cache,id=things,target=/c test -e /c/big && echo there || { seq 1 30000 > /c/big; touch -d @1 /c/big /c; }; cat /main\n";

#[test]
fn what_turned_out_to_be_broken_is_sent_again() {
    let Some(machines) = Machines::new(SAME) else { return };
    machines.export();
    let document = published(&machines.cache());
    let pack = file(&machines.cache(), &document["mounts"][0]["packs"][0]);
    let whole = fs::read(&pack).expect("a pack");
    damage(&pack);
    machines.runner.write("main", "two\n");
    let ran = machines.runner.build([&machines.from(), &machines.to("")]);
    ran.succeeds().stderr_has("the cache mount `things` from directory").logs("two");
    assert!(fs::read(&pack).expect("a pack") == whole, "the same pack, as it should be");
    let third = third(SAME, "three\n");
    third.build([&machines.from()]).succeeds().stderr_lacks("warning").logs("there");
}

#[test]
fn a_broken_layer_is_not_handed_on() {
    let Some(machines) = Machines::new(SAME) else { return };
    machines.export();
    for layer in published(&machines.cache())["layers"].as_array().expect("layers") {
        damage(&file(&machines.cache(), &layer["blob"]));
    }
    let ran = machines.runner.build(["-t", "app", &machines.from(), &machines.to("")]);
    ran.succeeds().stderr_has("a cached layer from directory").stderr_has("4 steps ran");
    let third = third(SAME, "one\n");
    third
        .build(["-t", "app", &machines.from()])
        .succeeds()
        .stderr_lacks("warning")
        .cached_from("RUN echo one", "directory");
    third.run(["run", "app", "cat", "/one"]).succeeds().stdout_is("one\n");
}

#[test]
fn an_old_cache_that_nobody_can_use_is_replaced() {
    let Some(machines) = Machines::new(SAME) else { return };
    machines.export();
    let index = machines.cache().join("index.json");
    let whole = fs::read(&index).expect("an index");
    fs::write(&index, &whole[..whole.len() / 2]).expect("an index");
    let aside = machines.cache().join("index.json.broken");
    let ran = machines.export();
    ran.stderr_has("a cache that cannot be used is replaced").stderr_has("malformed document");
    ran.stderr_has(&format!("an index that cannot be read was put aside as `{}`", aside.display()));
    machines.export().stderr_lacks("warning");
    machines.import().stderr_lacks("warning").cached_from("RUN echo one", "directory");
}

#[test]
fn who_may_only_write_to_a_registry_writes() {
    let Some(machines) = Machines::new(SAME) else { return };
    let Some(server) = DockerRegistry::start(Setup::default()) else { return };
    let proxy = FaultyProxy::start(server.address(), |line, _| match line {
        line if line.starts_with("GET ") && line.contains("/manifests/") => Fault::Status(403),
        _ => Fault::None,
    });
    let to = format!("--cache-to=type=registry,ref={}/cache:main", proxy.address());
    machines.laptop.build([&to]).succeeds().stderr_has("without the mounts that only it has").stderr_has("denied");
    let from = format!("--cache-from={}/cache:main", server.address());
    machines.runner.build([&from]).succeeds().stderr_lacks("warning").cached_from("RUN echo one", "/cache:main");
}

#[test]
fn an_old_cache_that_cannot_be_read_is_not_replaced() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    let Some(server) = Moto::start() else { return };
    let bucket = |address: &str| {
        format!(
            "type=s3,bucket={BUCKET},region=us-east-1,endpoint_url=http://{address},use_path_style=true,access_key_id=kiln,\
             secret_access_key=geheim"
        )
    };
    machines.laptop.build([format!("--cache-to={},mode=max", bucket(server.address()))]).succeeds();
    let list = || {
        let ran = machines.runner.run(["cache", "ls", "--from", &bucket(server.address())]);
        ran.succeeds().stdout_has("mount   things").stdout_has("mount   others");
    };
    list();
    // Everything goes well but reading what is there.
    let proxy = FaultyProxy::start(server.address(), |line, _| match line {
        line if line.starts_with("GET ") && line.contains("/manifests/kiln") => Fault::Status(403),
        _ => Fault::None,
    });
    let plain = "FROM base\nRUN echo two\n";
    machines.runner.write("Dockerfile", plain);
    let to = format!("--cache-to={},mounts=all", bucket(&proxy.address()));
    let ran = machines.runner.build([&to]);
    ran.exits(3).stderr_has("failed to read the cache that is there").stderr_has("hint: `ignore-error=true`");
    let ran = machines.runner.build([&format!("{to},ignore-error=true")]);
    ran.succeeds().stderr_has("the cache was not exported: failed to read the cache that is there");
    list();
    // A server that is only busy is asked again.
    let busy = FaultyProxy::start(server.address(), |_, before| match before {
        0 => Fault::Status(503),
        1 => Fault::CutResponse(30),
        _ => Fault::None,
    });
    machines.runner.build([format!("--cache-to={},mounts=all", bucket(&busy.address()))]).succeeds();
    list();
}

#[test]
fn collecting_drops_what_the_place_has_lost() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let document = published(&machines.cache());
    fs::remove_file(file(&machines.cache(), &document["mounts"][1]["packs"][0])).expect("a pack");
    fs::remove_file(file(&machines.cache(), &document["layers"][0]["blob"])).expect("a layer");
    let source = format!("type=local,src={}", machines.cache().display());
    let ran = machines.runner.run(["cache", "gc", &source]);
    ran.succeeds().stdout_has("dropped ").stdout_has(", 1 layer and 1 cache mount\n");
    machines.runner.run(["cache", "gc", &source]).succeeds().stdout_is("nothing to drop\n");
    machines.import().stderr_lacks("warning");
}
