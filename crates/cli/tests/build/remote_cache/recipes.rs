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

/// The first block of a language below a heading.
fn block(heading: &str, language: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cache.md");
    let text = fs::read_to_string(docs).expect("docs/cache.md");
    let section = text.split(&format!("\n### {heading}\n")).nth(1).expect("a heading");
    let block = section.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.expect("a block").to_owned()
}

/// The YAML below a heading.
fn recipe(heading: &str) -> Yaml {
    YamlLoader::load_from_str(&block(heading, "yaml")).expect("YAML").remove(0)
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().expect("a list").iter().filter_map(Yaml::as_str).collect()
}

/// Runs a script as CI does: by its shell, in the checked-out directory, with a `kiln` of this machine's store.
fn script(kiln: &Kiln, shell: &str, script: &str, variables: &[(&str, &str)]) -> Ran {
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
    let mut shell = Command::new(shell);
    shell.args(["-e", "-c", script]).current_dir(kiln.context()).env_clear();
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.env("PATH", format!("{}:/usr/bin:/bin", programs.display())).envs(variables.iter().copied());
    command.stdin(std::process::Stdio::null());
    Ran::of(&mut shell)
}

/// Names that are right for git and not for registries.
const DEFAULT_BRANCH: &str = "Trunk/Main";
const BRANCH: &str = "feature/X_y;touch${IFS}pwned;#é";

#[test]
fn github_actions() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (user, password) = LOGIN.split_once(':').expect("a login");
    let document = recipe("GitHub Actions");
    let job = &document["jobs"]["build"];
    // What GitHub puts in the place of its expressions.
    let value = |text: &str| {
        let text = text.replace("${{ secrets.GITHUB_TOKEN }}", password);
        text.replace("${{ github.event.repository.default_branch }}", DEFAULT_BRANCH)
    };
    let environment = |of: &Yaml| -> Vec<(String, String)> {
        let pairs = of["env"].as_hash().into_iter().flatten();
        pairs.map(|(name, text)| (name.as_str().unwrap().to_owned(), value(text.as_str().unwrap()))).collect()
    };
    let run = |kiln: &Kiln, branch: &str| {
        let given = [
            ("GITHUB_ACTOR", user),
            ("GITHUB_REPOSITORY", "Team/App_X"),
            ("GITHUB_REF_NAME", branch),
            ("GITHUB_SHA", "0a1b2c"),
        ];
        let mut last = None;
        for step in job["steps"].as_vec().expect("steps").iter() {
            let Some(line) = step["run"].as_str() else { continue };
            assert!(!line.contains("${{"), "{line}");
            let own: Vec<_> = environment(job).into_iter().chain(environment(step)).collect();
            let variables: Vec<_> =
                given.into_iter().chain(own.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect();
            let ran = script(kiln, "bash", &line.replace("ghcr.io", registry.address()), &variables);
            ran.succeeds();
            last = Some(ran);
        }
        assert!(!kiln.context().join("pwned").exists(), "a branch's name was run");
        last.expect("a step that builds")
    };
    run(&machines.laptop, DEFAULT_BRANCH).executed("RUN --mount");
    run(&machines.runner, BRANCH).cached_from("RUN --mount", "/team/app_x/cache:branch-Trunk-Main");
    let cache = format!("{}/team/app_x/cache:branch-feature-X_y-touch-IFS-pwned-", registry.address());
    machines.runner.run(["cache", "ls", "--from", &cache]).succeeds().stdout_has("things");
}

#[test]
fn gitlab() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (user, password) = LOGIN.split_once(':').expect("a login");
    let image = format!("{}/team/app", registry.address());
    let document = recipe("GitLab");
    let lines = texts(&document["build"]["script"]).join("\n");
    let run = |kiln: &Kiln, branch: &str, slug: &str| {
        let variables = [
            ("CI_REGISTRY", registry.address()),
            ("CI_REGISTRY_USER", user),
            ("CI_REGISTRY_PASSWORD", password),
            ("CI_REGISTRY_IMAGE", &image),
            ("CI_COMMIT_SHA", "0a1b2c"),
            ("CI_DEFAULT_BRANCH", DEFAULT_BRANCH),
            ("CI_COMMIT_REF_NAME", branch),
            ("CI_COMMIT_REF_SLUG", slug),
        ];
        // The shell of an image without bash.
        script(kiln, "sh", &lines, &variables)
    };
    run(&machines.laptop, DEFAULT_BRANCH, "trunk-main").succeeds();
    run(&machines.runner, BRANCH, "feature-x-y").succeeds().cached_from("RUN --mount", "/team/app/cache:default");
    let cache = format!("{image}/cache:branch-feature-x-y");
    machines.runner.run(["cache", "ls", "--from", &cache]).succeeds().stdout_has("things");
}

#[test]
fn gitlab_without_a_registry() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let document = recipe("GitLab without a registry");
    let lines = texts(&document["build"]["script"]).join("\n");
    let paths = texts(&document["build"]["cache"]["paths"]);
    script(&machines.laptop, "sh", &lines, &[]).succeeds();
    // What GitLab does between two jobs.
    let moved = |path: &str| fs::rename(machines.laptop.context().join(path), machines.runner.context().join(path));
    paths.into_iter().for_each(|path| moved(path).expect("a directory that is kept"));
    script(&machines.runner, "sh", &lines, &[]).succeeds().cached_from("RUN --mount", ".kiln");
}

#[test]
fn jenkins() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (user, password) = LOGIN.split_once(':').expect("a login");
    let file = block("Jenkins", "groovy");
    let text = file.split("'''").nth(1).expect("a script");
    // Groovy leaves out the end of a line after a backslash.
    let text = text.replace("\\\n", "");
    assert!(!text.contains('\\'), "{text}");
    let image = format!("{}/team/app", registry.address());
    let run = |kiln: &Kiln, branch: &str| {
        let variables = [
            ("IMAGE", image.as_str()),
            ("LOGIN_USR", user),
            ("LOGIN_PSW", password),
            ("GIT_COMMIT", "0a1b2c"),
            ("BRANCH_NAME", branch),
        ];
        script(kiln, "sh", &text, &variables)
    };
    run(&machines.laptop, "main").succeeds();
    run(&machines.runner, BRANCH).succeeds().cached_from("RUN --mount", "/team/app/cache:branch-main");
    assert!(!machines.runner.context().join("pwned").exists(), "a branch's name was run");
}

#[test]
fn kubernetes() {
    let Some(machines) = Machines::new(DOCKERFILE) else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let pod = &recipe("Kubernetes")["spec"]["template"]["spec"];
    let (sidecar, build) = (&pod["initContainers"][0], &pod["containers"][0]);
    // A sidecar is an init container that is always restarted; the others wait until it is up if it has a probe.
    assert_eq!(sidecar["restartPolicy"].as_str(), Some("Always"));
    assert_eq!(sidecar["startupProbe"]["httpGet"]["path"].as_str(), Some("/v2/"));
    let volumes: Vec<_> =
        pod["volumes"].as_vec().expect("volumes").iter().map(|volume| volume["name"].as_str()).collect();
    for mount in [sidecar, build].iter().flat_map(|container| container["volumeMounts"].as_vec().expect("mounts")) {
        assert!(volumes.contains(&mount["name"].as_str()), "{mount:?}");
    }
    let words: Vec<&str> = texts(&build["command"]).into_iter().chain(texts(&build["args"])).collect();
    assert_eq!(words[0], "kiln");
    for (kiln, is_cached) in [(&machines.laptop, false), (&machines.runner, true)] {
        let (base, context) = (kiln.base(), kiln.context().display().to_string());
        let here = |word: &&str| {
            let word = word.replace("localhost:5000", registry.address()).replace("/src", &context);
            word.replace("registry.example.com", registry.address())
        };
        let arguments: Vec<String> = words[1..].iter().map(here).collect();
        let ran = kiln.run(arguments.iter().map(String::as_str).chain(["--progress=plain", "--build-context", &base]));
        ran.succeeds();
        if is_cached {
            ran.cached_from("RUN --mount", "/cache:main");
        } else {
            ran.executed("RUN --mount");
        }
    }
}
