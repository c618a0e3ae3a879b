//! `kiln push`, `pull`, `tag`, `inspect`, `login` and `logout` against a real `docker-registry`.

use super::pushing::inspect;
use crate::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::support::{Kiln, Ran};
use serde_json::Value;
use std::fs;

fn project() -> Option<(Kiln, DockerRegistry)> {
    let kiln = Kiln::for_builds()?;
    let registry = DockerRegistry::start(Setup::default())?;
    kiln.write("a", "a content").write("Dockerfile", "FROM base\nCOPY a /a\nRUN echo x > /x\nCMD [\"cat\", \"/a\"]\n");
    Some((kiln, registry))
}

#[test]
fn an_image_goes_from_one_store_to_another() {
    let Some((kiln, registry)) = project() else { return };
    let (image, other) = (format!("{}/app:1", registry.address()), format!("{}/copy:1", registry.address()));
    let id = kiln.path("id");
    kiln.build(["-t", &image, "--iidfile", id.to_str().unwrap()]).succeeds();
    let id = fs::read_to_string(id).unwrap();
    let pushed = kiln.run(["push", "--quiet", &image]);
    pushed.succeeds();
    let digest = pushed.stdout().trim().to_owned();
    assert_eq!(inspect(&image, &[])["Digest"], digest);
    // It is what a build that pushes would have pushed.
    kiln.build(["-t", &image, "--push"]).succeeds();
    assert_eq!(inspect(&image, &[])["Digest"], digest);
    kiln.run(["tag", &image, &other, "local:2"]).succeeds().stdout_is("");
    kiln.run(["push", &other]).succeeds().stdout_has(&format!("pushed {other} ({digest})"));

    let fresh = Kiln::new();
    let remote: Value = serde_json::from_slice(&fresh.run(["inspect", "--format=json", &image]).stdout).unwrap();
    assert_eq!((&remote[0]["digest"], &remote[0]["platforms"][0]["id"]), (&digest.clone().into(), &id.clone().into()));
    assert!(fresh.run(["images"]).stdout().lines().count() == 1, "inspecting pulls nothing");
    fresh.run(["pull", "-q", &image]).succeeds().stdout_is(&format!("{digest}\n"));
    fresh.run(["run", &image]).succeeds().stdout_is("a content");
    fresh.run(["pull", &image]).succeeds().stdout_has("pulled ");
    let here: Value = serde_json::from_slice(&fresh.run(["inspect", "--format=json", &image]).stdout).unwrap();
    assert_eq!(here[0]["platforms"][0]["config"], remote[0]["platforms"][0]["config"]);
    assert_eq!(here[0]["platforms"][0]["manifest"]["layers"].as_array().unwrap().len(), 6);
    fresh.run(["inspect", &image]).succeeds().stdout_has(&digest).stdout_has("[\"cat\",\"/a\"]");
    // And on from there, under another name.
    let third = format!("{}/third", registry.address());
    fresh.run(["tag", &id, &third]).succeeds();
    fresh.run(["push", "-q", &third]).succeeds().stdout_is(&format!("{digest}\n"));
}

#[test]
fn a_base_image_keeps_its_blobs() {
    let Some((kiln, registry)) = project() else { return };
    let base = format!("{}/base:1", registry.address());
    kiln.build(["-t", &base, "-o", &format!("type=registry,compression=zstd,name={base}")]).succeeds();
    let fresh = Kiln::new();
    let image = format!("{}/app:1", registry.address());
    fresh.write("Dockerfile", format!("FROM {base}\nRUN echo more > /more\n"));
    fresh.run(["build", "-t", &image, "."]).succeeds();
    fresh.run(["push", &image]).succeeds();
    let (below, above) = (inspect(&base, &["--raw"]), inspect(&image, &["--raw"]));
    let layers = |manifest: &Value| manifest["layers"].as_array().unwrap().clone();
    assert_eq!(layers(&above)[..6], layers(&below)[..]);
    assert_eq!(layers(&above).len(), 7);
}

#[test]
fn an_index_is_pushed_whole_or_one_platform_of_it() {
    let Some((kiln, registry)) = project() else { return };
    kiln.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY a /a\n");
    let image = format!("{}/multi:1", registry.address());
    kiln.build(["-t", &image, "--platform", "linux/amd64,linux/arm64"]).succeeds();
    kiln.run(["push", &image]).succeeds();
    assert_eq!(inspect(&image, &["--raw"])["manifests"].as_array().unwrap().len(), 2);
    let shown: Value = serde_json::from_slice(&kiln.run(["inspect", "--format=json", &image]).stdout).unwrap();
    assert_eq!(shown[0]["index"], inspect(&image, &["--raw"]));
    kiln.run(["push", "--platform=linux/arm64", &image]).succeeds();
    assert_eq!(inspect(&image, &["--raw"])["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    kiln.run(["push", "--platform=linux/s390x", &image]).exits(1).stderr_has("not here for that platform");
}

#[test]
fn platforms_that_are_not_here_stay_in_the_registry() {
    let Some((kiln, registry)) = project() else { return };
    kiln.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY a /a\n");
    let [image, other] = ["multi:1", "elsewhere/multi:1"].map(|name| format!("{}/{name}", registry.address()));
    let build = || _ = kiln.build(["-t", &image, "--platform", "linux/amd64,linux/arm64", "--push"]).succeeds();
    let count = |image: &str| inspect(image, &["--raw"])["manifests"].as_array().map_or(1, Vec::len);
    build();
    let digest = inspect(&image, &["--raw"]).to_string();
    let fresh = Kiln::new();
    fresh.run(["pull", "--platform=linux/arm64", &image]).succeeds();
    fresh.run(["push", &image]).succeeds();
    assert_eq!(inspect(&image, &["--raw"]).to_string(), digest, "the index of both stays");

    kiln.write("a", "another content");
    build();
    fresh.run(["push", &image]).exits(1).stderr_has("by now an index of other images").stderr_has("--platform");
    assert_eq!(count(&image), 2);
    fresh.run(["push", "--platform=linux/arm64", &image]).succeeds();
    assert_eq!(count(&image), 1);

    // One that was removed here is missed where the registry does not have it.
    kiln.run(["tag", &image, &other]).succeeds();
    let shown: Value = serde_json::from_slice(&kiln.run(["inspect", "--format=json", &image]).stdout).unwrap();
    kiln.run(["rmi", shown[0]["platforms"][1]["id"].as_str().unwrap()]).succeeds();
    kiln.run(["push", &image]).succeeds();
    assert_eq!(count(&image), 2);
    kiln.run(["push", &other]).exits(1).stderr_has("the image of `linux/arm64` is no longer here");
    kiln.run(["push", "--platform=linux/amd64", &other]).succeeds();
    assert_eq!(count(&other), 1);
}

#[test]
fn an_output_may_trust_anybody() {
    let kiln = Kiln::for_builds();
    let registry = DockerRegistry::start(Setup { tls: true, ..Setup::default() });
    let (Some(kiln), Some(registry)) = (kiln, registry) else { return };
    kiln.write("Dockerfile", "FROM scratch\nLABEL a=b\n");
    let other = DockerRegistry::start(Setup { tls: true, ..Setup::default() }).expect("as the first one");
    let config = format!("[registry.\"{}\"]\nca = [\"{}\"]\n", registry.address(), other.authority().display());
    fs::write(kiln.path("config.toml"), config).unwrap();
    let build = |insecure: &str| {
        let output = format!("type=image,name={}/app,push=true,registry.insecure={insecure}", registry.address());
        let arguments = ["build", "-o", &output, "."];
        Ran::of(kiln.command(arguments).env("KILN_CONFIG", kiln.path("config.toml")))
    };
    build("false").exits(3).stderr_has("no trusted connection");
    build("true").succeeds();
}

#[test]
fn credentials_are_tried_and_stored() {
    let kiln = Kiln::new();
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (username, password) = LOGIN.split_once(':').unwrap();
    let login = |input: &str| {
        let arguments = ["login", "-u", username, "--password-stdin", registry.address()];
        kiln.run_with_input(arguments, input.as_bytes())
    };
    login("wrong\n").exits(3).stderr_has("does not take this username and password").stderr_has("access token");
    let config = kiln.path(".docker/config.json");
    assert!(!config.exists());
    login(&format!("{password}\n")).succeeds().stdout_has("not encrypted").stdout_has(&config.display().to_string());
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains(registry.address()) && !text.contains(password), "{text}");
    let missing = format!("{}/none:1", registry.address());
    kiln.run(["pull", &missing]).exits(3).stderr_has("not found");
    kiln.run(["logout", registry.address()]).succeeds().stdout_has("logged out of ");
    kiln.run(["logout", registry.address()]).succeeds().stdout_has("no login");
    kiln.run(["pull", &missing]).exits(3).stderr_has(&format!("`kiln login {}`", registry.address()));
    assert!(!fs::read_to_string(&config).unwrap().contains(registry.address()));
}

#[test]
fn a_helper_keeps_credentials() {
    let kiln = Kiln::new();
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (username, password) = LOGIN.split_once(':').unwrap();
    let (bin, kept) = (kiln.path("bin"), kiln.path("kept"));
    fs::create_dir_all(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {0};; get) cat {0} 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};; \
         erase) rm -f {0};; esac\n",
        kept.display()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir_all(kiln.path(".docker")).unwrap();
    fs::write(kiln.path(".docker/config.json"), r#"{"credsStore":"test","other":1}"#).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    let run = |arguments: &[&str]| Ran::of(kiln.command(arguments).env("PATH", &path));
    run(&["login", "-u", username, "-p", password, registry.address()]).succeeds().stdout_has("docker-credential-test");
    assert!(fs::read_to_string(&kept).unwrap().contains(password));
    assert!(!fs::read_to_string(kiln.path(".docker/config.json")).unwrap().contains(password));
    run(&["pull", &format!("{}/none:1", registry.address())]).exits(3).stderr_has("not found");
    run(&["logout", registry.address()]).succeeds();
    assert!(!kept.exists());
    assert!(fs::read_to_string(kiln.path(".docker/config.json")).unwrap().contains("\"other\": 1"));
}
