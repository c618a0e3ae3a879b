//! `--attest`, `--provenance` and `--sbom`: BuildKit's layout in OCI layouts and in a real registry, judged by `skopeo`.

use super::pushing::inspect;
use crate::docker_registry::{DockerRegistry, Setup};
use crate::support::{Kiln, Ran};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const STATUS: &str = "Package: tzdata\nStatus: install ok installed\nVersion: 2026a-1\nArchitecture: all\n";

fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write("status", STATUS).write("os-release", "ID=debian\nVERSION_ID=13\n").write(
        "Dockerfile",
        "FROM base\nARG VERSION\nARG API_TOKEN\nCOPY os-release /etc/os-release\nCOPY status /var/lib/dpkg/status\n\
         RUN --mount=type=secret,id=pin echo $VERSION > /version\n",
    );
    Some(kiln)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, digest: &Value) -> Value {
    json(&layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/")))
}

/// The index of a layout, the image's entry in it, and the statements about it by what they state.
fn statements(layout: &Path) -> (Value, Vec<(String, Value)>) {
    let index = blob(layout, &json(&layout.join("index.json"))["manifests"][0]["digest"]);
    let [image, attestation] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(attestation["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    assert_eq!(attestation["platform"], serde_json::json!({ "architecture": "unknown", "os": "unknown" }));
    let manifest = blob(layout, &attestation["digest"]);
    let config = blob(layout, &manifest["config"]["digest"]);
    let layers = manifest["layers"].as_array().unwrap();
    let statements = layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()).map(|(layer, diff_id)| {
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        assert_eq!(layer["digest"], *diff_id);
        let statement = blob(layout, &layer["digest"]);
        assert_eq!(statement["predicateType"], layer["annotations"]["in-toto.io/predicate-type"]);
        let digest = image["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        assert_eq!(statement["subject"][0]["digest"]["sha256"], digest);
        (statement["predicateType"].as_str().unwrap().to_owned(), statement)
    });
    (image.clone(), statements.collect())
}

#[test]
fn an_index_holds_what_is_stated_of_its_image() {
    let Some(kiln) = project() else { return };
    let layout = kiln.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let metadata = kiln.path("metadata.json");
    fs::write(kiln.path("pin"), "0451").unwrap();
    let secret = format!("id=pin,src={}", kiln.path("pin").display());
    kiln.build([
        "-t",
        "team/app:1",
        "-o",
        &output,
        "--provenance",
        "mode=max,builder-id=https://ci.example/1",
        "--sbom",
        "true",
        "--build-arg",
        "VERSION=7",
        "--build-arg",
        "API_TOKEN=hunter2",
        "--secret",
        &secret,
        "--metadata-file",
        metadata.to_str().unwrap(),
    ])
    .succeeds();
    let (image, statements) = statements(&layout);
    let [(first, provenance), (second, sbom)] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("https://slsa.dev/provenance/v1", "https://spdx.dev/Document"));
    let subject = provenance["subject"][0]["name"].as_str().unwrap();
    assert!(subject.starts_with("pkg:docker/team/app@1?platform=linux%2F"), "{subject}");

    let definition = &provenance["predicate"]["buildDefinition"];
    let asked = &definition["externalParameters"]["request"];
    assert_eq!(asked["args"]["build-arg:VERSION"], "7");
    assert_eq!(asked["secrets"][0]["id"], "pin");
    let text = provenance.to_string();
    assert!(!text.contains("hunter2") && !text.contains("0451"), "{text}");
    let base = &definition["resolvedDependencies"][0];
    assert!(base["uri"].as_str().unwrap().starts_with("oci-layout://"), "{base}");
    assert_eq!(base["digest"]["sha256"].as_str().unwrap().len(), 64);
    let steps = definition["internalParameters"]["buildConfig"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["name"].as_str().unwrap().contains("RUN")), "{steps:?}");
    let details = &provenance["predicate"]["runDetails"];
    assert_eq!(details["builder"]["id"], "https://ci.example/1");
    assert_eq!(details["metadata"]["buildkit_completeness"]["resolvedDependencies"], false);
    let [started, finished] = ["startedOn", "finishedOn"].map(|key| details["metadata"][key].as_str().unwrap());
    assert!(started <= finished, "{started} {finished}");
    assert_eq!(json(&metadata)["buildx.build.provenance"]["buildDefinition"], *definition);

    let packages = sbom["predicate"]["packages"].as_array().unwrap();
    let tzdata = packages.iter().find(|package| package["name"] == "tzdata").unwrap();
    let purl = &tzdata["externalRefs"][0]["referenceLocator"];
    assert_eq!(*purl, "pkg:deb/debian/tzdata@2026a-1?arch=all&distro=debian-13");

    // Whoever does not know attestations finds the image of the platform.
    let source = format!("oci:{}:1", layout.display());
    let copy = format!("dir:{}", kiln.path("copy").display());
    Ran::of(Command::new("skopeo").args(["--insecure-policy", "copy", &source, &copy])).succeeds();
    let manifest = fs::read(kiln.path("copy/manifest.json")).unwrap();
    assert_eq!(image["size"], manifest.len());
}

#[test]
fn the_least_provenance_tells_no_arguments() {
    let Some(kiln) = project() else { return };
    let layout = kiln.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    kiln.build(["-o", &output, "--provenance=true", "--sbom=false", "--build-arg", "VERSION=secretive"]).succeeds();
    let (_, statements) = statements(&layout);
    assert_eq!(statements.len(), 1);
    let text = statements[0].1.to_string();
    assert!(!text.contains("secretive") && !text.contains("RUN "), "{text}");
    assert_eq!(statements[0].1["predicate"]["runDetails"]["metadata"]["buildkit_completeness"]["request"], false);
    // Refused ones leave the image as it is without.
    kiln.build(["-o", &format!("type=oci,tar=false,dest={}", kiln.path("plain").display()), "--provenance=false"])
        .succeeds();
    let index = json(&kiln.path("plain/index.json"));
    assert_eq!(index["manifests"][0]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn attestations_are_pushed_from_the_build_and_from_the_store() {
    let Some(kiln) = project() else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let image = format!("{}/app:1", registry.address());
    kiln.build(["-t", &image, "--push", "--sbom", "true", "--attest", "type=provenance"]).succeeds();
    let copy = |name: &str, to: &str| {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false"]);
        command.arg(format!("docker://{name}")).arg(format!("dir:{}", kiln.path(to).display()));
        Ran::of(&mut command).succeeds();
    };
    copy(&image, "first");
    let index = inspect(&image, &["--raw"]);
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let again = format!("{}/other:1", registry.address());
    kiln.run(["tag", &image, &again]).succeeds();
    kiln.run(["push", &again]).succeeds();
    copy(&again, "second");
    assert_eq!(inspect(&again, &["--raw"]), index);
    // What keeps the image keeps what is stated of it.
    kiln.run(["prune", "--force"]).succeeds();
    let third = format!("{}/third:1", registry.address());
    kiln.run(["tag", &image, &third]).succeeds();
    kiln.run(["push", &third]).succeeds();
    copy(&third, "third");
    kiln.run(["run", &image, "cat", "/version"]).succeeds();
}

#[test]
fn directories_get_files() {
    let Some(kiln) = project() else { return };
    let out = kiln.path("out");
    let output = format!("type=local,dest={}", out.display());
    kiln.build(["-o", &output, "--provenance", "true", "--sbom", "true"]).succeeds();
    assert_eq!(json(&out.join("provenance.json"))["predicateType"], "https://slsa.dev/provenance/v1");
    let packages = json(&out.join("sbom.spdx.json"))["predicate"]["packages"].as_array().unwrap().len();
    assert!(packages >= 2, "{packages}");
    kiln.build([
        "-o",
        &format!("type=local,dest={}", kiln.path("inline").display()),
        "--provenance",
        "inline-only=true",
    ])
    .succeeds();
    assert!(!kiln.path("inline/provenance.json").exists());
    kiln.write("Dockerfile", "FROM scratch\nCOPY status /provenance.json\n");
    kiln.build(["-o", &output, "--provenance", "true"]).exits(1).stderr_has("would be overwritten with an attestation");
}

#[test]
fn where_attestations_have_no_place() {
    let Some(kiln) = project() else { return };
    let archive = format!("type=docker,dest={}", kiln.path("a.tar").display());
    kiln.build(["-o", &archive, "--sbom", "true"]).exits(1).stderr_has("`type=docker` cannot hold attestations");
    kiln.build(["-o", &archive, "--provenance", "inline-only=true"]).succeeds();
    kiln.build(["-o", "type=image,oci-mediatypes=false", "--sbom", "true"])
        .exits(2)
        .stderr_has("`oci-mediatypes=false` leaves no place for attestations");
    kiln.build(["--sbom", "generator=x"]).exits(4).stderr_has("`generator` of the SBOM is not supported");
}
