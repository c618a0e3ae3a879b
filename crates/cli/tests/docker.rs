//! A real `dockerd` as the judge of `type=docker` and `type=oci` archives, of `--load`, and of what a registry got: the program runs from
//! there.

use crate::docker_registry::{DockerRegistry, Setup};
use crate::support::{Kiln, Ran, foreign_layer, has_program, layout_with};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon with a store of its own, in mount and pid namespaces of its own: whatever happens, the kernel ends all of it.
struct Dockerd {
    child: Child,
    socket: String,
}

impl Dockerd {
    fn start(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name).display().to_string();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = std::fs::File::create(path("dockerd.log")).expect("a log");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd", "--iptables=false"]);
        command.args(["--ip6tables=false", "--bridge=none", "--storage-driver=overlay2", "-H", &socket]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut dockerd = Self { child: command.spawn().expect("unshare"), socket };
        let started = Instant::now();
        while !dockerd.docker(&["version"]).status.success() {
            let ended = dockerd.child.try_wait().expect("a child");
            let log = || std::fs::read_to_string(path("dockerd.log")).unwrap_or_default();
            assert!(
                ended.is_none() && started.elapsed() < Duration::from_secs(60),
                "dockerd did not start:\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        dockerd
    }

    fn docker(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("docker").args(["-H", &self.socket]).args(arguments).output().expect("docker")
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A harness, where there is all that a daemon needs.
fn with_docker() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    ["dockerd", "docker", "unshare"].into_iter().all(has_program).then_some(kiln)
}

#[test]
fn a_running_daemon_gets_what_it_lacks() {
    let Some(kiln) = with_docker() else { return };
    let dockerd = Dockerd::start(&kiln.path(""));
    let load = |arguments: &[&str]| {
        let ran = Ran::of(kiln.build_command(arguments).arg("--load").env("DOCKER_HOST", &dockerd.socket));
        ran.succeeds();
        let line = ran.stderr.lines().find(|line| line.contains("sending to")).unwrap_or_default().to_owned();
        assert!(line.contains(&dockerd.socket), "{ran}");
        line
    };
    kiln.write("greeting", "hello\n");
    kiln.write(
        "Dockerfile",
        "FROM base\nCOPY greeting /greeting\nRUN echo made > /made\nCMD [\"cat\", \"/greeting\"]\n",
    );
    let id = kiln.path("id").display().to_string();
    let line = load(&["-t", "loaded:1", "--iidfile", &id]);
    assert!(line.contains("MB"), "the base image was not sent: {line}");
    let said = || dockerd.succeeds(&["run", "--rm", "--network=host", "loaded:1"]);
    assert_eq!(said(), "hello\n");
    let loaded = dockerd.succeeds(&["image", "inspect", "-f", "{{.Id}}", "loaded:1"]);
    assert_eq!(loaded.trim(), std::fs::read_to_string(&id).expect("the id"));

    // The same image under another name: nothing is sent.
    let line = load(&["-t", "loaded:2"]);
    assert!(line.contains(" 0B") || line.ends_with("0B done"), "{line}");
    assert_eq!(dockerd.succeeds(&["image", "inspect", "-f", "{{.Id}}", "loaded:2"]), loaded);

    // Another layer on the same base: the base is not sent.
    kiln.write("greeting", "changed\n");
    let line = load(&["-t", "loaded:1"]);
    assert!(line.contains("kB") && !line.contains("MB"), "{line}");
    assert_eq!(said(), "changed\n");

    // A base image whose layers kiln did not pack.
    let layout = layout_with(&kiln, "other", &foreign_layer(&kiln));
    kiln.write("Other", "FROM other\nCOPY greeting /greeting\nCMD [\"cat\", \"/opt/file\"]\n");
    let context = format!("other=oci-layout://{}", layout.display());
    load(&["-f", "Other", "--build-context", &context, "-t", "loaded:1"]);
    assert_eq!(said(), "foreign\n");

    // Compressed, if that is asked for.
    kiln.write("greeting", "compressed\n");
    let output = "type=docker,compression=gzip,name=loaded:1";
    Ran::of(kiln.build_command(["-o", output]).env("DOCKER_HOST", &dockerd.socket)).succeeds();
    assert_eq!(said(), "compressed\n");
}

/// Prints the types of what is stated of the image `$1` in a registry, each after it was found to be what its descriptor says, and about
/// the image of the index's only platform. `$2` is an empty directory.
const STATED: &str = r#"
set -eu
image=$1 dir=$2
inspect() { skopeo inspect --raw --tls-verify=false "docker://$1"; }
is() { test "sha256:$(sha256sum < "$1" | cut -d' ' -f1)" = "$2"; }
inspect "$image" > "$dir/index"
subject=$(jq -er '.manifests[] | select(.platform.os == "linux") | .digest' "$dir/index")
inspect "${image%:*}@$subject" > "$dir/manifest"
is "$dir/manifest" "$subject"
attestation=$(jq -er --arg subject "$subject" '.manifests[] | select(
    .platform == {"architecture": "unknown", "os": "unknown"}
    and .annotations["vnd.docker.reference.type"] == "attestation-manifest"
    and .annotations["vnd.docker.reference.digest"] == $subject) | .digest' "$dir/index")
inspect "${image%:*}@$attestation" > "$dir/attestation"
is "$dir/attestation" "$attestation"
skopeo --insecure-policy copy --quiet --all --src-tls-verify=false "docker://$image" "dir:$dir/copy"
jq -er '.layers[] | select(.mediaType == "application/vnd.in-toto+json")
    | .digest + " " + .annotations["in-toto.io/predicate-type"]' "$dir/attestation" > "$dir/statements"
while read -r digest predicate; do
    is "$dir/copy/${digest#sha256:}" "$digest"
    jq -e --arg predicate "$predicate" --arg subject "${subject#sha256:}" '.predicateType == $predicate
        and (.subject | length > 0) and all(.subject[]; .digest.sha256 == $subject)' "$dir/copy/${digest#sha256:}" > "$dir/judged"
    echo "$predicate"
done < "$dir/statements"
"#;

#[test]
fn a_push_with_attestations_is_pulled_and_runs() {
    let Some(kiln) = with_docker() else { return };
    if !["skopeo", "jq"].into_iter().all(has_program) {
        return;
    }
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    kiln.write("greeting", "hello from a registry\n").write(
        "Dockerfile",
        "FROM base\nCOPY greeting /greeting\nRUN echo made > /made\nCMD [\"cat\", \"/greeting\", \"/made\"]\n",
    );
    let image = format!("{}/team/app:1", registry.address());
    kiln.build(["-t", &image, "--push", "--provenance=mode=max", "--sbom=true"]).succeeds();
    let directory = kiln.path("stated");
    std::fs::create_dir(&directory).expect("a directory");
    let stated = Ran::of(Command::new("sh").args(["-c", STATED, "stated", &image]).arg(&directory));
    stated.succeeds().stdout_is("https://slsa.dev/provenance/v1\nhttps://spdx.dev/Document\n");

    let dockerd = Dockerd::start(&kiln.path(""));
    dockerd.succeeds(&["pull", "--quiet", &image]);
    assert_eq!(dockerd.succeeds(&["run", "--rm", "--network=host", &image]), "hello from a registry\nmade\n");

    // Docker knows nothing of eStargz, and takes its layers for what they also are.
    let lazy = format!("{}/team/lazy:1", registry.address());
    kiln.build(["-o", &format!("type=registry,name={lazy},compression=estargz,force-compression=true")]).succeeds();
    dockerd.succeeds(&["pull", "--quiet", &lazy]);
    assert_eq!(dockerd.succeeds(&["run", "--rm", "--network=host", &lazy]), "hello from a registry\nmade\n");
}

#[test]
fn no_daemon_is_an_error_that_says_what_to_do() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM scratch\nLABEL a=b\n");
    let socket = format!("unix://{}", kiln.path("none.sock").display());
    let ran = Ran::of(kiln.build_command(["-t", "x", "--load"]).env("DOCKER_HOST", &socket));
    ran.exits(3).stderr_has(&format!("no Docker daemon answers at `{socket}`")).stderr_has("hint: ");
    let ran = Ran::of(kiln.build_command(["-t", "x", "--load"]).env("DOCKER_HOST", "ssh://me@host"));
    ran.exits(4).stderr_has("a daemon by ssh is not supported");
}

#[test]
fn docker_loads_the_image_and_runs_it() {
    let Some(kiln) = with_docker() else { return };
    kiln.write("greeting", "hello from kiln\n");
    kiln.write(
        "Dockerfile",
        "FROM base\nWORKDIR /app\nCOPY --chown=7:8 greeting .\nENV WHO=kiln\nRUN echo $WHO > made && rm -rf /tmp\n\
         ENTRYPOINT [\"cat\"]\nCMD [\"greeting\", \"made\"]\n",
    );
    let archive = kiln.path("image.tar").display().to_string();
    let id = kiln.path("id").display().to_string();
    for format in ["docker", "oci"] {
        let output = format!("type={format},dest={archive}");
        kiln.build(["-t", "kiln-judged:1", "-o", &output, "--iidfile", &id]).succeeds();
        if has_program("skopeo") {
            let kind = format!("{format}-archive:{archive}");
            let inspected = Command::new("skopeo").args(["inspect", "--config", &kind]).output().expect("skopeo");
            assert!(inspected.status.success(), "skopeo inspect {kind}: {inspected:?}");
            assert!(String::from_utf8_lossy(&inspected.stdout).contains("WHO=kiln"));
        }
        if format == "docker" {
            let dockerd = Dockerd::start(&kiln.path(""));
            assert!(dockerd.succeeds(&["load", "-i", &archive]).contains("kiln-judged:1"));
            let wanted = std::fs::read_to_string(&id).expect("the id");
            assert_eq!(dockerd.succeeds(&["image", "inspect", "-f", "{{.Id}}", "kiln-judged:1"]).trim(), wanted.trim());
            let said = dockerd.succeeds(&["run", "--rm", "--network=host", "kiln-judged:1"]);
            assert_eq!(said, "hello from kiln\nkiln\n");
            let owner =
                ["run", "--rm", "--network=host", "--entrypoint=stat", "kiln-judged:1", "-c", "%u:%g", "greeting"];
            assert_eq!(dockerd.succeeds(&owner).trim(), "7:8");
        }
    }
}
