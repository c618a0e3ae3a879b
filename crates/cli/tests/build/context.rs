//! The context: what is ignored, what is not there, named contexts.

use crate::support::Kiln;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn ignore_files() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("keep.txt", "")
        .write("a.log", "")
        .write("sub/b.log", "")
        .write("sub/keep.log", "")
        .write("node_modules/x/y", "");
    kiln.write(".dockerignore", "# comment\n**/*.log\n!sub/keep.log\nnode_modules\nDockerfile\n");
    kiln.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let files = kiln.files::<&str>([]);
    let names: Vec<&str> = files.keys().map(String::as_str).filter(|name| !name.is_empty() && *name != ".").collect();
    assert_eq!(names, [".dockerignore", "keep.txt", "sub", "sub/keep.log"]);
    // A Dockerfile's own ignore file wins.
    kiln.write("other.Dockerfile", "FROM scratch\nCOPY . /\n").write("other.Dockerfile.dockerignore", "*\n!keep.txt\n");
    let files = kiln.files(["-f", "other.Dockerfile"]);
    assert!(files.contains_key("keep.txt") && !files.contains_key("a.log"), "{files:?}");
    // What is ignored cannot be copied.
    kiln.write("Dockerfile", "FROM scratch\nCOPY a.log /\n");
    kiln.build::<&str>([]).exits(1).stderr_has("a.log").stderr_has("Dockerfile:2");
}

#[test]
fn links_that_lead_nowhere() {
    let Some(kiln) = Kiln::for_builds() else { return };
    std::os::unix::fs::symlink("gone", kiln.context().join("link")).unwrap();
    kiln.write("Dockerfile", "FROM scratch\nCOPY link /\n");
    let message = "`link` is a symbolic link to `gone`, which does not exist in the build context";
    kiln.build::<&str>([]).exits(1).stderr_has(message);
}

#[test]
fn named_directories() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let other = kiln.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "named\n").unwrap();
    let context = format!("other={}", other.display());
    kiln.write("Dockerfile", "FROM base\nCOPY --from=other file /f\nRUN --mount=from=other,target=/m cat /f /m/file\n");
    kiln.build(["--build-context", &context]).succeeds().logs("named");
    kiln.build(["--build-context", &context]).succeeds().cached("COPY --from=other");
    std::fs::write(other.join("file"), "changed\n").unwrap();
    let ran = kiln.build(["--build-context", &context]);
    ran.succeeds().logs("changed");
    assert!(
        ran.step("COPY --from=other").iter().any(|line| line.starts_with("why: ") && line.contains("file")),
        "{ran}"
    );
}

#[test]
fn layouts_by_tag_and_digest() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo the layout > /layout\nENV FROM_LAYOUT=yes\n");
    let layout = kiln.path("layout");
    kiln.build(["-t", "x:v1", "-o", &format!("type=oci,tar=false,dest={}", layout.display())]).succeeds();
    kiln.write("Dockerfile", "FROM thing\nRUN cat /layout; echo $FROM_LAYOUT\n");
    let ran = kiln.build(["--build-context", &format!("thing=oci-layout://{}", layout.display())]);
    ran.succeeds().logs("the layout").logs("yes");
    kiln.build(["--build-context", &format!("thing=oci-layout://{}:v1", layout.display())]).succeeds();
    kiln.build(["--build-context", &format!("thing=oci-layout://{}:nope", layout.display())])
        .exits(1)
        .stderr_has("nope");
    let digest = format!("sha256:{}", "0".repeat(64));
    kiln.build(["--build-context", &format!("thing=oci-layout://{}@{digest}", layout.display())])
        .exits(1)
        .stderr_has("sha256:0000");
}

#[test]
fn a_damaged_layout_is_noticed() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo x > /x\n");
    let layout = kiln.path("layout");
    kiln.build(["-o", &format!("type=oci,tar=false,dest={}", layout.display())]).succeeds();
    // The largest blob is a layer.
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let largest = blobs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&largest, bytes).unwrap();
    let fresh = Kiln::new();
    fresh.write("Dockerfile", "FROM thing\nRUN true\n");
    let ran = fresh.build(["--build-context", &format!("thing=oci-layout://{}", layout.display())]);
    assert_ne!(ran.status, Some(0), "{ran}");
    ran.stderr_has("error: ");
    let left = Command::new("find").arg(fresh.root().join("layers")).args(["-mindepth", "1"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "a half-made layer is left");
}

#[test]
fn a_context_that_changes_meanwhile() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("f", "1").write("Dockerfile", "FROM base\nRUN echo it runs && sleep 0.2\nCOPY f /f\nRUN cat /f\n");
    let mut child = kiln.build_command::<&str>([]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let before: Vec<String> = lines.by_ref().take_while(|line| !line.ends_with("it runs")).collect();
    kiln.write("f", "2");
    let text = before.into_iter().chain(lines).collect::<Vec<_>>().join("\n");
    // Either the old or the new bytes, or an error that says so; and never a record that lies.
    assert!(child.wait().unwrap().success() || text.contains("changed"), "{text}");
    let out = kiln.path("out");
    kiln.build(["-o", out.to_str().unwrap()]).succeeds();
    assert_eq!(std::fs::read_to_string(out.join("f")).unwrap(), "2");
}
