//! FROM: which stages there are, what they start from, and which of them are lowered.

use crate::support::{Images, config_of, graph, graph_with, history, lower_text, lower_with, options, render};
use kiln_lower::{NamedContext, NoCache, Options};

#[test]
fn scratch_alone_has_no_tree() {
    let lowered = lower_text("FROM scratch\nENV A=b\n");
    insta::assert_snapshot!(render(&lowered), @"-> nothing");
    insta::assert_snapshot!(String::from_utf8(lowered.config.to_json()).unwrap(), @r#"{"architecture":"amd64","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=b"],"WorkingDir":"/"},"history":[{"created_by":"ENV A=b","comment":"buildkit.dockerfile.v0","empty_layer":true}],"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
}

#[test]
fn only_what_the_target_needs_is_lowered() {
    let text = "\
FROM missing AS unused
RUN never
FROM alpine AS base
RUN a
FROM base AS left
RUN l
FROM base AS right
RUN r
FROM scratch
COPY --from=left /l /
COPY --from=1 /b /
";
    let images = Images::default();
    let lowered = lower_with(text, &options(), &images);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [base 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [base 2/2] RUN a
         exec on 0 in / ["/bin/sh", "-c", "a"]
    2: [left 1/1] RUN l
         exec on 1 in / ["/bin/sh", "-c", "l"]
    3: [stage-4 1/2] COPY --from=left /l /
         file on nothing
         copy 2:["l"] to /
    4: [stage-4 2/2] COPY --from=1 /b /
         file on 3
         copy 1:["b"] to /
    -> 4
    "#);
    assert_eq!(images.asked(), ["docker.io/library/alpine:latest linux/amd64"]);
    let names: Vec<_> = lowered.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["base", "left", "stage-4"]);
}

#[test]
fn targets_by_name_and_number() {
    let text = "FROM alpine AS One\nRUN 1\nFROM alpine\nRUN 2\nFROM alpine AS three\nRUN 3\n";
    for (target, last) in [(None, "3"), (Some("one"), "1"), (Some("ONE"), "1"), (Some("1"), "2"), (Some(""), "3")] {
        let options = Options { target: target.map(str::to_owned), ..options() };
        let lowered = lower_with(text, &options, &Images::default());
        assert_eq!(lowered.config.history.last().unwrap().created_by, format!("RUN /bin/sh -c {last} # buildkit"));
    }
}

#[test]
fn the_same_image_is_asked_for_once() {
    let text = "\
FROM alpine AS a
FROM docker.io/library/alpine:latest AS b
FROM --platform=linux/arm64 alpine AS c
FROM debian
COPY --from=a / /a
COPY --from=b / /b
COPY --from=c / /c
COPY --from=alpine / /d
RUN --mount=from=debian,target=/mnt true
";
    let images = Images::default();
    lower_with(text, &options(), &images);
    assert_eq!(
        images.asked(),
        [
            "docker.io/library/alpine:latest linux/amd64",
            "docker.io/library/alpine:latest linux/arm64",
            "docker.io/library/debian:latest linux/amd64",
        ]
    );
}

#[test]
fn a_stage_inherits_all_but_its_cmd_flag() {
    let text = "\
FROM alpine AS base
ARG VERSION=1
ENV MODE=release VERSION_COPY=$VERSION
WORKDIR /srv
USER app
CMD [\"serve\"]
FROM base
RUN build
ENTRYPOINT [\"/entry\"]
";
    let lowered = lower_text(text);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [base 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [base 2/2] WORKDIR /srv
         file on 0
         mkdir /srv 755
    2: [stage-1 1/1] RUN build
         exec on 1 in /srv ["/bin/sh", "-c", "build"]
         env VERSION=1 MODE=release VERSION_COPY=1
         user app
    -> 2
    "#);
    insta::assert_snapshot!(history(&lowered), @r#"
    (ARG VERSION=1)
    (ENV MODE=release VERSION_COPY=1)
    WORKDIR /srv
    (USER app)
    (CMD ["serve"])
    RUN /bin/sh -c build # buildkit
    (ENTRYPOINT ["/entry"])
    "#);
    insta::assert_snapshot!(config_of(&lowered), @r#"
    {
      "User": "app",
      "Env": [
        "MODE=release",
        "VERSION_COPY=1"
      ],
      "Entrypoint": [
        "/entry"
      ],
      "WorkingDir": "/srv",
      "ArgsEscaped": true
    }
    "#);
}

#[test]
fn one_stage_has_no_name_but_a_second_tree_gives_it_one() {
    insta::assert_snapshot!(graph("FROM alpine AS only\nRUN a\n"), @r#"
    0: [1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/2] RUN a
         exec on 0 in / ["/bin/sh", "-c", "a"]
    -> 1
    "#);
    insta::assert_snapshot!(graph("FROM alpine\nRUN --mount=type=tmpfs,target=/t a\n"), @r#"
    0: [stage-0 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [stage-0 2/2] RUN --mount=type=tmpfs,target=/t a
         exec on 0 in / ["/bin/sh", "-c", "a"]
         mount /t rw tmpfs None
    -> 1
    "#);
    insta::assert_snapshot!(graph("FROM alpine AS only\nCOPY --from=busybox /bin/sh /\n"), @r#"
    0: [only 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: FROM docker.io/library/busybox:latest@de68
         image docker.io/library/busybox:latest linux/amd64
    2: [only 2/2] COPY --from=busybox /bin/sh /
         file on 0
         copy 1:["bin/sh"] to /
    -> 2
    "#);
}

#[test]
fn platforms() {
    let options = Options {
        platform: "linux/arm64".parse().unwrap(),
        implicit_platform: false,
        multi_platform: true,
        ..options()
    };
    let text = "\
FROM --platform=$BUILDPLATFORM golang AS build
ARG TARGETARCH
RUN GOARCH=$TARGETARCH go build
FROM alpine
COPY --from=build /app /
";
    let lowered = lower_with(text, &options, &Images::default());
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [linux/amd64 build 1/2] FROM docker.io/library/golang:latest@7514
         image docker.io/library/golang:latest linux/amd64
    1: [linux/amd64->arm64 build 2/2] RUN GOARCH=arm64 go build
         exec on 0 in / ["/bin/sh", "-c", "GOARCH=$TARGETARCH go build"]
         env TARGETARCH=arm64
    2: [linux/arm64 stage-1 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/arm64
    3: [linux/arm64 stage-1 2/2] COPY --from=build /app /
         file on 2
         copy 1:["app"] to /
    -> 3
    "#);
    assert_eq!(lowered.platform.to_string(), "linux/arm64");
    assert_eq!((lowered.config.os.as_str(), lowered.config.architecture.as_str()), ("linux", "arm64"));
}

#[test]
fn the_platform_of_the_image() {
    let text = "FROM --platform=linux/arm/v6 alpine\n";
    let base = lower_with(text, &options(), &Images::default()).config;
    assert_eq!((base.architecture.as_str(), base.variant.as_deref()), ("arm", Some("v6")));
    // Who asks for a platform gets an image that says so, whatever its base is.
    let asked = Options { implicit_platform: false, ..options() };
    let config = lower_with(text, &asked, &Images::default()).config;
    assert_eq!((config.architecture.as_str(), config.variant), ("amd64", None));
}

#[test]
fn the_working_directory_of_an_image_for_windows() {
    let options = Options { platform: "windows/amd64".parse().unwrap(), implicit_platform: false, ..options() };
    for (text, expected) in [("FROM scratch\nCOPY a /\n", "\\"), ("FROM scratch\nWORKDIR /a\nWORKDIR b\n", "\\a\\b")] {
        let config = lower_with(text, &options, &Images::default()).config.config;
        assert_eq!((config.working_dir.as_str(), config.env.len()), (expected, 0), "{text}");
    }
}

#[test]
fn named_contexts_replace_images_and_stages() {
    let text = "\
FROM alpine AS base
RUN never
FROM golang:1.25 AS build
COPY --from=files a /
COPY --from=base b /
COPY --from=layout c /
RUN --mount=from=files,target=/mnt x
";
    let contexts = [
        ("base".to_owned(), NamedContext::Image("busybox".to_owned())),
        ("docker.io/library/golang:1.25".to_owned(), NamedContext::Local),
        ("files".to_owned(), NamedContext::Local),
        ("layout".to_owned(), NamedContext::OciLayout { path: "/oci".to_owned(), reference: Some("v1".to_owned()) }),
    ];
    let options = Options { contexts: contexts.into(), ..options() };
    let images = Images::default();
    insta::assert_snapshot!(graph_with(text, &options, &images), @r#"
    0: [base 1/1] FROM docker.io/library/busybox:latest@de68
         image docker.io/library/busybox:latest linux/amd64
    1: [internal] load build context docker.io/library/golang:1.25
         local docker.io/library/golang:1.25
    2: [build 1/5] FROM docker.io/library/golang:1.25
         file on nothing
         copy 1:["."] to / (context)
    3: [internal] load build context files
         local files
    4: [build 2/5] COPY --from=files a /
         file on 2
         copy 3:["a"] to / (context)
    5: [build 3/5] COPY --from=base b /
         file on 4
         copy 0:["b"] to /
    6: FROM layout@1dc5
         image of /oci linux/amd64
    7: [build 4/5] COPY --from=layout c /
         file on 5
         copy 6:["c"] to /
    8: [build 5/5] RUN --mount=from=files,target=/mnt x
         exec on 7 in / ["/bin/sh", "-c", "x"]
         mount /mnt ro bind 3:/
    -> 8
    "#);
    assert_eq!(
        images.asked(),
        [
            "docker.io/library/busybox:latest linux/amd64",
            "layout linux/amd64 in LayoutRequest { path: \"/oci\", reference: Some(\"v1\") }",
        ]
    );
}

#[test]
fn steps_without_cache() {
    let text = "FROM alpine AS a\nRUN a\nFROM alpine AS b\nCOPY --from=a / /\nWORKDIR /w\nRUN b\n";
    let marks = |no_cache: NoCache| {
        let lowered = lower_with(text, &Options { no_cache, ..options() }, &Images::default());
        lowered.graph.vertices().iter().map(|vertex| if vertex.use_cache { '+' } else { '-' }).collect::<String>()
    };
    assert_eq!(marks(NoCache::No), "+++++");
    assert_eq!(marks(NoCache::All), "+----");
    assert_eq!(marks(NoCache::Stages(vec!["B".to_owned()])), "++---");
}

#[test]
fn identical_steps_are_one_vertex() {
    let lowered = lower_text("FROM alpine AS a\nRUN x\nFROM alpine AS b\nRUN x\nFROM a\nCOPY --from=b / /\n");
    assert_eq!(lowered.graph.vertices().len(), 3);
}

#[test]
fn the_same_input_gives_the_same_graph() {
    let text = "FROM a AS x\nENV B=1 A=2\nRUN x\nFROM b AS y\nCOPY . .\nFROM c\nCOPY --from=x / /\nCOPY --from=y / /\n";
    let definitions =
        |text: &str| lower_text(text).graph.vertices().iter().map(|vertex| vertex.definition).collect::<Vec<_>>();
    assert_eq!(definitions(text), definitions(text));
}

#[test]
fn positions_follow_steps_not_lines() {
    let positions = |text: &str| {
        let lowered = lower_text(text);
        let label = &lowered.graph.vertices().last().unwrap().label;
        (label.position.clone(), label.instruction.clone(), label.span)
    };
    assert_eq!(
        positions("FROM alpine AS b\nENV A=1\ncopy  $A b\n"),
        ("b/2".to_owned(), "copy  $A b".to_owned(), Some((25, 35)))
    );
}
