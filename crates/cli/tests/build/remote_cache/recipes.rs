//! The recipes of `docs/cache.md`: their YAML is read, and what they run is run, on two machines with a registry in the place of theirs.

use super::Machines;
use crate::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::support::{Kiln, Ran};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use yaml_rust2::{Yaml, YamlLoader};

const DOCKERFILE: &str = "FROM base\nRUN --mount=type=cache,id=things,target=/c date > /c/things; echo one > /one\n";

/// The YAML below a heading.
fn recipe(heading: &str) -> Yaml {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cache.md");
    let text = fs::read_to_string(docs).expect("docs/cache.md");
    let section = text.split(&format!("\n### {heading}\n")).nth(1).expect("a heading");
    let block = section.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    YamlLoader::load_from_str(block).expect("YAML").remove(0)
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().expect("a list").iter().filter_map(Yaml::as_str).collect()
}

/// Runs lines as CI does: in the checked-out directory, with a `kiln` of this machine's store.
fn script(kiln: &Kiln, lines: &[String], variables: &[(&str, &str)]) -> Ran {
    let programs = kiln.path("bin");
    fs::create_dir_all(&programs).expect("a directory");
    let program = |name: &str, text: String| {
        let path = programs.join(name);
        fs::write(&path, format!("#!/bin/bash\n{text}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    };
    program("sudo", "exec \"$@\"".to_owned());
    let base =
        format!("if [ \"$1\" = build ]; then set -- \"$@\" --build-context '{}' --progress=plain; fi", kiln.base());
    program("kiln", format!("{base}\nexec '{}' \"$@\"", env!("CARGO_BIN_EXE_kiln")));
    let mut command = kiln.command::<&str>([]);
    let mut shell = Command::new("bash");
    shell.args(["-eo", "pipefail", "-c", &lines.join("\n")]).current_dir(kiln.context()).env_clear();
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.env("PATH", format!("{}:/usr/bin:/bin", programs.display())).envs(variables.iter().copied());
    command.stdin(std::process::Stdio::null());
    Ran::of(&mut shell)
}

#[test]
fn github_actions() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (user, password) = LOGIN.split_once(':').expect("a login");
    let document = recipe("GitHub Actions");
    let steps = document["jobs"]["build"]["steps"].as_vec().expect("steps");
    let lines: Vec<String> = steps
        .iter()
        .filter_map(|step| step["run"].as_str())
        .map(|line| {
            let line = line.replace("${{ secrets.GITHUB_TOKEN }}", password).replace("${{ github.actor }}", user);
            let line = line.replace("${{ github.repository }}", "team/app").replace("${{ github.sha }}", "0a1b2c");
            line.replace("${{ github.ref_name }}", "branch").replace("ghcr.io", registry.address())
        })
        .collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| !line.contains("${{")), "{lines:?}");
    script(&machines.laptop, &lines, &[]).succeeds();
    let ran = script(&machines.runner, &lines, &[]);
    ran.succeeds().cached_from("RUN --mount", "/team/app/cache:branch");
}

#[test]
fn gitlab() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (user, password) = LOGIN.split_once(':').expect("a login");
    let image = format!("{}/team/app", registry.address());
    let variables = [
        ("CI_REGISTRY", registry.address()),
        ("CI_REGISTRY_USER", user),
        ("CI_REGISTRY_PASSWORD", password),
        ("CI_REGISTRY_IMAGE", &image),
        ("CI_COMMIT_SHA", "0a1b2c"),
        ("CI_COMMIT_REF_SLUG", "branch"),
    ];
    let document = recipe("GitLab");
    let lines: Vec<String> = texts(&document["build"]["script"]).into_iter().map(str::to_owned).collect();
    script(&machines.laptop, &lines, &variables).succeeds();
    let ran = script(&machines.runner, &lines, &variables);
    ran.succeeds().cached_from("RUN --mount", "/team/app/cache:branch");
}

#[test]
fn kubernetes() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let pod = &recipe("Kubernetes")["spec"]["template"]["spec"];
    // A sidecar is an init container that is always restarted.
    assert_eq!(pod["initContainers"][0]["restartPolicy"].as_str(), Some("Always"));
    let volumes: Vec<_> =
        pod["volumes"].as_vec().expect("volumes").iter().map(|volume| volume["name"].as_str()).collect();
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        assert!(volumes.contains(&container["volumeMounts"][0]["name"].as_str()));
    }
    for (kiln, is_cached) in [(&machines.laptop, false), (&machines.runner, true)] {
        let (base, context) = (kiln.base(), kiln.context().display().to_string());
        let arguments = texts(&pod["containers"][0]["args"]).into_iter();
        let arguments: Vec<String> = arguments
            .map(|word| word.replace("localhost:5000", registry.address()).replace("/src", &context))
            .collect();
        let ran = kiln.run(arguments.iter().map(String::as_str).chain(["--progress=plain", "--build-context", &base]));
        ran.succeeds();
        if is_cached {
            ran.cached_from("RUN --mount", "/cache:main");
        } else {
            ran.executed("RUN --mount");
        }
    }
}
