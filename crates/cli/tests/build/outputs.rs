//! `--output`, judged by this machine's `tar` and `skopeo`.

use crate::support::{Image, Kiln, Ran, foreign_layer, has_program, layout_with, tar_entries};
use std::fs;
use std::path::Path;
use std::process::Command;

fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write("a", "a content")
        .write("Dockerfile", "FROM base\nCOPY --chown=app a /a\nRUN echo x > /x && chmod 600 /x\nCMD [\"sh\"]\n");
    Some(kiln)
}

fn skopeo(arguments: &[&str]) -> Ran {
    Ran::of(Command::new("skopeo").args(["--insecure-policy"]).args(arguments))
}

fn output(kind: &str, path: &Path) -> String {
    format!("type={kind},dest={}", path.display())
}

#[test]
fn oci_archives() {
    let Some(kiln) = project() else { return };
    if !has_program("skopeo") {
        return;
    }
    for compression in ["gzip", "zstd", "uncompressed"] {
        let path = kiln.path(&format!("{compression}.tar"));
        kiln.build(["-t", "app:v1", "-o", &(output("oci", &path) + &format!(",compression={compression}"))]).succeeds();
        let source = format!("oci-archive:{}", path.display());
        let ran = skopeo(&["inspect", "--raw", &source]);
        let suffix = match compression {
            "uncompressed" => "tar\"".to_owned(),
            other => format!("tar+{other}\""),
        };
        ran.succeeds().stdout_has(&suffix);
        // Copies verify every digest.
        let copy = format!("dir:{}", kiln.path(&format!("copy-{compression}")).display());
        skopeo(&["copy", &source, &copy]).succeeds();
        skopeo(&["inspect", "--config", &source]).succeeds().stdout_has("\"Cmd\"");
    }
}

#[test]
fn oci_directories() {
    let Some(kiln) = project() else { return };
    let layout = kiln.path("layout");
    kiln.build(["-t", "app:v1", "-o", &(output("oci", &layout) + ",tar=false")]).succeeds();
    let image = Image::of_layout(&layout);
    assert_eq!(image.field("Cmd")[0], "sh");
    if has_program("umoci") {
        let bundle = kiln.path("bundle");
        let index = fs::read_to_string(layout.join("index.json")).unwrap();
        assert!(index.contains("org.opencontainers.image.ref.name"), "{index}");
        let reference = format!("{}:v1", layout.display());
        Ran::of(Command::new("umoci").args(["unpack", "--image", &reference]).arg(&bundle)).succeeds();
        assert_eq!(fs::read_to_string(bundle.join("rootfs/a")).unwrap(), "a content");
        assert_eq!(fs::read_to_string(bundle.join("rootfs/x")).unwrap(), "x\n");
    }
}

#[test]
fn docker_archives() {
    let Some(kiln) = project() else { return };
    let path = kiln.path("docker.tar");
    kiln.build(["-t", "app:v1", "-t", "example.com/other", "-o", &output("docker", &path)]).succeeds();
    let ran = Ran::of(Command::new("tar").args(["-xOf"]).arg(&path).arg("manifest.json"));
    ran.succeeds();
    let manifest: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let names = manifest[0]["RepoTags"].as_array().unwrap();
    assert_eq!(names.len(), 2, "{manifest:#}");
    assert!(names.iter().any(|name| name == "app:v1" || name == "docker.io/library/app:v1"), "{manifest:#}");
    if has_program("skopeo") {
        let source = format!("docker-archive:{}:app:v1", path.display());
        skopeo(&["copy", &source, &format!("dir:{}", kiln.path("copy").display())]).succeeds();
    }
}

#[test]
fn files_of_the_last_stage() {
    let Some(kiln) = project() else { return };
    let (dir, archive) = (kiln.path("dir"), kiln.path("files.tar"));
    kiln.build(["-o", dir.to_str().unwrap(), "-o", &output("tar", &archive)]).succeeds();
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "a content");
    assert!(dir.join("bin/busybox").is_file());
    let entries = tar_entries(&archive);
    assert_eq!(entries["a"].owner, "1000/1000");
    assert_eq!((entries["x"].mode.as_str(), entries["x"].owner.as_str()), ("-rw-------", "0/0"));
    assert_eq!(entries["bin/sh"].target.as_deref(), Some("/bin/busybox"));
    // Once more into the same directory.
    fs::write(dir.join("a"), "old").unwrap();
    kiln.build(["-o", dir.to_str().unwrap()]).succeeds();
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "a content");
}

#[test]
fn standard_output() {
    let Some(kiln) = project() else { return };
    for (kind, member) in [("-", "a"), ("type=oci", "oci-layout"), ("type=docker,dest=-", "manifest.json")] {
        let ran = kiln.build(["-o", kind]);
        ran.succeeds();
        let path = kiln.path("stdout.tar");
        fs::write(&path, &ran.stdout).unwrap();
        assert!(tar_entries(&path).contains_key(member), "{kind}");
    }
}

#[test]
fn a_reader_that_goes_away() {
    let Some(kiln) = project() else { return };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = kiln.build_command(["-o", "-"]).stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn several_outputs_are_of_one_build() {
    let Some(kiln) = project() else { return };
    let (oci, dir) = (kiln.path("x.tar"), kiln.path("dir"));
    let ran = kiln.build(["-t", "app", "-o", &output("oci", &oci), "-o", dir.to_str().unwrap(), "-o", "type=image"]);
    ran.succeeds();
    assert!(oci.is_file() && dir.join("a").is_file());
    kiln.run(["images"]).succeeds().stdout_has("app:latest");
    // Without `type=image` the store gets no name.
    kiln.build(["-t", "unnamed", "-o", &output("oci", &oci)]).succeeds();
    assert!(!kiln.run(["images"]).stdout().contains("unnamed"));
}

#[test]
fn archives_are_replaced_whole() {
    let Some(kiln) = project() else { return };
    let path = kiln.path("x.tar");
    fs::write(&path, "before").unwrap();
    kiln.write("Dockerfile", "FROM base\nRUN false\n");
    kiln.build(["-o", &output("oci", &path)]).exits(1);
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
}

#[test]
fn the_same_archive_each_time() {
    let Some(kiln) = project() else { return };
    let (one, two) = (kiln.path("1.tar"), kiln.path("2.tar"));
    kiln.build(["-o", &output("oci", &one)]).succeeds();
    kiln.build(["-o", &output("oci", &two)]).succeeds();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "the archives differ");
}

/// The first archive is begun with the base's layers before the step has run, and the second is not: they are the same.
#[test]
fn archives_that_are_begun_early() {
    let Some(kiln) = project() else { return };
    let base = kiln.path("layout");
    kiln.build(["-o", &(output("oci", &base) + ",tar=false")]).succeeds();
    let context = format!("app=oci-layout://{}", base.display());
    let outputs = kiln.path("outputs");
    fs::create_dir(&outputs).unwrap();
    let (first, second) = (outputs.join("first.tar"), outputs.join("second.tar"));
    let build = |step: &str| {
        kiln.write("Dockerfile", format!("FROM app\nRUN {step}\n"));
        let outputs = [output("oci", &first), output("oci", &second)];
        kiln.build(["--build-context", &context, "-o", &outputs[0], "-o", &outputs[1]])
    };
    for step in ["echo 1 > /new", "echo 2 > /new"] {
        build(step).succeeds();
        let archive = fs::read(&first).unwrap();
        assert!(archive == fs::read(&second).unwrap(), "{step}");
        let names: Vec<String> = tar_entries(&first).into_keys().collect();
        assert!(names.iter().filter(|name| name.starts_with("blobs/sha256/")).count() > 4, "{names:?}");
        build("exit 3").exits(1);
        assert!(archive == fs::read(&first).unwrap(), "a failed build leaves the archive as it was");
        assert_eq!(fs::read_dir(&outputs).unwrap().count(), 2);
    }
}

/// Images on images of this store, which stand on one that another tool has packed.
#[test]
fn layers_of_other_tools_stay_as_they_were_pulled() {
    let Some(kiln) = project() else { return };
    let layer = foreign_layer(&kiln);
    let layout = layout_with(&kiln, "other", &layer);
    let digest = kiln_digest::Digest::of_bytes(&layer);
    kiln.write("Dockerfile", "FROM other\nRUN cat /opt/file\n");
    kiln.build(["--build-context", &format!("other=oci-layout://{}", layout.display()), "-t", "first"]).succeeds();
    fs::remove_dir_all(&layout).unwrap();
    kiln.write("Dockerfile", "FROM first\nCOPY a /a\n");
    kiln.build(["-t", "second"]).succeeds();
    kiln.write("Dockerfile", "FROM second\nRUN echo x > /x\n");
    // Nothing keeps the layer's blob but the images that need it.
    kiln.run(["prune", "--force"]).succeeds();
    for kind in ["oci", "docker"] {
        let archive = kiln.path("third.tar");
        kiln.build(["-o", &output(kind, &archive)]).succeeds();
        let there = tar_entries(&archive).into_keys().any(|name| name.contains(digest.hex().as_str()));
        assert!(there, "{kind}: {:?}", tar_entries(&archive));
    }
    // Compressed, where that is asked for.
    let archive = kiln.path("fourth.tar");
    kiln.build(["-o", &(output("oci", &archive) + ",compression=zstd,force-compression=true")]).succeeds();
    assert!(!tar_entries(&archive).into_keys().any(|name| name.contains(digest.hex().as_str())));
}

#[test]
fn only_the_cache() {
    let Some(kiln) = project() else { return };
    let ran = kiln.build(["-t", "app", "-o", "type=cacheonly"]);
    ran.succeeds().stderr_has("built into the cache").stderr_has("RUN echo x");
    assert!(!kiln.run(["images"]).stdout().contains("app"), "no image is stored");
    kiln.build(["-t", "app"]).succeeds().stderr_has("all cached");
    // Beside others it changes nothing.
    let dir = kiln.path("dir");
    kiln.build(["-o", "type=cacheonly", "-o", dir.to_str().unwrap()]).succeeds();
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "a content");
}
