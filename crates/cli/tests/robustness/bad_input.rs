//! What a user gets for mistakes: the documented exit status, a message with place and hint, and a store that works.

use crate::docker_registry::DockerRegistry;
use crate::fake_registry::{FakeRegistry, base_layout, build_with};
use crate::leftovers;
use crate::support::{Image, Kiln};
use std::fs;
use std::net::TcpListener;

#[test]
fn mistakes_in_dockerfiles() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("there", "x").write(".dockerignore", "hidden\n").write("hidden", "x");
    let mut wrong = Vec::new();
    for (dockerfile, status, texts) in [
        ("FROM base\nRUM true\n", 1, &["Dockerfile:2", "RUM", "RUN"][..]),
        ("FROM base\nRUN --mont=type=cache true\n", 1, &["Dockerfile:2", "--mont", "--mount"]),
        ("FROM base\nCOPY --form=x a b\n", 1, &["Dockerfile:2", "--form", "--from"]),
        ("RUN true\n", 1, &["Dockerfile:1", "FROM"]),
        ("", 1, &["Dockerfile:1", "no instructions", "FROM"]),
        ("# nothing\n", 1, &["Dockerfile"]),
        ("FROM base\nCOPY missing /x\n", 1, &["Dockerfile:2", "`missing` does not exist in the build context"]),
        ("FROM base\nCOPY hidden /x\n", 1, &["Dockerfile:2", "hidden"]),
        ("FROM base\nCOPY there missing /x/\n", 1, &["Dockerfile:2", "`missing`"]),
        ("FROM base\nCOPY --from=base /nothing /x\n", 1, &["Dockerfile:2", "/nothing"]),
        ("FROM base AS a\nFROM a\nCOPY --from=nobody /x /x\n", 3, &["Dockerfile:3", "nobody"]),
        ("FROM base AS a\nCOPY --from=a /x /x\n", 1, &["Dockerfile:2", "`a`"]),
        ("FROM base AS a\nCOPY --from=b /x /x\nFROM base AS b\nCOPY --from=a /x /x\n", 1, &["Dockerfile:2", "b"]),
        ("FROM base AS a\nCOPY --from=0 /x /x\n", 1, &["Dockerfile:2", "0"]),
        ("FROM not/a:good/reference\nRUN true\n", 1, &["Dockerfile:1", "not/a:good/reference"]),
        ("FROM UPPER\nRUN true\n", 1, &["Dockerfile:1", "UPPER"]),
        ("FROM base@sha256:12\nRUN true\n", 1, &["Dockerfile:1", "sha256:12"]),
        ("FROM ${NOTHING}\nRUN true\n", 1, &["Dockerfile:1", "NOTHING"]),
        ("FROM base\nRUN --mount=type=secret,id=x,required true\n", 1, &["Dockerfile:2", "`x`"]),
        ("FROM base\nUSER nobody-knows\nRUN true\n", 1, &["Dockerfile:3", "nobody-knows"]),
        ("FROM scratch\nCOPY --chown=nobody-knows there /x\n", 1, &["Dockerfile:2", "nobody-knows"]),
        ("FROM base\nADD https://127.0.0.1:1/x /x\n", 3, &["Dockerfile:2"]),
        ("FROM base\nCOPY there /bin/busybox/x\n", 1, &["Dockerfile:2", "/bin/busybox"]),
        ("FROM base\nRUN <<EOF\ntrue\n", 1, &["Dockerfile:2", "EOF"]),
        ("FROM base\nENV\n", 1, &["Dockerfile:2", "ENV"]),
        ("FROM base\nEXPOSE 99999999\n", 1, &["Dockerfile:2", "99999999"]),
    ] {
        kiln.write("Dockerfile", dockerfile);
        let ran = kiln.build::<&str>([]);
        let missing: Vec<_> = texts.iter().filter(|text| !ran.stderr.contains(**text)).collect();
        if ran.status != Some(status) || !missing.is_empty() || ran.stderr.contains("panicked") {
            wrong.push(format!(
                "{dockerfile}wanted status {status} and {missing:?}, got {:?}\n{}",
                ran.status, ran.stderr
            ));
        }
        leftovers::no_temporary_files(&kiln);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n-----\n"));
    kiln.write("Dockerfile", "FROM base\nCOPY there /x\nRUN cat /x\n");
    kiln.build::<&str>([]).succeeds();
}

#[test]
fn mistakes_in_arguments() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile").stderr_has("hint: ").stderr_has("-f");
    kiln.build(["-f", "none"]).exits(1).stderr_has("none");
    kiln.write("Dockerfile", "FROM base AS one\nRUN true\nFROM base AS two\n");
    kiln.build(["--target", "three"])
        .exits(1)
        .stderr_has("three")
        .stderr_has("hint: ")
        .stderr_has("one")
        .stderr_has("two");
    kiln.build(["-t", "Not A Name"]).exits(2).stderr_has("Not A Name");
    kiln.build(["--nonsense"]).exits(2).stderr_has("--nonsense");
    kiln.build(["-o", "type=nothing"]).exits(2).stderr_has("nothing");
    kiln.run(["build", "/no/such/directory"]).exits(2).stderr_has("/no/such/directory");
    kiln.run(["run", "--pull=never", "nothing"]).stderr_lacks("panicked");
    kiln.write("Dockerfile", vec![0xff, 0xfe, 0x00]);
    kiln.build::<&str>([]).exits(1).stderr_has("UTF-8");
    fs::remove_file(kiln.context().join("Dockerfile")).expect("a file");
    fs::create_dir(kiln.context().join("Dockerfile")).expect("a directory");
    kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile");
}

#[test]
fn registries_that_cannot_be_reached() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // Bound for a moment, so that nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    kiln.write("Dockerfile", format!("FROM {closed}/some/image:tag\nRUN true\n"));
    let config = format!("[registry.\"{closed}\"]\nhttp = true\n");
    for arguments in [&[][..], &["--pull"]] {
        let ran = build_with(&kiln, &config, arguments);
        ran.exits(3)
            .stderr_has("Dockerfile:1")
            .stderr_has(&closed.to_string())
            .stderr_has("refused")
            .stderr_has("hint: ");
    }
    // An unreachable mirror is passed over.
    let Some(registry) = DockerRegistry::start(Default::default()) else { return };
    registry.fill(&format!("{}:", base_layout(&kiln).display()), "library/base:1", &[]);
    kiln.write("Dockerfile", "FROM base:1\nRUN echo pulled\n");
    let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{closed}\", \"{}\"]\n", registry.address());
    build_with(&kiln, &config, &[]).succeeds().logs("pulled");
    let config = format!("[registry.\"{}\"]\nhttp = true\n", registry.address());
    kiln.write("Dockerfile", format!("FROM {}/library/base:2\n", registry.address()));
    let ran = build_with(&kiln, &config, &[]);
    ran.stderr_has("Dockerfile:1").stderr_has("base:2").stderr_has("hint: ");
    assert!(matches!(ran.status, Some(1 | 3)), "{ran}");
}

#[test]
fn registries_that_lie() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let layout = base_layout(&kiln);
    let image = Image::of_layout(&layout);
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let layer = text(&image.manifest["layers"][0]["digest"]);
    let manifest = {
        let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        text(&index["manifests"][0]["digest"])
    };
    let blob = |digest: &str| fs::read(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).unwrap();
    let changed = |digest: &str, at: usize| {
        let mut bytes = blob(digest);
        let at = at % bytes.len();
        bytes[at] ^= 0x20;
        bytes
    };
    let half = |digest: &str| {
        let mut bytes = blob(digest);
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    let longer = |digest: &str| {
        let mut bytes = blob(digest);
        bytes.extend_from_slice(b"more");
        bytes
    };
    let id = image.id.clone();
    let by_tag = "FROM ADDRESS/base:latest\nRUN echo right\n".to_owned();
    let by_digest = format!("FROM ADDRESS/base@{manifest}\nRUN echo right\n");
    let cases = [
        (&by_tag, &layer, changed(&layer, 4000), &*layer),
        (&by_tag, &layer, changed(&layer, usize::MAX / 2), &*layer),
        (&by_tag, &layer, half(&layer), &*layer),
        (&by_tag, &layer, longer(&layer), &*layer),
        (&by_tag, &layer, Vec::new(), &*layer),
        (&by_tag, &id, changed(&id, 30), &*id),
        (&by_digest, &manifest, changed(&manifest, 30), &*manifest),
        (&by_tag, &"latest".to_owned(), b"{}".to_vec(), "base:latest"),
        (&by_tag, &"latest".to_owned(), b"<html>".to_vec(), "base:latest"),
    ];
    for (number, (dockerfile, name, bytes, said)) in cases.into_iter().enumerate() {
        let registry = FakeRegistry::of_layout(&layout);
        registry.serve_instead(name, bytes);
        kiln.write("Dockerfile", dockerfile.replace("ADDRESS", registry.address()));
        let ran = build_with(&kiln, &registry.config(), &[]);
        println!("case {number}: {}", ran.stderr);
        assert_eq!(ran.status, Some(3), "case {number}: {ran}");
        ran.stderr_has("Dockerfile:1").stderr_has(said).stderr_lacks("panicked");
        leftovers::none(&kiln);
        leftovers::no_temporary_files(&kiln);
        // Nothing of it was kept: an honest registry at another address is asked again, and believed.
        let honest = FakeRegistry::of_layout(&layout);
        kiln.write("Dockerfile", dockerfile.replace("ADDRESS", honest.address()));
        build_with(&kiln, &honest.config(), &["--no-cache"]).succeeds().logs("right");
        kiln.run(["prune", "--all", "--force"]).succeeds();
        for image in kiln.run(["images", "-q"]).succeeds().stdout().lines() {
            kiln.run(["rmi", image]);
        }
        kiln.run(["prune", "--all", "--force"]).succeeds();
    }
}

#[test]
fn nothing_is_replaced_by_another_kind_of_thing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("tree/lib/new", "new\n").write("tree/file", "file\n").write("file", "file\n");
    let base =
        "FROM base\nRUN mkdir -p /usr/lib /d/file && echo old > /usr/lib/old && ln -s usr/lib /lib && echo f > /f\n";
    for (copy, path) in [
        // As with an unpacked root filesystem that is copied over one whose `/lib` is a link.
        ("COPY tree /", "/lib"),
        ("COPY tree/lib /f", "/f"),
        ("COPY tree /d", "/d/file"),
        ("COPY file /d", "/d/file"),
        ("COPY file /d/file/../", "/d/file"),
    ] {
        kiln.write("Dockerfile", format!("{base}{copy}\n"));
        kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile:3").stderr_has(&format!("`{path}`"));
    }
    let copies = "COPY tree/lib /lib\nCOPY tree/lib/new /lib/new\nCOPY tree /e\nCOPY tree /e\n";
    kiln.write(
        "Dockerfile",
        format!("{base}{copies}RUN cat /usr/lib/old /usr/lib/new /e/lib/new /e/file && test -L /lib\n"),
    );
    kiln.build::<&str>([]).succeeds().logs("old").logs("new").logs("file");
}

#[test]
fn a_file_that_would_be_a_deletion_is_refused() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for step in ["RUN touch /.wh.bin", "COPY .wh.bin /", "RUN mkdir /d && touch /d/.wh..wh..opq"] {
        kiln.write(".wh.bin", "").write("Dockerfile", format!("FROM base\n{step}\n"));
        for output in [&[][..], &["-o", "type=oci,dest=/dev/null"]] {
            kiln.build(output).exits(1).stderr_has(".wh.").stderr_has("hint: ");
        }
    }
    // Gone again in a later step, it does no harm, but its layer would.
    kiln.write("Dockerfile", "FROM base\nRUN touch /.wh.bin && rm /.wh.bin\nRUN test -e /bin/sh\n");
    kiln.build::<&str>([]).succeeds();
}
