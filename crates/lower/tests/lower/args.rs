//! ARG and ENV: who sees what, and what of it is in the history.

use crate::support::{Images, graph_with, history, lower_text, lower_with, options, render};
use kiln_lower::Options;

fn with_args(args: &[(&str, &str)]) -> Options {
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Options { build_args, ..options() }
}

#[test]
fn global_arguments() {
    let text = "\
ARG VERSION=3
ARG IMAGE=alpine:${VERSION} OTHER
ARG TARGETARCH=mine
FROM $IMAGE
RUN a $VERSION
ARG VERSION
ARG TARGETARCH
RUN b $VERSION
";
    let lowered = lower_with(text, &with_args(&[("VERSION", "4")]), &Images::default());
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [1/3] FROM docker.io/library/alpine:4@71f6
         image docker.io/library/alpine:4 linux/amd64
    1: [2/3] RUN a $VERSION
         exec on 0 in / ["/bin/sh", "-c", "a $VERSION"]
    2: [3/3] RUN b 4
         exec on 1 in / ["/bin/sh", "-c", "b $VERSION"]
         env VERSION=4 TARGETARCH=mine
    -> 2
    "#);
    insta::assert_snapshot!(history(&lowered), @"
    RUN /bin/sh -c a $VERSION # buildkit
    (ARG VERSION)
    (ARG TARGETARCH)
    RUN |2 VERSION=4 TARGETARCH=mine /bin/sh -c b $VERSION # buildkit
    ");
}

#[test]
fn the_later_of_arg_and_env_wins_in_the_stage() {
    let text = "\
FROM alpine
ARG A=arg
ENV A=env
RUN 1
ENV B=env
ARG B=arg
RUN 2
ARG A
RUN 3
";
    let lowered = lower_text(text);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [1/4] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/4] RUN 1
         exec on 0 in / ["/bin/sh", "-c", "1"]
         env A=env
    2: [3/4] RUN 2
         exec on 1 in / ["/bin/sh", "-c", "2"]
         env A=env B=arg
    3: [4/4] RUN 3
         exec on 2 in / ["/bin/sh", "-c", "3"]
         env A=env B=arg
    -> 3
    "#);
    insta::assert_snapshot!(history(&lowered), @"
    (ARG A=arg)
    (ENV A=env)
    RUN |1 A=env /bin/sh -c 1 # buildkit
    (ENV B=env)
    (ARG B=arg)
    RUN |2 A=env B=arg /bin/sh -c 2 # buildkit
    (ARG A)
    RUN |3 A=env B=arg A=env /bin/sh -c 3 # buildkit
    ");
    assert_eq!(lowered.config.config.env[1..], ["A=env", "B=env"]);
}

#[test]
fn an_argument_ends_with_its_stage_unless_that_is_a_base() {
    let text = "\
FROM alpine AS base
ARG A=1
ENV E=image
ARG E=arg
RUN base
FROM base AS child
RUN child
FROM alpine
COPY --from=child / /
RUN other
";
    let lowered = lower_text(text);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [base 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [base 2/2] RUN base
         exec on 0 in / ["/bin/sh", "-c", "base"]
         env A=1 E=arg
    2: [child 1/1] RUN child
         exec on 1 in / ["/bin/sh", "-c", "child"]
         env A=1 E=image
    3: [stage-2 2/3] COPY --from=child / /
         file on 0
         copy 2:["."] to /
    4: [stage-2 3/3] RUN other
         exec on 3 in / ["/bin/sh", "-c", "other"]
    -> 4
    "#);
}

#[test]
fn several_to_a_line_see_those_before() {
    let lowered = lower_text("FROM alpine\nARG A=1 B=${A}2 C\nENV X=$B Y=$X\nRUN x\n");
    insta::assert_snapshot!(history(&lowered), @"
    (ARG A=1 B=12 C)
    (ENV X=12 Y=)
    RUN |3 A=1 B=12 C= /bin/sh -c x # buildkit
    ");
}

#[test]
fn names_are_words_except_before_from() {
    let text = "ARG \"G\"=1\nFROM alpine\nARG N=made\nARG \"A\"=1 'B' ${N}_C=$A \"G\"\nENV X=$A$B$made_C\nRUN x\n";
    let lowered = lower_with(text, &with_args(&[("B", "2")]), &Images::default());
    insta::assert_snapshot!(history(&lowered), @"
    (ARG N=made)
    (ARG A=1 B made_C=1 G)
    (ENV X=121)
    RUN |5 N=made A=1 B=2 made_C=1 G= /bin/sh -c x # buildkit
    ");
    assert_eq!(lowered.warnings, []);
}

#[test]
fn automatic_arguments_must_be_asked_for() {
    let text = "FROM alpine AS x\nRUN $TARGETARCH\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM TARGETSTAGE\nRUN x\n";
    let options = Options { platform: "linux/arm/v7".parse().unwrap(), ..options() };
    insta::assert_snapshot!(history(&lower_with(text, &options, &Images::default())), @"
    RUN /bin/sh -c $TARGETARCH # buildkit
    (ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM TARGETSTAGE)
    RUN |6 TARGETPLATFORM=linux/arm/v7 TARGETOS=linux TARGETARCH=arm TARGETVARIANT=v7 BUILDPLATFORM=linux/amd64 TARGETSTAGE=x /bin/sh -c x # buildkit
    ");
}

#[test]
fn proxies_are_seen_but_not_kept() {
    let text = "FROM alpine\nRUN a\nENV NO_PROXY=mine\nRUN b\nARG http_proxy\nRUN c\n";
    let options =
        with_args(&[("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://p:2"), ("no_proxy", "x"), ("ftp_proxy", "")]);
    let lowered = lower_with(text, &options, &Images::default());
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [1/4] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/4] RUN a
         exec on 0 in / ["/bin/sh", "-c", "a"]
         transparent HTTP_PROXY=http://p:2 http_proxy=http://p:2 NO_PROXY=x no_proxy=x
    2: [3/4] RUN b
         exec on 1 in / ["/bin/sh", "-c", "b"]
         env NO_PROXY=mine
         transparent HTTP_PROXY=http://p:2 http_proxy=http://p:2 NO_PROXY=x no_proxy=x
    3: [4/4] RUN c
         exec on 2 in / ["/bin/sh", "-c", "c"]
         env NO_PROXY=mine http_proxy=http://p:2
         transparent HTTP_PROXY=http://p:2 http_proxy=http://p:2 NO_PROXY=x no_proxy=x
    -> 3
    "#);
    insta::assert_snapshot!(history(&lowered), @"
    RUN /bin/sh -c a # buildkit
    (ENV NO_PROXY=mine)
    RUN /bin/sh -c b # buildkit
    (ARG http_proxy)
    RUN |1 http_proxy=http://p:2 /bin/sh -c c # buildkit
    ");
    assert_eq!(lowered.warnings, []);
}

#[test]
fn unused_build_arguments_are_told() {
    let text = "ARG G\nFROM alpine AS a\nARG S\nFROM alpine\nONBUILD ARG O\n";
    let args = ["G", "S", "O", "TARGETARCH", "BUILDKIT_INLINE_CACHE", "https_proxy", "X", "Y"].map(|name| (name, "1"));
    let warnings = lower_with(text, &with_args(&args), &Images::default()).warnings;
    let messages: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["one or more build-args [X Y] were not consumed"]);
}

#[test]
fn arguments_for_the_builder() {
    let text = "FROM alpine\nRUN --mount=type=cache,target=/c x\nRUN --mount=type=cache,id=i,target=/c y\n";
    let options = with_args(&[
        ("BUILDKIT_CACHE_MOUNT_NS", "ns"),
        ("BUILDKIT_SANDBOX_HOSTNAME", "host"),
        ("BUILDKIT_MULTI_PLATFORM", "1"),
    ]);
    insta::assert_snapshot!(graph_with(text, &options, &Images::default()), @r#"
    0: [linux/amd64 stage-0 1/3] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [linux/amd64 stage-0 2/3] RUN --mount=type=cache,target=/c x
         exec on 0 in / ["/bin/sh", "-c", "x"]
         hostname host
         mount /c rw cache ns//c
    2: [linux/amd64 stage-0 3/3] RUN --mount=type=cache,id=i,target=/c y
         exec on 1 in / ["/bin/sh", "-c", "y"]
         hostname host
         mount /c rw cache ns/i
    -> 2
    "#);
}
