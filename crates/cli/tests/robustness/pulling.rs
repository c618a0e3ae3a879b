//! Pulling from a real registry: Debian's `docker-registry`, filled by `skopeo` from what kiln exports.

use crate::docker_registry::DockerRegistry;
use crate::fake_registry::{FakeRegistry, base_layout, build_with};
use crate::leftovers;
use crate::support::{Image, Kiln, Ran};
use std::fs;
use std::thread;

fn plain(address: &str) -> String {
    format!("[registry.\"{address}\"]\nhttp = true\n")
}

/// Builds the context's Dockerfile and puts it into the registry.
fn push(kiln: &Kiln, registry: &DockerRegistry, name: &str, options: &str, skopeo: &[&str]) {
    let layout = kiln.path("pushed");
    // The one before; a layout is added to.
    let _none = fs::remove_dir_all(&layout);
    kiln.build(["-t", "pushed:1", "-o", &format!("type=oci,tar=false,dest={}{options}", layout.display())]).succeeds();
    registry.fill(&format!("{}:1", layout.display()), name, skopeo);
}

/// An image with all that layers can say: deletions, replaced and opaque directories, links, owners, modes, times.
const IMAGE: &str = "FROM base
RUN mkdir -p /d/sub /gone /opaque /kept && for f in d/a d/b d/sub/c gone/x opaque/old kept/k; do echo $f > /$f; done
RUN rm /d/a && rm -r /gone && rm -r /opaque && mkdir /opaque && echo new > /opaque/new
RUN rm -r /d/sub && echo file > /d/sub && ln /d/b /d/hard && ln -s b /d/soft && chmod 4711 /d/b && chown 7:8 /d/sub && mkfifo /d/pipe
RUN rm /kept/k && echo again > /kept/k && touch -d '2001-02-03 04:05:06' /kept/k
";

/// Shows what of it there is, each line marked.
const LOOK: &str = "RUN (find /d /gone /opaque /kept 2>/dev/null | sort | while read f; do stat -c '%n %A %u:%g %h' $f; \
                    test -f $f && cat $f; done; readlink /d/soft; stat -c %Y /kept/k) | sed 's/^/look /'\n";

/// The marked lines.
fn looked(ran: &Ran) -> Vec<String> {
    ran.stderr.lines().filter_map(|line| line.split_once(" look ")).map(|(_, text)| text.to_owned()).collect()
}

#[test]
fn layers_arrive_as_they_were_built() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(registry) = DockerRegistry::start(Default::default()) else { return };
    kiln.write("Dockerfile", IMAGE);
    push(&kiln, &registry, "gzip:1", "", &[]);
    push(&kiln, &registry, "zstd:1", ",compression=zstd", &[]);
    push(&kiln, &registry, "plain:1", ",compression=uncompressed", &[]);
    push(&kiln, &registry, "docker:1", "", &["--format", "v2s2"]);
    kiln.write("Dockerfile", format!("{IMAGE}{LOOK}"));
    let expected = looked(kiln.build::<&str>([]).succeeds());
    let has = |text: &str| expected.iter().any(|line| line.contains(text));
    assert!(has("/d/hard -rws--x--x 0:0 2") && has("/opaque/new") && has("/d/sub -rw-r--r-- 7:8"), "{expected:#?}");
    assert!(!has("/opaque/old") && !has("/gone") && !has("/d/a"), "{expected:#?}");
    for name in ["gzip:1", "zstd:1", "plain:1", "docker:1"] {
        let fresh = Kiln::for_builds().expect("as above");
        fresh.write("Dockerfile", format!("FROM {}/{name}\n{LOOK}", registry.address()));
        let ran = build_with(&fresh, &plain(registry.address()), &[]);
        assert_eq!(looked(ran.succeeds()), expected, "{name}");
        leftovers::no_temporary_files(&fresh);
    }
}

#[test]
fn a_second_build_does_not_ask() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(registry) = DockerRegistry::start(Default::default()) else { return };
    let layout = base_layout(&kiln);
    registry.fill(&layout.display().to_string(), "library/small:1", &[]);
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let address = registry.address().to_owned();
    let mirror = format!("[registry.\"docker.io\"]\nmirrors = [\"{address}\"]\n");
    let http = plain(&address);
    let references = [
        (format!("{address}/library/small:1"), &http),
        (format!("{address}/library/small@{digest}"), &http),
        (format!("{address}/library/small:1@{digest}"), &http),
        ("small:1".to_owned(), &mirror),
        (format!("small@{digest}"), &mirror),
    ];
    for (number, (reference, config)) in references.iter().enumerate() {
        kiln.write("Dockerfile", format!("FROM {reference}\nRUN echo build {number} > /n; cat /n\n"));
        build_with(&kiln, config, &[]).succeeds().logs(&format!("build {number}"));
    }
    drop(registry);
    for (number, (reference, config)) in references.iter().enumerate() {
        kiln.write("Dockerfile", format!("FROM {reference}\nRUN echo build {number} > /n; cat /n\n"));
        build_with(&kiln, config, &[]).succeeds().cached("RUN echo build");
        // Something new on the old base needs nobody either, nor does an export.
        kiln.write("Dockerfile", format!("FROM {reference}\nRUN echo again {number}\n"));
        build_with(&kiln, config, &[]).succeeds().logs(&format!("again {number}"));
        let output = format!("type=oci,dest={}", kiln.path("out.tar").display());
        build_with(&kiln, config, &["-o", &output]).succeeds();
    }
    kiln.write("Dockerfile", format!("FROM {}\nRUN true\n", references[0].0));
    build_with(&kiln, &http, &["--pull"]).exits(3).stderr_has(&address);
}

#[test]
fn pull_asks_again() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(registry) = DockerRegistry::start(Default::default()) else { return };
    let name = "moving:1";
    let config = plain(registry.address());
    let version = |n: u32| {
        kiln.write("Dockerfile", format!("FROM base\nRUN echo {n} > /version\n"));
        push(&kiln, &registry, name, "", &[]);
    };
    let user = Kiln::for_builds().expect("as above");
    user.write("Dockerfile", format!("FROM {}/{name}\nRUN echo version $(cat /version)\n", registry.address()));
    version(1);
    build_with(&user, &config, &[]).succeeds().logs("version 1");
    version(2);
    build_with(&user, &config, &[]).succeeds().cached("RUN");
    let ran = build_with(&user, &config, &["--pull"]);
    ran.succeeds().logs("version 2");
    assert!(ran.step("RUN").iter().any(|line| line.starts_with("why: ")), "{ran}");
    build_with(&user, &config, &[]).succeeds().cached("RUN");
    build_with(&user, &config, &["--pull"]).succeeds().cached("RUN");
}

#[test]
fn nothing_is_fetched_that_nobody_needs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = FakeRegistry::of_layout(&base_layout(&kiln));
    let count = |what: &str| registry.requests().iter().filter(|request| request.contains(what)).count();
    let address = registry.address();
    kiln.write("Dockerfile", format!("FROM {address}/base:1 AS unused\nRUN true\nFROM scratch\nCOPY Dockerfile /\n"));
    build_with(&kiln, &registry.config(), &[]).succeeds();
    assert_eq!(registry.requests().len(), 0, "{:?}", registry.requests());
    kiln.write("Dockerfile", format!("FROM {address}/base:1\nRUN echo pulled\nRUN echo twice\n"));
    build_with(&kiln, &registry.config(), &[]).succeeds().logs("pulled");
    let blobs = count("GET /v2/base/blobs");
    assert!(count("/v2/base/manifests") <= 2, "{:?}", registry.requests());
    let layers = Image::of_layout(&base_layout(&kiln)).manifest["layers"].as_array().unwrap().len();
    assert_eq!(blobs, layers + 1, "{:?}", registry.requests());
    let before = registry.requests().len();
    build_with(&kiln, &registry.config(), &["--no-cache"]).succeeds().logs("pulled");
    assert_eq!(registry.requests().len(), before);
    build_with(&kiln, &registry.config(), &["--pull"]).succeeds();
    assert!(registry.requests().len() > before);
    assert_eq!(count("GET /v2/base/blobs"), blobs, "`--pull` fetched what is here");
}

#[test]
fn eight_processes_pull_the_same_image() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let registry = FakeRegistry::of_layout(&base_layout(&kiln));
    let config = kiln.path("config.toml");
    fs::write(&config, registry.config()).expect("a file");
    kiln.write("Dockerfile", format!("FROM {}/base:1\nRUN echo pulled > /p && cat /p\n", registry.address()));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut command = kiln.build_command::<&str>([]);
                Ran::of(command.env("KILN_CONFIG", &config)).succeeds();
            });
        }
    });
    leftovers::none(&kiln);
    leftovers::no_temporary_files(&kiln);
}
