//! `kiln cache export`, `import`, `ls --from` and `gc`.

use super::{MOUNTED, Machines, published};
use crate::docker_registry::{DockerRegistry, Setup};
use crate::support::{Kiln, Ran};
use serde_json::Value;
use std::fs;

impl Machines {
    /// Builds on the laptop, and exports its whole store.
    fn export_store(&self, more: &str) -> Ran {
        self.laptop.build(["-t", "app"]).succeeds();
        self.laptop.run(["cache", "export", &format!("type=local,dest={}{more}", self.cache().display())])
    }

    /// The cache as commands take it that read.
    fn source(&self) -> String {
        format!("type=local,src={}", self.cache().display())
    }

    fn on_runner(&self, arguments: &[&str]) -> Ran {
        self.runner.run([&["cache"], arguments].concat())
    }

    /// What `kiln cache ls --from` says of it.
    fn listed(&self) -> Vec<Value> {
        let ran = self.on_runner(&["ls", "--json", "--from", &self.source()]);
        ran.succeeds().stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

#[test]
fn a_store_goes_and_comes_as_a_whole() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export_store("").succeeds().stderr_has("exporting cache to directory").stderr_has("sent ");
    let imported = machines.on_runner(&["import", &machines.source()]);
    imported.succeeds().stdout_is("imported 5 steps and 2 cache mounts\n");
    // Nothing but the store is left to build from.
    let again = machines.on_runner(&["import", &machines.source()]);
    again.succeeds().stdout_is("imported 0 steps and 0 cache mounts, 7 here already\n");
    fs::remove_dir_all(machines.cache()).expect("the cache");
    let ran = machines.runner.build(["-t", "app"]);
    ran.succeeds().cached("RUN --mount=type=cache,id=things").cached("RUN echo end").cached("COPY --from=build");
    assert_eq!(Machines::image(&machines.runner), Machines::image(&machines.laptop));
    machines.runner.write("main", "two\n");
    // The mounts have their files, and their owners.
    machines.runner.build::<&str>([]).succeeds().logs("one").logs("two").logs("1000:1000:700");
    machines.on_runner(&["import", &machines.source()]).succeeds().stdout_is("there is no cache yet\n");
}

#[test]
fn what_is_exported_of_a_store_can_be_chosen() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    for (attribute, expected) in [(",mounts=none", 0), (",mounts=id=things", 1), ("", 2)] {
        machines.export_store(attribute).succeeds();
        assert_eq!(published(&machines.cache())["mounts"].as_array().expect("mounts").len(), expected);
    }
    let ran =
        machines.laptop.run(["cache", "export", "--quiet", &format!("type=local,dest={}", machines.cache().display())]);
    assert_eq!((ran.succeeds().stdout(), ran.stderr.as_str()), (String::new(), ""));
}

#[test]
fn a_remote_cache_is_listed() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let text = machines.on_runner(&["ls", "--from", &machines.source()]);
    text.succeeds().stdout_has("layer   sha256:").stdout_has("mount   things").stdout_has("5 steps, written ");
    let listed = machines.listed();
    let mounts: Vec<_> = listed.iter().filter(|line| line["type"] == "mount").collect();
    assert_eq!(mounts.len(), 2);
    assert!(mounts.iter().all(|mount| mount["size"].as_u64() > Some(0) && mount["stored"].as_u64() > Some(0)));
    let steps: u64 = listed.iter().filter_map(|line| line["steps"].as_u64()).sum();
    assert_eq!(steps, 5);
}

#[test]
fn what_is_old_or_too_much_is_dropped() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let gc = |arguments: &[&str]| machines.on_runner(&[&["gc", &machines.source()], arguments].concat());
    gc(&["--older-than", "1h", "--max-size", "1GB"]).succeeds().stdout_is("nothing to drop\n");
    let entries = machines.listed().len();
    let size: u64 = machines.listed().iter().filter_map(|line| line["stored"].as_u64()).sum();
    // Of what is used at the same time something goes, and not all.
    let ran = gc(&["--max-size", &(size - 1).to_string(), "--grace", "0s"]);
    ran.succeeds().stdout_has("dropped ").stdout_has("deleted ");
    let left = machines.listed();
    assert!(!left.is_empty() && left.len() < entries, "{ran}");
    assert!(left.iter().filter_map(|line| line["stored"].as_u64()).sum::<u64>() < size);
    // What is left can be used, and the rest is built again.
    machines.import().stderr_lacks("warning");
    gc(&["--older-than", "0s", "--grace", "0s"]).succeeds().stdout_has("dropped ").stdout_has("deleted ");
    assert!(machines.listed().is_empty());
    let blobs = fs::read_dir(machines.cache().join("blobs/sha256")).expect("blobs").count();
    assert_eq!(blobs, 3, "a manifest, a config and the records");
    machines.laptop.build([machines.to("")]).succeeds();
    let fresh = Kiln::for_builds().expect("as before");
    fresh.write("Dockerfile", MOUNTED).write("main", "one\n");
    fresh.build([machines.from()]).succeeds().stderr_lacks("warning").cached_from("RUN echo end", "directory");
}

#[test]
fn a_cache_in_a_registry_gets_smaller_and_its_blobs_are_the_registrys() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let reference = format!("{}/team/cache:main", registry.address());
    machines.laptop.build(["-t", "app"]).succeeds();
    machines.laptop.run(["cache", "export", &reference]).succeeds();
    machines.on_runner(&["ls", "--from", &reference]).succeeds().stdout_has("5 steps");
    machines.on_runner(&["import", &reference]).succeeds().stdout_has("imported 5 steps and 2 cache mounts");
    let ran = machines.on_runner(&["gc", "--older-than", "0s", &reference]);
    ran.succeeds().stdout_has("dropped 5 steps").stdout_has("when its owner collects garbage");
    machines.on_runner(&["ls", "--from", &reference]).succeeds().stdout_has("0 steps");
}

#[test]
fn a_damaged_cache_is_imported_as_far_as_it_goes() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    machines.export();
    let document = published(&machines.cache());
    for blob in [&document["layers"][0]["blob"], &document["mounts"][1]["index"]] {
        let hex = blob["digest"].as_str().expect("a digest").replace("sha256:", "");
        fs::write(machines.cache().join("blobs/sha256").join(hex), "other bytes").expect("a blob");
    }
    let ran = machines.on_runner(&["import", &machines.source()]);
    ran.succeeds().stderr_has("a cached layer from directory").stderr_has("the cache mount `things` from directory");
    ran.stdout_has("1 cache mount, ").stdout_has(" unusable");
    machines.runner.build(["-t", "app"]).succeeds();
    machines.runner.run(["run", "app", "cat", "/main"]).succeeds().stdout_is("one\n");
    // One that cannot be read at all is an error: there is nothing else to do.
    fs::write(machines.cache().join("index.json"), "no JSON").expect("an index");
    for command in ["import", "gc"] {
        machines.on_runner(&[command, &machines.source()]).exits(1).stderr_has("cannot be used");
    }
    machines.on_runner(&["ls", "--from", &machines.source()]).exits(1).stderr_has("cannot be used");
}

#[test]
fn misuse() {
    let kiln = Kiln::new();
    for (arguments, status, expected) in [
        (&["export"][..], 2, "needs <CACHE>"),
        (&["export", "type=local"], 2, "`dest`"),
        (&["export", "type=inline"], 4, "an inline cache"),
        (&["import", "type=local,dest=x"], 2, "`src`"),
        (&["import", "type=local,src=x,mode=max"], 2, "`mode`"),
        (&["gc", "type=local,src=x", "--older-than", "soon"], 2, "soon"),
        (&["gc", "type=local,src=x", "--max-size", "much"], 2, "much"),
        (
            &["gc", "type=local,src=x,digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"],
            1,
            "a digest cannot change",
        ),
        (&["ls", "--from", "type=nowhere"], 2, "nowhere"),
    ] {
        kiln.run([&["cache"], arguments].concat()).exits(status).stderr_has(expected);
    }
    kiln.run(["cache", "gc", "type=local,src=none"]).succeeds().stdout_is("there is no cache yet\n");
}
