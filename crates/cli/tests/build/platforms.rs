//! `--platform`: images of other platforms, and indexes of several.

use crate::support::{Kiln, Ran, has_program, tar_entries};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const BOTH: &str = "--platform=linux/amd64,linux/arm64";

/// A build whose compiler runs on this machine and makes a file for each platform.
fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write("main.c", "int main;").write(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM base AS builder\nRUN echo tools > /tools\nARG TARGETOS TARGETARCH\nCOPY main.c .\n\
         RUN echo $TARGETOS $TARGETARCH $(cat tools) > /app\nFROM scratch\nCOPY --from=builder /app /\nCMD [\"/app\"]\n",
    );
    Some(kiln)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

fn blob(layout: &Path, digest: &Value) -> Value {
    json(&layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap()))
}

/// The platforms of the index in a layout, with the config of each.
#[track_caller]
fn platforms(layout: &Path) -> Vec<(Value, Value)> {
    let top = json(&layout.join("index.json"));
    let entry = &top["manifests"][0];
    assert_eq!(entry["mediaType"], "application/vnd.oci.image.index.v1+json", "{top:#}");
    let index = blob(layout, &entry["digest"]);
    let entries = index["manifests"].as_array().unwrap().iter();
    let config = |entry: &Value| blob(layout, &blob(layout, &entry["digest"])["config"]["digest"]);
    entries.map(|entry| (entry["platform"].clone(), config(entry))).collect()
}

#[test]
fn several_platforms_give_an_index() {
    let Some(kiln) = project() else { return };
    let layout = kiln.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let ran = kiln.build([BOTH, "-t", "app:v1", "-o", &output]);
    ran.succeeds();
    // What does not know its target runs once, what does once for each.
    assert_eq!(ran.stderr.matches("] RUN echo tools").count(), 1, "{ran}");
    ran.stderr_has("[linux/amd64 builder 2/4] RUN echo tools");
    for arch in ["amd64 builder 4/4] RUN echo linux amd64", "amd64->arm64 builder 4/4] RUN echo linux arm64"] {
        ran.stderr_has(&format!("[linux/{arch}"));
    }
    ran.stderr_has("[linux/arm64 stage-1 1/1] COPY --from=builder /app /");
    let platforms = platforms(&layout);
    assert_eq!(platforms.len(), 2);
    for ((platform, config), arch) in platforms.iter().zip(["amd64", "arm64"]) {
        assert_eq!(*platform, serde_json::json!({"architecture": arch, "os": "linux"}));
        assert_eq!(config["architecture"], arch);
        assert_eq!(config["config"]["Cmd"][0], "/app");
    }
    if has_program("skopeo") {
        let (from, to) = (format!("oci:{}:v1", layout.display()), format!("dir:{}", kiln.path("copy").display()));
        Ran::of(Command::new("skopeo").args(["--insecure-policy", "copy", "--all", &from, &to])).succeeds();
    }
    kiln.build([BOTH, "-t", "app:v1", "-o", &output]).succeeds().cached("RUN echo linux arm64");
}

#[test]
fn steps_for_other_platforms_are_cached_like_all_others() {
    let Some(kiln) = project() else { return };
    kiln.build([BOTH]).succeeds();
    kiln.build(["--platform=linux/arm64"]).succeeds().cached("RUN echo linux arm64").cached("RUN echo tools");
    kiln.write("main.c", "int main; int other;");
    let ran = kiln.build([BOTH]);
    ran.succeeds().cached("RUN echo tools").executed("COPY main.c");
    assert_eq!(ran.stderr.matches("why: main.c changed").count(), 1, "{ran}");
}

#[test]
fn files_go_to_a_directory_for_each_platform() {
    let Some(kiln) = project() else { return };
    let (out, archive) = (kiln.path("out"), kiln.path("out.tar"));
    let tar = format!("type=tar,dest={}", archive.display());
    kiln.build([BOTH, "-o", out.to_str().unwrap(), "-o", &tar]).succeeds();
    for arch in ["amd64", "arm64"] {
        let text = fs::read_to_string(out.join(format!("linux_{arch}/app"))).unwrap();
        assert_eq!(text, format!("linux {arch} tools\n"));
    }
    let entries = tar_entries(&archive);
    assert_eq!(
        entries.keys().collect::<Vec<_>>(),
        ["linux_amd64", "linux_amd64/app", "linux_arm64", "linux_arm64/app"]
    );
    // One platform has none, unless it is asked for.
    let one = kiln.path("one");
    kiln.build(["--platform=linux/arm64", "-o", one.to_str().unwrap()]).succeeds();
    assert_eq!(fs::read_to_string(one.join("app")).unwrap(), "linux arm64 tools\n");
    let split = kiln.path("split");
    let multi = ["--platform=linux/arm64", "--build-arg=BUILDKIT_MULTI_PLATFORM=1", "-o", split.to_str().unwrap()];
    kiln.build(multi).succeeds().stderr_has("[linux/arm64 stage-1 1/1]");
    assert!(split.join("linux_arm64/app").is_file());
}

#[test]
fn files_of_all_platforms_in_one_place() {
    let Some(kiln) = project() else { return };
    let local =
        |name: &str, split: bool| format!("type=local,platform-split={split},dest={}", kiln.path(name).display());
    let ran = kiln.build([BOTH, "-o", &local("clash", false)]);
    ran.exits(1).stderr_has("`/app` of `linux/amd64` would be overwritten with that of `linux/arm64`");
    kiln.build(["--platform=linux/arm64", "-o", &local("one", true)]).succeeds();
    assert!(kiln.path("one/linux_arm64/app").is_file());
    kiln.write(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM base AS builder\nARG TARGETARCH\nRUN mkdir -p /out/bin && echo $TARGETARCH > /out/bin/$TARGETARCH\n\
         FROM scratch\nCOPY --from=builder /out /\n",
    );
    let archive = kiln.path("out.tar");
    let tar = format!("type=tar,platform-split=false,dest={}", archive.display());
    kiln.build([BOTH, "-o", &local("all", false), "-o", &tar]).succeeds();
    assert_eq!(fs::read_to_string(kiln.path("all/bin/arm64")).unwrap(), "arm64\n");
    let entries = tar_entries(&archive);
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["bin", "bin/amd64", "bin/arm64"]);
}

#[test]
fn an_index_in_the_store() {
    let Some(kiln) = project() else { return };
    let (id, metadata) = (kiln.path("id"), kiln.path("metadata.json"));
    let files = ["--iidfile", id.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()];
    kiln.write("Dockerfile", "FROM base\nARG TARGETARCH\nCOPY main.c /$TARGETARCH\n");
    kiln.build(["-t", "app", BOTH].iter().chain(&files)).succeeds();
    let rows = || -> Vec<(String, String)> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = kiln.run(["images", "--json"]).succeeds().stdout();
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| (text(&row, "name"), text(&row, "platform"))).collect()
    };
    let app = |arch: &str| ("docker.io/library/app:latest".to_owned(), format!("linux/{arch}"));
    assert_eq!(rows(), [app("amd64"), app("arm64")]);
    let id = fs::read_to_string(&id).unwrap();
    let metadata = json(&metadata);
    assert_eq!(metadata["containerimage.digest"], *id, "{metadata:#}");
    assert_eq!(metadata["containerimage.descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert!(metadata.get("containerimage.config.digest").is_none(), "{metadata:#}");
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest");
    // The image of this machine's platform runs, by name and by the id of the whole.
    for image in ["app", &id] {
        kiln.run(["run", image, "ls", "/amd64"]).succeeds();
    }
    // It outlives a prune, and is a base for both platforms.
    kiln.run(["prune", "--all", "--force"]).succeeds();
    kiln.write("Dockerfile", "FROM app\nARG TARGETARCH\nCOPY --from=app $TARGETARCH /again\n");
    kiln.build([BOTH, "-t", "second"]).succeeds();
    // The name moves as a whole.
    kiln.build(["-t", "second"]).succeeds();
    assert_eq!(rows().len(), 3);
    kiln.run(["rmi", id.trim()]).succeeds();
    assert_eq!(rows().len(), 1);
}

#[test]
fn what_cannot_hold_an_index() {
    let Some(kiln) = project() else { return };
    let docker = format!("type=docker,dest={}", kiln.path("x.tar").display());
    let ran = kiln.build([BOTH, "-o", &docker]);
    ran.exits(1).stderr_has("`type=docker` cannot hold images of several platforms").stderr_has("hint: ");
    ran.stderr_lacks("RUN echo tools");
    kiln.build([BOTH, "--build-arg=BUILDKIT_MULTI_PLATFORM=perhaps"]).exits(1).stderr_has("is not a boolean");
    kiln.build(["--platform=linux/arm64", "-o", &docker]).succeeds();
    // The same platform twice is one.
    kiln.build(["--platform=linux/arm64", "--platform=linux/arm64/v8", "-o", &docker]).succeeds();
}

#[test]
fn base_images_of_the_platform_asked_for() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM scratch\nARG TARGETPLATFORM\nLABEL for=$TARGETPLATFORM\nCOPY Dockerfile /\n");
    let layout = kiln.path("many");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    kiln.build(["--platform=linux/386,linux/amd64/v2,linux/arm64,linux/arm/v6", "-o", &output]).succeeds();
    // As registries have it: what tells of an image stands beside it, for no platform.
    let mut top = json(&layout.join("index.json"));
    let mut index = blob(&layout, &top["manifests"][0]["digest"]);
    let mut provenance = index["manifests"][0].clone();
    provenance["platform"] = serde_json::json!({"os": "unknown", "architecture": "unknown"});
    index["manifests"].as_array_mut().unwrap().insert(0, provenance);
    let bytes = index.to_string().into_bytes();
    let digest = kiln_digest::Digest::of_bytes(&bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    top["manifests"][0]["digest"] = digest.to_string().into();
    top["manifests"][0]["size"] = bytes.len().into();
    fs::write(layout.join("index.json"), top.to_string()).unwrap();

    kiln.write("Dockerfile", "FROM many\nCOPY Dockerfile /second\n");
    let context = format!("--build-context=many=oci-layout://{}", layout.display());
    for (wanted, found) in [
        ("linux/386", "linux/386"),
        ("linux/amd64", "linux/386"),
        ("linux/amd64/v3", "linux/amd64/v2"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v6"),
        ("aarch64", "linux/arm64"),
    ] {
        let image = kiln.image([&context, "--platform", wanted]);
        assert_eq!(image.field("Labels")["for"], found, "{wanted}");
        let asked: Vec<&str> = wanted.split('/').collect();
        if let [_, architecture, ..] = asked[..] {
            assert_eq!(image.config["architecture"], architecture);
        }
    }
    for wanted in ["linux/arm/v5", "linux/s390x", "windows/amd64"] {
        kiln.build([&context, "--platform", wanted])
            .exits(1)
            .stderr_has(&format!("has no image for `{wanted}`"))
            .stderr_has("it has linux/386, linux/amd64/v2, linux/arm64, linux/arm/v6");
    }
}

#[test]
fn images_of_the_store_for_other_platforms() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM scratch\nARG TARGETPLATFORM\nLABEL for=$TARGETPLATFORM\nCOPY Dockerfile /\n");
    kiln.build(["--platform=linux/s390x", "-t", "example.test/one"]).succeeds();
    kiln.build(["--platform=linux/s390x,linux/arm/v6", "-t", "example.test/several"]).succeeds();
    // An image that has but one platform serves all, with a warning; an index says what it has.
    kiln.write("Dockerfile", "FROM example.test/one\nCOPY Dockerfile /second\n");
    kiln.build(["--platform=linux/arm/v7"]).succeeds().stderr_has("InvalidBaseImagePlatform");
    kiln.write("Dockerfile", "FROM example.test/several\nCOPY Dockerfile /second\n");
    assert_eq!(kiln.image(["--platform=linux/arm/v7"]).field("Labels")["for"], "linux/arm/v6");
    kiln.build(["--platform=linux/arm64"]).succeeds();
    kiln.build(["--platform=linux/riscv64"]).exits(1).stderr_has("it has linux/arm/v6, linux/s390x");
}
