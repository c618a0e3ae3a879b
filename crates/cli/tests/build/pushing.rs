//! `--push` and outputs to a registry: a real `docker-registry`, judged by `skopeo`.

use crate::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::faulty_proxy::{Fault, FaultyProxy};
use crate::support::{Kiln, Ran};
use serde_json::Value;
use std::fs;
use std::process::Command;

fn project() -> Option<(Kiln, DockerRegistry)> {
    let kiln = Kiln::for_builds()?;
    let registry = DockerRegistry::start(Setup::default())?;
    kiln.write("a", "a content").write("Dockerfile", "FROM base\nCOPY a /a\nRUN echo x > /x\nCMD [\"cat\", \"/a\"]\n");
    Some((kiln, registry))
}

/// What `skopeo inspect` says of an image, with everything verified on the way.
pub(crate) fn inspect(image: &str, arguments: &[&str]) -> Value {
    let source = format!("docker://{image}");
    let ran = Ran::of(Command::new("skopeo").args(["inspect", "--tls-verify=false"]).args(arguments).arg(source));
    ran.succeeds();
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Copies an image whole, so that every digest is verified.
#[track_caller]
fn copy(kiln: &Kiln, image: &str, name: &str) {
    let to = format!("dir:{}", kiln.path(name).display());
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false"]);
    Ran::of(command.arg(format!("docker://{image}")).arg(to)).succeeds();
}

fn layers(manifest: &Value) -> Vec<&str> {
    manifest["layers"].as_array().unwrap().iter().map(|layer| layer["mediaType"].as_str().unwrap()).collect()
}

#[test]
fn an_image_is_pushed_once() {
    let Some((kiln, registry)) = project() else { return };
    let proxy = FaultyProxy::start(registry.address(), |_, _| Fault::None);
    let (image, other) = (format!("{}/team/app:1", proxy.address()), format!("{}/team/app:2", proxy.address()));
    let metadata = kiln.path("metadata.json");
    let ran = kiln.build(["-t", &image, "-t", &other, "--push", "--metadata-file", metadata.to_str().unwrap()]);
    ran.succeeds().stderr_has("pushing sha256:");
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    for name in [&image, &other] {
        let inspected = inspect(name, &[]);
        assert_eq!(inspected["Digest"], metadata["containerimage.digest"]);
        assert_eq!(metadata["image.name"], format!("{image},{other}"));
    }
    copy(&kiln, &image, "copy");
    let config = inspect(&image, &["--config"]);
    assert_eq!(config["config"]["Cmd"][1], "/a");
    // It is in kiln's own store as well.
    kiln.run(["run", &image]).succeeds().stdout_is("a content");

    // What is there is not sent again, under whatever name.
    let before = proxy.uploaded();
    kiln.build(["-t", &image, "--push"]).succeeds();
    assert!(proxy.uploaded() - before < 4096, "{:#?}", proxy.requests());
    let third = format!("{}/team/app:3", proxy.address());
    kiln.write("a", "other content");
    let before = proxy.uploaded();
    kiln.build(["-t", &third, "-o", "type=registry"]).succeeds();
    assert!(proxy.uploaded() - before < 64_000, "{} bytes", proxy.uploaded() - before);
    assert_eq!(inspect(&image, &[])["Digest"], metadata["containerimage.digest"]);
}

#[test]
fn a_second_repository_takes_the_layers_from_the_first() {
    let Some((kiln, registry)) = project() else { return };
    let proxy = FaultyProxy::start(registry.address(), |_, _| Fault::None);
    let [one, two] = ["one", "two"].map(|name| format!("{}/team/{name}:1", proxy.address()));
    let ran = kiln.build(["-t", &one, "-t", &two, "--push"]);
    ran.succeeds();
    let manifest = inspect(&two, &["--raw"]);
    assert_eq!(manifest, inspect(&one, &["--raw"]));
    let taken = ran.stderr.lines().filter(|line| line.ends_with("is there already, in another repository")).count();
    assert_eq!(taken, layers(&manifest).len(), "{ran}");
    copy(&kiln, &two, "copy");
}

#[test]
fn attributes_of_what_is_pushed() {
    let Some((kiln, registry)) = project() else { return };
    let image = format!("{}/app", registry.address());
    let build = |attributes: &str, arguments: &[&str]| {
        let output = format!("type=image,push=true,name={image}:1,{attributes}");
        kiln.build(["-o", output.as_str()].iter().chain(arguments)).succeeds();
        let manifest = inspect(&format!("{image}:1"), &["--raw"]);
        copy(&kiln, &format!("{image}:1"), "copy");
        fs::remove_dir_all(kiln.path("copy")).unwrap();
        manifest
    };
    // The base image is gzip, and stays so unless it is forced.
    let own = build("compression=zstd", &[]);
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    assert_eq!(layers(&own).iter().filter(|layer| **layer == zstd).count(), 2, "{own:#}");
    let forced = build("compression=zstd,force-compression=true,compression-level=7", &[]);
    assert!(layers(&forced).iter().all(|layer| *layer == zstd), "{forced:#}");
    assert_eq!(own["config"]["digest"], forced["config"]["digest"]);
    let plain = build("compression=uncompressed,force-compression=true", &[]);
    assert!(layers(&plain).iter().all(|layer| layer.ends_with(".tar")), "{plain:#}");
    let docker = build("oci-mediatypes=false", &[]);
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(docker["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert!(layers(&docker).iter().all(|layer| *layer == "application/vnd.docker.image.rootfs.diff.tar.gzip"));
    let annotated = build("annotation.who=kiln", &["--annotation", "manifest:Why=a=b"]);
    assert_eq!(annotated["annotations"], serde_json::json!({"who": "kiln", "Why": "a=b"}));
    assert_eq!(annotated["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    kiln.build(["-t", "x", "--annotation", "index:a=b"]).exits(2).stderr_has("is for an index");
}

#[test]
fn by_digest_it_has_no_tag() {
    let Some((kiln, registry)) = project() else { return };
    let metadata = kiln.path("metadata.json");
    let output =
        format!("type=image,name={}/app,push=true,push-by-digest=true,name-canonical=true", registry.address());
    kiln.build(["-o", &output, "--metadata-file", metadata.to_str().unwrap()]).succeeds();
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(inspect(&format!("{}/app@{digest}", registry.address()), &["--raw"])["schemaVersion"], 2);
    let mut command = Command::new("skopeo");
    command.args(["list-tags", "--tls-verify=false"]).arg(format!("docker://{}/app", registry.address()));
    assert!(!Ran::of(&mut command).stdout().contains("latest"));
    let image = format!("{}/app:1", registry.address());
    kiln.build(["-t", &image, "-o", "type=image,push=true,push-by-digest=true"])
        .exits(2)
        .stderr_has("no use for the tag");
}

#[test]
fn all_platforms_are_below_an_index() {
    let Some((kiln, registry)) = project() else { return };
    kiln.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY a /a\n");
    let image = format!("{}/multi:1", registry.address());
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    let notes = ["--annotation", "index:all=1", "--annotation", "manifest-descriptor[linux/arm64]:one=2"];
    kiln.build(["-t", &image, "--push"].iter().chain(&platforms).chain(&notes)).succeeds();
    let index = inspect(&image, &["--raw"]);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json", "{index:#}");
    assert_eq!(index["annotations"]["all"], "1");
    assert!(index["manifests"][0]["annotations"].is_null());
    assert_eq!(index["manifests"][1]["annotations"]["one"], "2");
    copy(&kiln, &image, "copy");
    let arm = inspect(&image, &["--override-arch", "arm64", "--config"]);
    assert_eq!(arm["config"]["Labels"]["arch"], "arm64");
    kiln.build(["-t", &image, "--push"].iter().chain(&platforms).chain(&notes)).succeeds();
    assert_eq!(inspect(&image, &["--raw"]), index);
}

#[test]
fn who_may_not_push_is_told_so() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(registry) = DockerRegistry::start(Setup { login: true, tls: true }) else { return };
    kiln.write("Dockerfile", "FROM base\nLABEL a=b\n");
    let config = kiln.path("config.toml");
    let text = format!("[registry.\"{}\"]\nca = [\"{}\"]\n", registry.address(), registry.authority().display());
    fs::write(&config, text).unwrap();
    let image = format!("{}/app:1", registry.address());
    let push = || Ran::of(kiln.build_command(["-t", &image, "--push"]).env("KILN_CONFIG", &config));
    push().exits(3).stderr_has("denied").stderr_has(&format!("`kiln login {}`", registry.address()));
    let (username, password) = LOGIN.split_once(':').unwrap();
    let credentials = Command::new("skopeo")
        .args(["login", "--tls-verify=false", "-u", username, "-p", password, registry.address()])
        .env("REGISTRY_AUTH_FILE", kiln.path("auth.json"))
        .output()
        .unwrap();
    assert!(credentials.status.success(), "{credentials:?}");
    fs::create_dir_all(kiln.path(".docker")).unwrap();
    fs::copy(kiln.path("auth.json"), kiln.path(".docker/config.json")).unwrap();
    push().succeeds();
    kiln.build(["--push"]).exits(2).stderr_has("an image without a name cannot be pushed");
}
