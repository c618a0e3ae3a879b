//! Caches in the configs of images.

use super::{DOCKERFILE, Machines};
use crate::docker_registry::{DockerRegistry, Setup};
use crate::support::Kiln;
use serde_json::Value;

#[test]
fn an_image_carries_the_steps_of_its_layers() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let name = format!("{}/team/app:1", registry.address());
    let plain = format!("{}/team/app:plain", registry.address());
    machines.laptop.build(["-t", &plain, "--push"]).succeeds();
    machines.laptop.build(["-t", &name, "--push", "--cache-to=type=inline"]).succeeds();
    let from = format!("--cache-from={name}");
    // The image is not sacrificed to its cache.
    let ran = machines.runner.run(["cache", "gc", &name, "--older-than", "0s"]);
    ran.exits(4).stderr_has("which is an image with its own, is not supported");
    let ran = machines.runner.build(["-t", &name, "--cache-to=type=inline", &from]);
    ran.succeeds().cached_from("RUN echo final", "registry").cached_from("RUN echo end", "registry");
    ran.executed("RUN cat main");
    // The same steps give the same image, here and there, now and later.
    let id = |kiln: &Kiln, name: &str| {
        let ran = kiln.run(["inspect", "--format=json", name]);
        let images: Value = serde_json::from_str(&ran.succeeds().stdout()).expect("JSON");
        images[0]["platforms"][0]["id"].clone()
    };
    assert_eq!(id(&machines.runner, &name), id(&machines.laptop, &name));
    assert_ne!(id(&machines.laptop, &plain), id(&machines.laptop, &name));
    // An image without one is no cache, and no reason to complain.
    let third = Kiln::for_builds().expect("as before");
    third.write("Dockerfile", "FROM base\nRUN echo final > /final\n");
    let ran = third.build([format!("--cache-from={plain}")]);
    ran.succeeds().stderr_has("there is no cache yet").stderr_lacks("warning").executed("RUN echo final");
    // Who builds on the image does not hand its cache on.
    third.write("Dockerfile", format!("FROM {name}\nRUN echo more\n"));
    third.build(["-t", "more"]).succeeds();
    let archive = third.path("more");
    third.build([format!("--output=type=oci,tar=false,dest={}", archive.display())]).succeeds();
    for blob in std::fs::read_dir(archive.join("blobs/sha256")).expect("blobs").flatten() {
        let bytes = std::fs::read(blob.path()).expect("a blob");
        assert!(!String::from_utf8_lossy(&bytes).contains("kiln.cache.v1"));
    }
}

#[test]
fn an_index_carries_those_of_all_its_images() {
    let Some(machines) = Machines::new("FROM scratch\nARG TARGETARCH\nCOPY main /main-$TARGETARCH\n") else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let name = format!("{}/team/app:all", registry.address());
    let platforms = "--platform=linux/amd64,linux/arm64";
    machines.laptop.build(["-t", &name, "--push", "--cache-to=type=inline", platforms]).succeeds();
    let ran = machines.runner.build(["-t", "app", platforms, &format!("--cache-from={name}")]);
    ran.succeeds().stderr_lacks("warning");
    ran.cached_from("linux/amd64 1/1] COPY main", "registry").cached_from("linux/arm64 1/1] COPY main", "registry");
}

#[test]
fn what_fits_into_no_image_is_refused() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    for (attribute, expected) in
        [("mode=max", "`mode=max`"), ("mounts=all", "a cache mount"), ("compression=zstd", "a compression of its own")]
    {
        let ran = machines.laptop.build([format!("--cache-to=type=inline,{attribute}")]);
        ran.exits(1).stderr_has("an inline cache cannot have").stderr_has(expected);
    }
    let out = machines.laptop.path("out");
    let ran = machines.laptop.build(["--cache-to=type=inline", &format!("--output=type=local,dest={}", out.display())]);
    ran.succeeds().stderr_has("the inline cache is nowhere");
    machines.laptop.build(["--cache-from=type=inline"]).exits(4).stderr_has("type=registry,ref=IMAGE");
}
