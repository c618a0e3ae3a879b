//! Arguments of `kiln build` that are not about one instruction: where the Dockerfile is, names, ids, progress.

use crate::support::{Image, Kiln, Ran};
use std::fs;

#[test]
fn dockerfiles_from_elsewhere() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("sub/My.Dockerfile", "FROM base\nRUN echo from sub\n")
        .write("Dockerfile", "FROM base\nRUN echo default\n");
    kiln.build(["-f", "sub/My.Dockerfile"]).succeeds().logs("from sub");
    kiln.build::<&str>([]).succeeds().logs("default");
    let mut command = kiln.build_command(["-f", "-"]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"FROM base\nCOPY sub /s\nRUN echo stdin; ls /s\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(" stdin\n") && text.contains(" My.Dockerfile\n"), "{text}");
}

#[test]
fn what_can_only_fail_afterwards_fails_before() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo noise\n");
    for option in ["--iidfile", "--metadata-file"] {
        let ran = kiln.build([option, "no/such/file"]);
        ran.exits(2).stderr_has(&format!("`{option}`: there is no directory for `no/such/file`")).stderr_lacks("noise");
    }
}

#[test]
fn stages_that_do_not_exist_cannot_run_again() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base AS one\nRUN echo hello\n");
    kiln.build(["--no-cache-filter", "one"]).succeeds().stderr_lacks("no stage");
    kiln.build(["--no-cache-filter", "One,two"])
        .succeeds()
        .stderr_has("there is no stage `two` to run again")
        .logs("hello");
}

#[test]
fn quiet_prints_the_id_alone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo noise\n");
    let id = kiln.image::<&str>([]).id;
    let mut command = kiln.command(["build", "-q", "--build-context"]);
    let base = kiln.base();
    let ran = Ran::of(command.arg(&base).arg("."));
    ran.succeeds().stdout_is(&format!("{id}\n"));
    assert_eq!(ran.stderr, "");
    let ran = Ran::of(kiln.command(["build", "--progress=quiet", "--build-context"]).arg(&base).arg("."));
    ran.succeeds().stdout_is("");
    assert_eq!(ran.stderr, "");
}

#[test]
fn ids_and_metadata_in_files() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo x\n");
    let (iidfile, metadata, layout) = (kiln.path("iid"), kiln.path("metadata.json"), kiln.path("layout"));
    fs::write(&iidfile, "stale").unwrap();
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let arguments = ["-t", "app", "-t", "example.com/app:2", "-o", &output, "-o", "type=image", "--iidfile"];
    Ran::of(kiln.build_command(arguments).arg(&iidfile).arg("--metadata-file").arg(&metadata)).succeeds();
    let image = Image::of_layout(&layout);
    assert_eq!(fs::read_to_string(&iidfile).unwrap(), image.id);
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], image.id);
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest,example.com/app:2");
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(metadata["containerimage.descriptor"]["digest"], digest);
    let hex = digest.strip_prefix("sha256:").unwrap();
    let manifest = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(metadata["containerimage.descriptor"]["size"], manifest.len());

    // In the store alone there is no manifest: the digest is the id, as Docker's own store has it.
    let metadata = kiln.path("metadata.json");
    Ran::of(kiln.build_command(["-t", "app", "--metadata-file"]).arg(&metadata)).succeeds();
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], image.id);
    assert_eq!(metadata["containerimage.config.digest"], image.id);
    assert_eq!(metadata.get("containerimage.descriptor"), None);

    // A build that fails leaves no stale id.
    kiln.write("Dockerfile", "FROM base\nRUN false\n");
    Ran::of(kiln.build_command(["--iidfile"]).arg(&iidfile)).exits(1);
    assert!(!iidfile.exists());
}

#[test]
fn the_same_build_gives_the_same_image() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a", "a").write("Dockerfile", "FROM base\nCOPY a /a\nRUN echo x > /x\n");
    let first = kiln.image::<&str>([]);
    let second = kiln.image::<&str>([]);
    assert_eq!((first.id, first.manifest), (second.id, second.manifest));
}

#[test]
fn raw_json_is_one_event_a_line() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo out; echo err >&2\n");
    let ran = Ran::of(kiln.command(["build", "--progress=rawjson", "--build-context"]).arg(kiln.base()).arg("."));
    ran.succeeds().stdout_is("");
    let events: Vec<serde_json::Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().all(|event| event["timestamp"].is_string()));
    let log: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event["event"] == "step-log")
        .map(|event| (event["stream"].as_str().unwrap(), event["data"].as_str().unwrap()))
        .collect();
    assert!(log.contains(&("stdout", "out\n")) && log.contains(&("stderr", "err\n")), "{log:?}");
    assert!(events.iter().any(|event| event["event"] == "step-finished" && event["error"].is_null()));
}

#[test]
fn platforms() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let host = if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" };
    kiln.write("Dockerfile", "FROM base\nARG TARGETPLATFORM\nARG TARGETARCH\nARG BUILDPLATFORM\nRUN echo $TARGETPLATFORM $TARGETARCH $BUILDPLATFORM\n");
    let arch = host.split('/').next_back().unwrap();
    kiln.build(["--platform", host]).succeeds().logs(&format!("{host} {arch} {host}"));
    // A base image of another platform is used all the same, with a warning.
    let ran = kiln.build(["--platform", "linux/s390x"]);
    ran.succeeds().logs(&format!("linux/s390x s390x {host}")).stderr_has("InvalidBaseImagePlatform");
}
