//! A real `dockerd` as the judge of `type=docker` and `type=oci` archives: it loads them, and the program runs from there.

use crate::support::{Kiln, has_program};
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

#[test]
fn docker_loads_the_image_and_runs_it() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for program in ["dockerd", "docker", "unshare"] {
        if !has_program(program) {
            println!("skipped: {program} is not installed");
            return;
        }
    }
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
