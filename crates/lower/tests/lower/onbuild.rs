//! ONBUILD: triggers run first in the stage that builds on their image, and only there.

use crate::support::{Images, graph, history, lower_with, options, render};

#[test]
fn triggers_of_an_image() {
    let images = Images::with(&[(
        "docker.io/library/base:latest",
        r#"{"config": {"WorkingDir": "/src", "OnBuild": ["COPY . .", "COPY --from=tools /t /t", "RUN make", "ENV DONE=1"]}}"#,
    )]);
    let text = "FROM base AS first\nRUN after\nFROM first\nRUN last\n";
    let lowered = lower_with(text, &options(), &images);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [first 1/5] FROM docker.io/library/base:latest@5448
         image docker.io/library/base:latest linux/amd64
    1: [internal] load build context
         local context
    2: [first 2/5] ONBUILD COPY . .
         file on 0
         copy 1:["."] to /src/ (context)
    3: FROM docker.io/library/tools:latest@59de
         image docker.io/library/tools:latest linux/amd64
    4: [first 3/5] ONBUILD COPY --from=tools /t /t
         file on 2
         copy 3:["t"] to /t
    5: [first 4/5] ONBUILD RUN make
         exec on 4 in /src ["/bin/sh", "-c", "make"]
    6: [first 5/5] RUN after
         exec on 5 in /src ["/bin/sh", "-c", "after"]
         env DONE=1
    7: [stage-1 1/1] RUN last
         exec on 6 in /src ["/bin/sh", "-c", "last"]
         env DONE=1
    -> 7
    "#);
    insta::assert_snapshot!(history(&lowered), @"
    COPY . . # buildkit
    COPY /t /t # buildkit
    RUN /bin/sh -c make # buildkit
    (ENV DONE=1)
    RUN /bin/sh -c after # buildkit
    RUN /bin/sh -c last # buildkit
    ");
    assert!(lowered.config.config.on_build.is_empty());
    assert_eq!(
        images.asked(),
        ["docker.io/library/base:latest linux/amd64", "docker.io/library/tools:latest linux/amd64"]
    );
}

#[test]
fn triggers_of_a_stage() {
    let text = "\
FROM alpine AS tools
RUN tools
FROM alpine AS base
ONBUILD COPY --from=tools /t /t
ONBUILD RUN made for $WHO
FROM base AS one
ARG WHO=me
RUN one
FROM one
RUN two
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [tools 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [tools 2/2] RUN tools
         exec on 0 in / ["/bin/sh", "-c", "tools"]
    2: [one 1/3] ONBUILD COPY --from=tools /t /t
         file on 0
         copy 1:["t"] to /t
    3: [one 2/3] ONBUILD RUN made for $WHO
         exec on 2 in / ["/bin/sh", "-c", "made for $WHO"]
    4: [one 3/3] RUN one
         exec on 3 in / ["/bin/sh", "-c", "one"]
         env WHO=me
    5: [stage-3 1/1] RUN two
         exec on 4 in / ["/bin/sh", "-c", "two"]
         env WHO=me
    -> 5
    "#);
}

#[test]
fn triggers_that_multiply_are_refused() {
    let build = |stages: usize| {
        let text = format!("FROM scratch AS b\n{}{}", "ONBUILD ENV A=1\n".repeat(400), "FROM b\n".repeat(stages));
        let (dockerfile, errors) = kiln_dockerfile::parse(&text);
        assert!(errors.is_empty());
        let options = kiln_lower::Options { all_stages: true, ..options() };
        kiln_lower::lower(&dockerfile, &options, &Images::default()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(build(250), Ok(()));
    let error = build(251).unwrap_err();
    assert!(error.contains("the triggers of all base images come to more than 100000 instructions"), "{error}");
}
